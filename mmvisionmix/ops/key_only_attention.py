# Copyright (c) mmvisionmix authors. All rights reserved.
"""Key-only attention: one saliency per key instead of one weight per pair of query and key.

From `Rethinking Query-Key Pairwise Interactions in Vision Transformers
<https://arxiv.org/abs/2207.00188>`_ (Li and Liu, 2022), Eq. 2-4. N tokens X of D channels; K and V
are split into h heads of d = D / h channels, each with a saliency vector w::

    K = X Wk    V = X Wv    A = softmax_N(K w / sqrt(d))    G = sum_i A_i K_i
    Y = ((G * V) U1 + K) U2

G is one vector per image, so everything around it is linear in X and can be multiplied out::

    A = softmax_N(X w~)               w~ = Wk w / sqrt(d); a bias of K shifts all logits alike
    G = (sum_i A_i X_i) Wk            the weights A sum to one, so pooling and Wk commute
    Y = X (Wv diag(G) U12 + Wk U2)    U12 = U1 U2

Three algebraically equal forms are known; MACs are for one image, without what is linear in N or D.

===============  =================  ==========================================================
``impl``         MACs               how
===============  =================  ==========================================================
``'literal'``    4 N D^2            Eq. 2-4 as printed
``'merged'``     3 N D^2            V, then (G * V) U12 and X (Wk U2); no K
``'collapsed'``  N D^2 + D^3        one D x D matrix per image, then one product with X
===============  =================  ==========================================================

The first calls four linear layers, between which :func:`key_only_context` stands; the other two
are :func:`folded_key_only_attention`. They need :class:`FoldedKeyOnlyWeights`, 2 D^3 MACs once per
batch, or once for all in inference.
"""
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

IMPLS = ('auto', 'merged', 'collapsed')


class FoldedKeyOnlyWeights(NamedTuple):
    """What inference needs: products of weights alone, in the shapes of ``F.linear``.

    Attributes:
        saliency: w~ of every head, shape (h, D).
        key: Wk, which the pooled tokens meet, shape (D, D); ``key_bias``: shape (D).
        value: Wv, shape (D, D); ``value_bias``: shape (D).
        gate: U12, which G * V meets, shape (D, D).
        direct: Wk U2, which X meets, shape (D, D).
        bias: What all biases but that of V add, shape (D).
    """
    saliency: Tensor
    key: Tensor
    key_bias: Tensor
    value: Tensor
    value_bias: Tensor
    gate: Tensor
    direct: Tensor
    bias: Tensor


def key_only_context(key: Tensor, saliency: Tensor) -> Tensor:
    """The keys' mean by saliency, Eq. 2 and 3.

    Args:
        key (Tensor): Keys K, shape (B, N, D).
        saliency (Tensor): w of every head, shape (h, D/h).

    Returns:
        Tensor: The context G, shape (B, 1, D).
    """
    heads, head_dims = saliency.shape
    by_head = key.reshape(key.shape[0], key.shape[1], heads, head_dims)
    logits = (by_head * saliency).sum(3) / math.sqrt(head_dims)
    attention = logits.softmax(1)  # (B, N, h), Eq. 2
    return (attention[..., None] * by_head).sum(1).flatten(1)[:, None]  # Eq. 3


def fold_key_only_weights(*, key: Tensor, key_bias: Tensor, value: Tensor, value_bias: Tensor,
                          saliency: Tensor, inner: Tensor, inner_bias: Tensor, outer: Tensor,
                          outer_bias: Tensor) -> FoldedKeyOnlyWeights:
    """Multiplies out what no token enters; see the module's header.

    Matrices Wk (``key``), Wv, U1 (``inner``) and U2 (``outer``) have shape (D, D), (out, in) as
    ``F.linear`` takes them, biases (D), and ``saliency``, w of every head, (h, D/h).
    """
    heads, head_dims = saliency.shape
    by_head = key.reshape(heads, head_dims, -1)  # (h, d, D)
    return FoldedKeyOnlyWeights(
        saliency=torch.bmm(saliency[:, None], by_head)[:, 0] / math.sqrt(head_dims),
        key=key, key_bias=key_bias, value=value, value_bias=value_bias,
        gate=outer @ inner, direct=outer @ key,
        bias=F.linear(inner_bias + key_bias, outer, outer_bias))


def key_only_saliency(x: Tensor, saliency: Tensor) -> Tensor:
    """What every token weighs in the context: A of Eq. 2, as softmax_N(X w~).

    Args:
        x (Tensor): Tokens, shape (B, N, D).
        saliency (Tensor): w~ of every head, shape (h, D).

    Returns:
        Tensor: Weights that sum to one over the tokens, shape (B, h, N).
    """
    return torch.bmm(saliency.expand(x.shape[0], -1, -1), x.transpose(1, 2)).softmax(2)


def folded_key_only_attention(x: Tensor, folded: FoldedKeyOnlyWeights,
                              impl: str = 'auto') -> Tensor:
    """Key-only attention of all tokens (Eq. 2-4 of the paper), from folded weights.

    Args:
        x (Tensor): Tokens, shape (B, N, D).
        folded (FoldedKeyOnlyWeights): Of :func:`fold_key_only_weights`.
        impl (str): ``'merged'``, ``'collapsed'``, or ``'auto'`` for whichever takes fewer
            multiply-adds. Both are exact. Defaults to ``'auto'``.

    Returns:
        Tensor: The mixed tokens, shape (B, N, D).

    Raises:
        ValueError: If ``impl`` is unknown.
    """
    if impl not in IMPLS:
        raise ValueError(f'impl must be one of {list(IMPLS)}, got {impl!r}')
    if impl == 'auto':
        impl = 'collapsed' if 2 * x.shape[1] > x.shape[2] else 'merged'
    context = _pool_keys(x, folded)  # (B, D)
    if impl == 'merged':
        value = F.linear(x, folded.value, folded.value_bias)
        gated = F.linear(context[:, None] * value, folded.gate)
        return F.linear(x, folded.direct, folded.bias) + gated
    batch = x.shape[0]
    gate = folded.gate * context[:, None]  # diag(G) from the right, (B, D, D)
    matrix = torch.baddbmm(
        folded.direct.expand(batch, -1, -1), gate, folded.value.expand(batch, -1, -1))
    bias = F.linear(context * folded.value_bias, folded.gate, folded.bias)
    return torch.baddbmm(bias[:, None], x, matrix.transpose(1, 2))


def _pool_keys(x: Tensor, folded: FoldedKeyOnlyWeights) -> Tensor:
    """The context G, shape (B, D), pooled from tokens instead of keys."""
    heads, dims = folded.saliency.shape
    attention = key_only_saliency(x, folded.saliency)
    pooled = torch.bmm(attention.to(x.dtype), x)  # (B, h, D); autocast gives a softmax in float32
    key = folded.key.reshape(heads, dims // heads, dims).transpose(1, 2)  # (h, D, d)
    context = torch.bmm(pooled.transpose(0, 1), key)  # (h, B, d)
    return context.transpose(0, 1).reshape(-1, dims) + folded.key_bias
