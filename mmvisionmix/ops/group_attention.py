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
``'folded'`` stays on maps (B, D, N) and multiplies small matrices out before they meet N tokens::

    GA_h = softmax_N(M_h X^T) X Wv_h        M_h = (T Wq)_h Wk_h^T / sqrt(d), once for all images
    Y = sum_k A_k [(g V_k)_h W_k,h]         attention and projection in one product

MACs for one image and two convolutions, without these and without what N does not enter:

===============  ======================
``impl``         MACs
===============  ======================
``'literal'``    4 N D^2 + 6 N G D
``'folded'``     4 N h G D + 2 N G D
===============  ======================
"""
import math
from typing import NamedTuple, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor


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
        bias: Of the output, shape (D).
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
    bias: Tensor


def group_attention(x: Tensor,
                    weights: GroupAttentionWeights,
                    num_heads: int,
                    impl: str = 'auto',
                    folded_queries: Optional[Tensor] = None) -> Tensor:
    """MCGA attention of all tokens on a grid (Eq. 1-3 and Fig. 3 of the paper).

    Args:
        x (Tensor): Tokens on their grid, shape (B, D, H, W).
        weights (GroupAttentionWeights): The layer's weights.
        num_heads (int): Number of heads h.
        impl (str): ``'literal'``, ``'folded'``, or ``'auto'``, which is ``'folded'``. Both are
            exact. Defaults to ``'auto'``.
        folded_queries (Tensor, optional): :func:`fold_group_queries` of the same weights, where it
            is at hand. Defaults to None: computed if needed.

    Returns:
        Tensor: The mixed tokens, shape (B, D, H, W).

    Raises:
        ValueError: If ``impl`` is unknown.
    """
    check_group_attention_impl(impl)
    if impl == 'literal':
        return _mix_literal(x, weights, num_heads)
    if folded_queries is None:
        folded_queries = fold_group_queries(weights, num_heads)
    return _mix_folded(x, weights, num_heads, folded_queries)


def check_group_attention_impl(impl: str) -> None:
    """Raises a ValueError that lists the valid names if ``impl`` is none of them."""
    if impl not in _IMPLS:
        raise ValueError(f'impl must be one of {list(_IMPLS)}, got {impl!r}')


def fold_group_queries(weights: GroupAttentionWeights, num_heads: int) -> Tensor:
    """M of all heads, which no image enters: shape (h * G, D)."""
    query = F.linear(weights.tokens, weights.query, weights.query_bias)
    query = query.unflatten(1, (num_heads, -1)).transpose(0, 1)  # (h, G, d)
    key = weights.key.unflatten(0, (num_heads, -1))  # (h, d, D)
    return torch.bmm(query, key).flatten(0, 1) / math.sqrt(query.shape[2])


def _mix_literal(x: Tensor, weights: GroupAttentionWeights, num_heads: int) -> Tensor:
    tokens = x.flatten(2).transpose(1, 2).contiguous()  # (B, N, D)
    query = F.linear(weights.tokens, weights.query, weights.query_bias)
    query = query.expand(len(x), -1, -1)
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
    mixed = sum(branches)
    mixed = mixed if weights.proj is None else F.linear(mixed, weights.proj)
    return (mixed + weights.bias).transpose(1, 2).unflatten(2, x.shape[2:])


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
    return F.conv2d(x, branch.conv, branch.conv_bias, padding='same', groups=x.shape[1])


def _mix_folded(x: Tensor, weights: GroupAttentionWeights, num_heads: int,
                queries: Tensor) -> Tensor:
    batch, dims = x.shape[:2]
    groups = _mix_groups(_pool_groups(x.flatten(2), weights, num_heads, queries), weights)
    attentions, values = [], []
    for branch in weights.branches:
        key = _by_head(F.linear(groups, branch.key), num_heads)  # (B * h, G, d)
        query = _convolve(x, branch).view(batch * num_heads, dims // num_heads, -1)
        logits = torch.bmm(key / math.sqrt(key.shape[2]), query)
        attentions.append(logits.softmax(1).view(batch, -1, query.shape[2]))  # (B, h * G, N)
        value = F.linear(groups, branch.value, branch.value_bias).unflatten(2, (num_heads, -1))
        proj = weights.proj if branch.proj is None else branch.proj
        proj = proj.t().unflatten(0, (num_heads, -1))  # (h, d, D)
        values.append(_project_heads(value.transpose(1, 2), proj).flatten(1, 2))
    attention, value = torch.cat(attentions, 1), torch.cat(values, 1).transpose(1, 2)
    mixed = torch.baddbmm(weights.bias[:, None], value, attention.to(value.dtype))
    return mixed.view_as(x)


def _pool_groups(x: Tensor, weights: GroupAttentionWeights, num_heads: int,
                 queries: Tensor) -> Tensor:
    """Eq. 3 for tokens (B, D, N): the groups, shape (B, G, D)."""
    attention = torch.bmm(queries.expand(len(x), -1, -1), x).softmax(2)  # (B, h * G, N)
    pooled = torch.bmm(attention.to(x.dtype), x.transpose(1, 2))  # (B, h * G, D)
    pooled = pooled.unflatten(1, (num_heads, -1))
    value = weights.value.unflatten(0, (num_heads, -1)).transpose(1, 2)  # (h, D, d)
    groups = _project_heads(pooled, value).transpose(1, 2).flatten(2)
    return groups if weights.value_bias is None else groups + weights.value_bias


def _project_heads(x: Tensor, matrices: Tensor) -> Tensor:
    """(B, h, G, a) times (h, a, b); torch.matmul would copy the matrices for every image."""
    mixed = torch.bmm(x.transpose(0, 1).flatten(1, 2), matrices)  # (h, B * G, b)
    return mixed.unflatten(1, (len(x), -1)).transpose(0, 1)


def _by_head(tokens: Tensor, num_heads: int) -> Tensor:
    """(B, G, D) as (B * h, G, d)."""
    return tokens.unflatten(2, (num_heads, -1)).transpose(1, 2).flatten(0, 1)


_IMPLS = ('auto', 'literal', 'folded')
