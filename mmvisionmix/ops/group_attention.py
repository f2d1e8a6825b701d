# Copyright (c) mmvisionmix authors. All rights reserved.
"""MCGA attention: multi-scale convolutions query a few groups, which attend to all tokens.

From Vo et al., "Multi-scale Convolutions Meet Group Attention for Dense Prediction Tasks", Section
3.2. N = HW tokens X of D channels, h heads of d = D / h channels, G learned group tokens T::

    GA = softmax_N((T Wq) (X Wk)^T / sqrt(d)) X Wv                          Eq. 3, per head
    g = GA + MLP(LN(GA)), the MLP over the G groups
    Y = sum_k softmax_G(Q_k (g K_k)^T / sqrt(d)) (g V_k) W_k + bias
    Q_k = depthwise k x k convolution of X                                  Eq. 1 and 2, k = 3, 5

Departs: Eq. 3 divides by the square root of all D channels. Inferred: K_k and V_k for every k; the
paper speaks of one pair. Biases of keys shift all logits of a query alike, which no softmax sees:
there are none.

Two algebraically equal forms are known. ``'literal'`` calls the layers one by one on tokens
(B, N, D), with :func:`attend` between them; ``'folded'`` (:func:`pool_groups`, the MLP, the
convolutions, :func:`propagate_groups`) stays on maps and multiplies small matrices out before they
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
from typing import NamedTuple, Optional, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

IMPLS = ('auto', 'literal', 'folded')


class FoldedGroupWeights(NamedTuple):
    """What one layer's weights alone determine, for S convolutions.

    Attributes:
        queries: M of all heads, shape (h * G, D).
        value: Wv by head, shape (h, D, d).
        project: K_k and V_k of all convolutions, shape (2 * S * D, D).
        proj: W_k of all convolutions and heads, shape (S * h, d, D).
        bias: Of the output, shape (S * h, 1, D), all in the first row: added to the values of all
            groups, it is in every average of them, without a pass over the tokens.
        value_bias: Shape (D), or None.
        project_bias: Shape (2 * S * D), or None.
    """
    queries: Tensor
    value: Tensor
    project: Tensor
    proj: Tensor
    bias: Tensor
    value_bias: Optional[Tensor] = None
    project_bias: Optional[Tensor] = None


def attend(query: Tensor, key: Tensor, value: Tensor, num_heads: int) -> Tensor:
    """Softmax attention per head of queries (B, M, D) to keys and values (B, N, D), (B, M, D)."""
    query, key, value = (
        tokens.reshape(tokens.shape[0], tokens.shape[1], num_heads, -1).transpose(1, 2)
        for tokens in (query, key, value))
    attention = (query @ key.transpose(2, 3) / math.sqrt(query.shape[3])).softmax(3)
    return (attention @ value).transpose(1, 2).flatten(2)


def fold_group_weights(*, num_heads: int, tokens: Tensor, query: Tensor,
                       query_bias: Optional[Tensor], key: Tensor, value: Tensor,
                       value_bias: Optional[Tensor], group_keys: Sequence[Tensor],
                       group_values: Sequence[Tensor],
                       group_value_biases: Sequence[Optional[Tensor]], projs: Sequence[Tensor],
                       biases: Sequence[Tensor]) -> FoldedGroupWeights:
    """Multiplies out what one layer's weights alone determine, and no image enters.

    Group tokens T have shape (G, D), matrices (D, D), (out, in) as ``F.linear`` takes them, and
    biases (D). Every convolution has K_k (``group_keys``), V_k (``group_values``) with a bias or
    None, and W_k (``projs``); the sum of ``biases`` is added to the output.
    """
    dims = tokens.shape[1]
    by_head = (num_heads, dims // num_heads, dims)
    queries = F.linear(tokens, query, query_bias)
    queries = queries.reshape(len(tokens), *by_head[:2]).transpose(0, 1)  # (h, G, d)
    logits = torch.bmm(queries, key.reshape(by_head)) / math.sqrt(by_head[1])
    bias = reduce(torch.add, biases)  # stacked, their gradients would share memory
    shifts = [shift for shift in group_value_biases if shift is not None]
    return FoldedGroupWeights(
        queries=logits.flatten(0, 1),
        value=value.reshape(by_head).transpose(1, 2),
        value_bias=value_bias,
        project=torch.cat([*group_keys, *group_values]),
        project_bias=torch.cat([torch.zeros_like(shift) for shift in shifts] + shifts)
        if shifts else None,
        proj=torch.cat([proj.t().reshape(by_head) for proj in projs]),
        bias=F.pad(bias[None, None], (0, 0, 0, 0, 0, len(projs) * num_heads - 1)))


def head_mask(dims: int, num_heads: int, like: Tensor) -> Tensor:
    """1 in the channels of a head and 0 elsewhere, shape (h, 1, D), of another's type and place."""
    heads = torch.eye(num_heads, dtype=like.dtype, device=like.device)
    return heads.repeat_interleave(dims // num_heads, 1)[:, None]


def attend_to_tokens(x: Tensor, queries: Tensor) -> Tensor:
    """What tokens (B, D, N) weigh for queries (h * G, D), by Eq. 3: shape (B, h * G, N)."""
    return torch.bmm(queries.expand(x.shape[0], -1, -1), x).softmax(2)


def pool_groups(x: Tensor, folded: FoldedGroupWeights) -> Tensor:
    """Averages tokens into groups, Eq. 3.

    Args:
        x (Tensor): Tokens on their grid, shape (B, D, H, W).
        folded (FoldedGroupWeights): Of :func:`fold_group_weights`.

    Returns:
        Tensor: The groups GA, shape (B, G, D).
    """
    tokens = x.flatten(2)
    attention = attend_to_tokens(tokens, folded.queries).to(x.dtype)
    pooled = torch.bmm(attention, tokens.transpose(1, 2))  # (B, h * G, D)
    pooled = pooled.reshape(pooled.shape[0], len(folded.value), -1, pooled.shape[2])
    groups = _by_head(pooled.transpose(0, 1), folded.value).permute(1, 2, 0, 3).flatten(2)
    return groups if folded.value_bias is None else groups + folded.value_bias


def attend_to_groups(maps: Sequence[Tensor], keys: Sequence[Tensor], num_heads: int) -> Tensor:
    """What groups weigh for tokens, by the second softmax of the module's header.

    Args:
        maps (Sequence[Tensor]): Queries Q_k of every convolution, each of shape (B, D, H, W).
        keys (Sequence[Tensor]): Keys of the groups for each of them, of shape (B, G, D).
        num_heads (int): Number of heads h.

    Returns:
        Tensor: Shape (B, S * h, G, H * W).
    """
    dims = keys[0].shape[2]
    mask = head_mask(dims, num_heads, keys[0]) / math.sqrt(dims // num_heads)
    logits = torch.cat([torch.bmm((key[:, None] * mask).flatten(1, 2), x.flatten(2))
                        for key, x in zip(keys, maps)], 1)  # (B, S * h * G, N)
    return logits.reshape(logits.shape[0], len(maps) * num_heads, -1, logits.shape[2]).softmax(2)


def project_groups(groups: Tensor, folded: FoldedGroupWeights, scales: int) -> Sequence[Tensor]:
    """S keys of groups (B, G, D), each of their shape, and their values (B, G, S * D)."""
    projected = F.linear(groups, folded.project, folded.project_bias)
    dims = groups.shape[2]
    return projected.split([dims] * scales + [dims * scales], 2)


def propagate_groups(maps: Sequence[Tensor], groups: Tensor, folded: FoldedGroupWeights,
                     num_heads: int) -> Tensor:
    """Attention of the convolutions' outputs to the mixed groups, projected and summed.

    Args:
        maps (Sequence[Tensor]): Queries Q_k of every convolution, each of shape (B, D, H, W).
        groups (Tensor): The mixed groups g, shape (B, G, D).
        folded (FoldedGroupWeights): Of :func:`fold_group_weights`.
        num_heads (int): Number of heads h.

    Returns:
        Tensor: The mixed tokens Y, shape (B, D, H, W), channels-last.
    """
    *keys, values = project_groups(groups, folded, len(maps))
    attention = attend_to_groups(maps, keys, num_heads).flatten(1, 2)  # (B, S * h * G, N)
    values = values.reshape(*values.shape[:2], len(folded.proj), -1).permute(2, 0, 1, 3)
    values = _by_head(values, folded.proj, folded.bias).transpose(0, 1).flatten(1, 2)
    mixed = torch.bmm(attention.to(values.dtype).transpose(1, 2), values)
    return mixed.transpose(1, 2).reshape(maps[0].shape)


def _by_head(x: Tensor, matrices: Tensor, bias: Optional[Tensor] = None) -> Tensor:
    """(h, B, G, a) times (h, a, b); torch.matmul would copy the matrices for every image."""
    rows = x.flatten(1, 2)
    mixed = torch.bmm(rows, matrices) if bias is None else torch.baddbmm(bias, rows, matrices)
    return mixed.reshape(*x.shape[:3], matrices.shape[2])
