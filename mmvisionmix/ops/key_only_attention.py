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

Three algebraically equal forms are here; MACs are for one image, without what is linear in N or D.

===============  =================  ==========================================================
``impl``         MACs               how
===============  =================  ==========================================================
``'literal'``    4 N D^2            Eq. 2-4 as printed
``'merged'``     3 N D^2            V, then (G * V) U12 and X (Wk U2); no K
``'collapsed'``  N D^2 + D^3        one D x D matrix per image, then one product with X
===============  =================  ==========================================================

The last two need :class:`FoldedKeyOnlyWeights`, 2 D^3 MACs once per batch, or once for all in
inference.
"""
import math
from typing import NamedTuple, Optional

import torch
import torch.nn.functional as F
from torch import Tensor


class KeyOnlyWeights(NamedTuple):
    """Weights of one layer. Matrices have the shape (out, in) that ``F.linear`` takes.

    Attributes:
        key: Wk, shape (D, D); ``key_bias``: shape (D).
        value: Wv, shape (D, D); ``value_bias``: shape (D).
        saliency: w of every head, shape (h, D/h).
        inner: U1, shape (D, D); ``inner_bias``: shape (D).
        outer: U2, shape (D, D); ``outer_bias``: shape (D).
    """
    key: Tensor
    key_bias: Tensor
    value: Tensor
    value_bias: Tensor
    saliency: Tensor
    inner: Tensor
    inner_bias: Tensor
    outer: Tensor
    outer_bias: Tensor


class FoldedKeyOnlyWeights(NamedTuple):
    """Products of weights alone, in the shapes of ``F.linear``.

    Attributes:
        saliency: w~ of every head, shape (h, D).
        gate: U12, which G * V meets, shape (D, D).
        direct: Wk U2, which X meets, shape (D, D).
        bias: What all biases but that of V add, shape (D).
    """
    saliency: Tensor
    gate: Tensor
    direct: Tensor
    bias: Tensor


def key_only_attention(x: Tensor,
                       weights: KeyOnlyWeights,
                       impl: str = 'auto',
                       folded: Optional[FoldedKeyOnlyWeights] = None) -> Tensor:
    """Key-only attention of all tokens (Eq. 2-4 of the paper).

    Args:
        x (Tensor): Tokens, shape (B, N, D).
        weights (KeyOnlyWeights): The layer's weights.
        impl (str): One of ``'literal'``, ``'merged'``, ``'collapsed'``, or ``'auto'``, which picks
            the cheapest by :func:`choose_key_only_impl`. All are exact. Defaults to ``'auto'``.
        folded (FoldedKeyOnlyWeights, optional): :func:`fold_key_only_weights` of the same weights,
            where they are at hand. Defaults to None: computed if needed.

    Returns:
        Tensor: The mixed tokens, shape (B, N, D).

    Raises:
        ValueError: If ``impl`` is unknown.
    """
    check_key_only_impl(impl)
    if impl == 'auto':
        batch, tokens, dims = x.shape
        impl = choose_key_only_impl(batch, tokens, dims, folded is not None)
    if impl == 'literal':
        return _mix_literal(x, weights)
    form = _mix_collapsed if impl == 'collapsed' else _mix_merged
    return form(x, weights, folded or fold_key_only_weights(weights))


def check_key_only_impl(impl: str) -> None:
    """Raises a ValueError that lists the valid names if ``impl`` is none of them."""
    if impl not in _IMPLS:
        raise ValueError(f'impl must be one of {list(_IMPLS)}, got {impl!r}')


def choose_key_only_impl(batch: int, tokens: int, dims: int, folded: bool) -> str:
    """Picks the form with the fewest multiply-adds, the weights' own products included.

    Args:
        batch (int): Number of images B.
        tokens (int): Tokens N of an image.
        dims (int): Number of channels D.
        folded (bool): Whether the folded weights are at hand, as in inference, or would have to be
            computed for this batch, as in training.

    Returns:
        str: ``'literal'``, ``'merged'`` or ``'collapsed'``.
    """
    if folded:
        return 'collapsed' if 2 * tokens > dims else 'merged'
    return 'collapsed' if 3 * batch * tokens > dims * (batch + 2) else 'literal'


def fold_key_only_weights(weights: KeyOnlyWeights) -> FoldedKeyOnlyWeights:
    """Multiplies out what no token enters; see the module's header."""
    heads, head_dims = weights.saliency.shape
    key = weights.key.unflatten(0, (heads, head_dims))  # (h, d, D)
    saliency = torch.bmm(weights.saliency[:, None], key)[:, 0] / math.sqrt(head_dims)
    bias = F.linear(weights.inner_bias + weights.key_bias, weights.outer, weights.outer_bias)
    return FoldedKeyOnlyWeights(
        saliency, weights.outer @ weights.inner, weights.outer @ weights.key, bias)


def key_only_saliency(x: Tensor, folded: FoldedKeyOnlyWeights) -> Tensor:
    """What every token weighs in the context: A of Eq. 2, as softmax_N(X w~).

    Args:
        x (Tensor): Tokens, shape (B, N, D).
        folded (FoldedKeyOnlyWeights): :func:`fold_key_only_weights` of the layer's weights.

    Returns:
        Tensor: Weights that sum to one over the tokens, shape (B, h, N).
    """
    saliency = folded.saliency.expand(x.shape[0], -1, -1)
    return torch.bmm(saliency, x.transpose(1, 2)).softmax(2)


def _mix_literal(x: Tensor, weights: KeyOnlyWeights) -> Tensor:
    heads, head_dims = weights.saliency.shape
    key = F.linear(x, weights.key, weights.key_bias)
    value = F.linear(x, weights.value, weights.value_bias)
    by_head = key.unflatten(2, (heads, head_dims))
    logits = (by_head * weights.saliency).sum(3) / math.sqrt(head_dims)
    attention = logits.softmax(1)  # (B, N, h), Eq. 2
    context = (attention[..., None] * by_head).sum(1).flatten(1)  # (B, D), Eq. 3
    gated = F.linear(context[:, None] * value, weights.inner, weights.inner_bias)
    return F.linear(gated + key, weights.outer, weights.outer_bias)  # Eq. 4


def _mix_merged(x: Tensor, weights: KeyOnlyWeights, folded: FoldedKeyOnlyWeights) -> Tensor:
    context = _pool_keys(x, weights, folded)
    value = F.linear(x, weights.value, weights.value_bias)
    gated = F.linear(context[:, None] * value, folded.gate)
    return F.linear(x, folded.direct, folded.bias) + gated


def _mix_collapsed(x: Tensor, weights: KeyOnlyWeights, folded: FoldedKeyOnlyWeights) -> Tensor:
    batch = x.shape[0]
    context = _pool_keys(x, weights, folded)  # (B, D)
    gate = folded.gate * context[:, None]  # diag(G) from the right, (B, D, D)
    matrix = torch.baddbmm(
        folded.direct.expand(batch, -1, -1), gate, weights.value.expand(batch, -1, -1))
    bias = F.linear(context * weights.value_bias, folded.gate, folded.bias)
    return torch.baddbmm(bias[:, None], x, matrix.transpose(1, 2))


def _pool_keys(x: Tensor, weights: KeyOnlyWeights, folded: FoldedKeyOnlyWeights) -> Tensor:
    """The context G, shape (B, D), pooled from tokens instead of keys."""
    heads, head_dims = weights.saliency.shape
    attention = key_only_saliency(x, folded)
    pooled = torch.bmm(attention.to(x.dtype), x)  # (B, h, D); autocast gives a softmax in float32
    key = weights.key.unflatten(0, (heads, head_dims)).transpose(1, 2)  # (h, D, d)
    context = torch.bmm(pooled.transpose(0, 1), key)  # (h, B, d)
    return context.transpose(0, 1).flatten(1) + weights.key_bias


_IMPLS = ('auto', 'literal', 'merged', 'collapsed')
