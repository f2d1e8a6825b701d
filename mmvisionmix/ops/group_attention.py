# Copyright (c) mmvisionmix authors. All rights reserved.
"""MCGA attention: multi-scale convolutions query a few groups, which attend to all tokens.

From Vo et al., "Multi-scale Convolutions Meet Group Attention for Dense Prediction Tasks", Section
3.2. N = HW tokens X of D channels, h heads of d = D / h channels, G learned group tokens T::

    GA = softmax_N((T Wq) (X Wk)^T / sqrt(d)) X Wv                          Eq. 3, per head
    g = GA + MLP(LN(GA)), the MLP over the G groups
    Y = sum_k softmax_G(Q_k (g K_k)^T / sqrt(d)) (g V_k) W_k + bias
    Q_k = depthwise k x k convolution of X                                  Eq. 1 and 2, k = 3, 5

Biases of keys shift all logits of a query alike, which no softmax sees: there are none.

Two algebraically equal forms are here. ``'literal'`` computes these formulas on tokens (B, N, D);
``'folded'`` stays on maps, in either memory format, and multiplies small matrices out before they
meet N tokens::

    GA_h = softmax_N(M_h X^T) X Wv_h        M_h = (T Wq)_h Wk_h^T / sqrt(d), once for all images
    Y = sum_k A_k [(g V_k)_h W_k,h]         attention and projection in one product

Keys of a head are zero in the channels of the others, so that logits of all heads are one product
and no map is cut into heads. MACs for one image and two convolutions, without these and without
what N does not enter:

===============  ======================
``impl``         MACs
===============  ======================
``'literal'``    4 N D^2 + 6 N G D
``'folded'``     6 N h G D
===============  ======================
"""
import math
from functools import reduce
from typing import NamedTuple, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .depthwise import depthwise_conv


class PropagationWeights(NamedTuple):
    """Weights of one convolution and of the attention of its output to the groups.

    Attributes:
        conv: Depthwise kernels, shape (D, 1, k, k); ``conv_bias``: shape (D).
        key: K_k, shape (D, D).
        value: V_k, shape (D, D); ``value_bias``: shape (D).
        proj: W_k, shape (D, D), or None if all branches share one.
    """
    conv: Tensor
    conv_bias: Tensor
    key: Tensor
    value: Tensor
    value_bias: Optional[Tensor]
    proj: Optional[Tensor]


class GroupAttentionWeights(NamedTuple):
    """Weights of one layer. Matrices have the shape (out, in) that ``F.linear`` takes.

    Attributes:
        tokens: Group tokens T, shape (G, D).
        query: Wq, shape (D, D); ``query_bias``: shape (D), or None.
        key: Wk, shape (D, D).
        value: Wv, shape (D, D); ``value_bias``: shape (D), or None.
        pooled: Projection of the groups after Eq. 3, shape (D, D), or None for none.
        norm: Scale of the layer norm, shape (D); ``norm_bias``: shape (D).
        expand: First layer of the MLP over groups, shape (E, G); ``expand_bias``: shape (E).
        reduce: Second layer, shape (G, E); ``reduce_bias``: shape (G).
        branches: One per convolution.
        proj: The W_k that all branches share, shape (D, D), or None if each has its own.
        biases: Of the output, each of shape (D); their sum is added.
    """
    tokens: Tensor
    query: Tensor
    query_bias: Optional[Tensor]
    key: Tensor
    value: Tensor
    value_bias: Optional[Tensor]
    pooled: Optional[Tensor]
    norm: Tensor
    norm_bias: Tensor
    expand: Tensor
    expand_bias: Tensor
    reduce: Tensor
    reduce_bias: Tensor
    branches: Tuple[PropagationWeights, ...]
    proj: Optional[Tensor]
    biases: Tuple[Tensor, ...]


class FoldedGroupWeights(NamedTuple):
    """What one layer's weights alone determine, for S convolutions.

    Attributes:
        queries: M of all heads, shape (h * G, D).
        project: K_k and V_k of all convolutions, shape (2 * S * D, D); ``project_bias``: shape
            (2 * S * D), or None.
        proj: W_k of all convolutions and heads, shape (S * h, d, D).
        bias: Of the output, shape (S * h, 1, D), all in the first row: added to the values of all
            groups, it is in every average of them, without a pass over the tokens.
        heads: 1 / sqrt(d) in the channels of a head and 0 elsewhere, shape (h, 1, D).
    """
    queries: Tensor
    project: Tensor
    project_bias: Optional[Tensor]
    proj: Tensor
    bias: Tensor
    heads: Tensor


class GroupAttentionMaps(NamedTuple):
    """Attention of one layer, for S convolutions.

    Attributes:
        pooling: Of groups to tokens (Eq. 3), shape (B, h, G, H, W); sums to one over H and W.
        propagation: Of the convolutions' tokens to groups, shape (B, S, h, G, H, W); sums to one
            over G.
    """
    pooling: Tensor
    propagation: Tensor


def group_attention(x: Tensor,
                    weights: GroupAttentionWeights,
                    num_heads: int,
                    impl: str = 'auto',
                    folded: Optional[FoldedGroupWeights] = None) -> Tensor:
    """MCGA attention of all tokens on a grid (Eq. 1-3 and Fig. 3 of the paper).

    Args:
        x (Tensor): Tokens on their grid, shape (B, D, H, W).
        weights (GroupAttentionWeights): The layer's weights.
        num_heads (int): Number of heads h.
        impl (str): ``'literal'``, ``'folded'``, or ``'auto'``, which is ``'folded'``. Both are
            exact. Defaults to ``'auto'``.
        folded (FoldedGroupWeights, optional): :func:`fold_group_weights` of the same weights,
            where it is at hand. Defaults to None: computed if needed.

    Returns:
        Tensor: The mixed tokens, shape (B, D, H, W); by the folded form in the memory format of
        ``x``, contiguous or channels-last.

    Raises:
        ValueError: If ``impl`` is unknown.
    """
    check_group_attention_impl(impl)
    if impl == 'literal':
        return _mix_literal(x, weights, num_heads)
    return _mix_folded(x, weights, folded or fold_group_weights(weights, num_heads))


def check_group_attention_impl(impl: str) -> None:
    """Raises a ValueError that lists the valid names if ``impl`` is none of them."""
    if impl not in _IMPLS:
        raise ValueError(f'impl must be one of {list(_IMPLS)}, got {impl!r}')


def fold_group_weights(weights: GroupAttentionWeights, num_heads: int) -> FoldedGroupWeights:
    """What one layer's weights alone determine, and no image enters."""
    query = F.linear(weights.tokens, weights.query, weights.query_bias)
    query = query.unflatten(1, (num_heads, -1)).transpose(0, 1)  # (h, G, d)
    scale = 1 / math.sqrt(query.shape[2])
    branches = weights.branches
    values_bias = branches[0].value_bias
    if values_bias is None:
        project_bias = None
    else:
        project_bias = torch.cat([torch.zeros_like(values_bias)] * len(branches) +
                                 [branch.value_bias for branch in branches
                                  if branch.value_bias is not None])
    projs = [weights.proj if branch.proj is None else branch.proj for branch in branches]
    bias = reduce(torch.add, weights.biases)  # stacked, their gradients would share memory
    heads = torch.eye(num_heads, device=query.device).to(query.dtype) * scale
    return FoldedGroupWeights(
        scale * torch.bmm(query, weights.key.unflatten(0, (num_heads, -1))).flatten(0, 1),
        torch.cat([branch.key for branch in branches] + [branch.value for branch in branches]),
        project_bias,
        torch.cat([proj.t().unflatten(0, (num_heads, -1)) for proj in projs if proj is not None]),
        F.pad(bias[None, None], (0, 0, 0, 0, 0, len(branches) * num_heads - 1)),
        heads.repeat_interleave(query.shape[2], 1)[:, None])


def group_attention_maps(x: Tensor, weights: GroupAttentionWeights,
                         num_heads: int) -> GroupAttentionMaps:
    """The weights by which tokens enter groups, and groups tokens.

    Args:
        x (Tensor): Tokens on their grid, shape (B, D, H, W).
        weights (GroupAttentionWeights): The layer's weights.
        num_heads (int): Number of heads h.

    Returns:
        GroupAttentionMaps: Of both softmaxes of the module's header.
    """
    folded = fold_group_weights(weights, num_heads)
    pooling = _attend_to_tokens(x.flatten(2), folded)
    groups = _mix_groups(_pool_groups(x.flatten(2), weights, folded), weights)
    keys, _ = _project_groups(groups, folded, len(weights.branches))
    propagation = _attend_to_groups(x, keys, weights, folded)
    scales = len(weights.branches)
    return GroupAttentionMaps(
        pooling.unflatten(1, (num_heads, -1)).unflatten(3, x.shape[2:]),
        propagation.unflatten(1, (scales, num_heads)).unflatten(4, x.shape[2:]))


def _mix_literal(x: Tensor, weights: GroupAttentionWeights, num_heads: int) -> Tensor:
    tokens = x.flatten(2).transpose(1, 2).contiguous()  # (B, N, D)
    query = F.linear(weights.tokens, weights.query, weights.query_bias)
    query = query.expand(x.shape[0], -1, -1)
    key = F.linear(tokens, weights.key)
    value = F.linear(tokens, weights.value, weights.value_bias)
    groups = _mix_groups(_attend(query, key, value, num_heads), weights)  # (B, G, D)
    branches = []
    for branch in weights.branches:
        image = tokens.transpose(1, 2).unflatten(2, x.shape[2:])
        query = _convolve(image, branch).flatten(2).transpose(1, 2)
        key = F.linear(groups, branch.key)
        value = F.linear(groups, branch.value, branch.value_bias)
        out = _attend(query, key, value, num_heads)
        branches.append(out if branch.proj is None else F.linear(out, branch.proj))
    mixed = reduce(torch.add, branches)
    mixed = mixed if weights.proj is None else F.linear(mixed, weights.proj)
    return (mixed + sum(weights.biases)).transpose(1, 2).unflatten(2, x.shape[2:])


def _attend(query: Tensor, key: Tensor, value: Tensor, num_heads: int) -> Tensor:
    """Softmax attention per head of queries (B, M, D) to keys and values (B, N, D)."""
    query, key, value = (
        tokens.unflatten(2, (num_heads, -1)).transpose(1, 2) for tokens in (query, key, value))
    attention = (query @ key.transpose(2, 3) / math.sqrt(query.shape[3])).softmax(3)
    return (attention @ value).transpose(1, 2).flatten(2)


def _mix_groups(groups: Tensor, weights: GroupAttentionWeights) -> Tensor:
    """Exchanges information between groups (B, G, D) by an MLP over them."""
    if weights.pooled is not None:
        groups = F.linear(groups, weights.pooled)
    x = F.layer_norm(groups, groups.shape[2:], weights.norm, weights.norm_bias).transpose(1, 2)
    x = F.gelu(F.linear(x, weights.expand, weights.expand_bias))
    return groups + F.linear(x, weights.reduce, weights.reduce_bias).transpose(1, 2)


def _convolve(x: Tensor, branch: PropagationWeights) -> Tensor:
    return depthwise_conv(x, branch.conv, branch.conv_bias, padding='same')


def _mix_folded(x: Tensor, weights: GroupAttentionWeights, folded: FoldedGroupWeights) -> Tensor:
    num_heads, scales = len(folded.heads), len(weights.branches)
    groups = _mix_groups(_pool_groups(x.flatten(2), weights, folded), weights)  # (B, G, D)
    keys, values = _project_groups(groups, folded, scales)
    attention = _attend_to_groups(x, keys, weights, folded).flatten(1, 2)
    values = values.unflatten(3, (num_heads, -1)).permute(1, 0, 3, 2, 4).flatten(1, 2)
    values = _project_heads(values, folded.proj, folded.bias).flatten(1, 2)  # (B, S * h * G, D)
    attention = attention.to(values.dtype)
    if x.is_contiguous():
        return torch.bmm(values.transpose(1, 2), attention).view_as(x)
    mixed = torch.bmm(attention.transpose(1, 2), values)
    return mixed.transpose(1, 2).view_as(x)


def _project_groups(groups: Tensor, folded: FoldedGroupWeights, scales: int) -> Tensor:
    """Keys and values of groups (B, G, D) for S convolutions, shape (2, S, B, G, D)."""
    projected = F.linear(groups, folded.project, folded.project_bias)
    return projected.unflatten(2, (2, scales, -1)).permute(2, 3, 0, 1, 4)


def _attend_to_groups(x: Tensor, keys: Tensor, weights: GroupAttentionWeights,
                      folded: FoldedGroupWeights) -> Tensor:
    """What groups of keys (S, B, G, D) weigh for the convolutions' tokens, (B, S * h, G, N)."""
    keys = (keys[:, :, None].contiguous() * folded.heads).flatten(2, 3)  # (S, B, h * G, D)
    logits = torch.cat([torch.bmm(key, _convolve(x, branch).flatten(2))
                        for key, branch in zip(keys, weights.branches)], 1)
    return logits.unflatten(1, (len(weights.branches) * len(folded.heads), -1)).softmax(2)


def _attend_to_tokens(x: Tensor, folded: FoldedGroupWeights) -> Tensor:
    """What tokens (B, D, N) weigh in the groups, by Eq. 3: (B, h * G, N)."""
    return torch.bmm(folded.queries.expand(x.shape[0], -1, -1), x).softmax(2)


def _pool_groups(x: Tensor, weights: GroupAttentionWeights, folded: FoldedGroupWeights) -> Tensor:
    """Eq. 3 for tokens (B, D, N): the groups, shape (B, G, D)."""
    num_heads = len(folded.heads)
    attention = _attend_to_tokens(x, folded)
    pooled = torch.bmm(attention.to(x.dtype), x.transpose(1, 2))  # (B, h * G, D)
    pooled = pooled.unflatten(1, (num_heads, -1))
    value = weights.value.unflatten(0, (num_heads, -1)).transpose(1, 2)  # (h, D, d)
    groups = _project_heads(pooled, value).transpose(1, 2).flatten(2)
    return groups if weights.value_bias is None else groups + weights.value_bias


def _project_heads(x: Tensor, matrices: Tensor, bias: Optional[Tensor] = None) -> Tensor:
    """(B, h, G, a) times (h, a, b); torch.matmul would copy the matrices for every image."""
    rows = x.transpose(0, 1).flatten(1, 2)  # (h, B * G, a)
    mixed = torch.bmm(rows, matrices) if bias is None else torch.baddbmm(bias, rows, matrices)
    return mixed.unflatten(1, (-1, x.shape[2])).transpose(0, 1)


_IMPLS = ('auto', 'literal', 'folded')
