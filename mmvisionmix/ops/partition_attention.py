# Copyright (c) mmvisionmix authors. All rights reserved.
"""Partition attention: tokens meet those that hash alike, and the mean of every such group.

From `Dual Path Transformer with Partition Attention <https://arxiv.org/abs/2305.14768>`_, Section
3.2. Each of h heads puts its N tokens x_i of d channels into K partitions I_k, by the signs of
products with fixed unit vectors (Eq. 4 and 5) or by K-Means (Eq. 3). With v = value projection of
the tokens and l_k their number in I_k::

    a_i = exp(clip(x_i, -15, 15))
    intra_i = a_i * l_k / (sum of a_j over I_k) * v_i          i in I_k, per channel       Eq. 6, 7
    g_k = sum of v_j over I_k / l_k                                                        Eq. 8
    inter_i = g_k * m_k,   m = softmax_k(MLP(g_k)) * (number of partitions that have tokens)   Eq. 9
    y_i = [intra_i, inter_i] P + b                             heads side by side

Deviations from the paper: Eq. 6 and 7 as printed divide by sums of x, which cross zero, so that
weights have either sign and any size; a softmax per channel has neither. l_k and the number of
partitions keep the scale of the output the same whatever the resolution. Partitions without tokens
have g = 0 and no weight.

Two algebraically equal forms are here. ``'literal'`` goes through images, heads and partitions one
by one; ``'packed'`` writes partitions as a matrix of zeros and ones, E (K, N) per head, so that all
sums over partitions are one product with E and all look-ups one with its transpose, and projects
the K rows of Eq. 9 before they are looked up:

    y = intra P_1 + E^T (g * m) P_2 + b

Membership, exponentials and sums are computed in single precision or better.
"""
import math
from typing import NamedTuple, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .precision import full_precision

CLIP = 15.
"""Largest exponent, of either sign: sums over 1e6 tokens stay far from the range of float32."""


class PartitionAttentionWeights(NamedTuple):
    """Weights of one layer. Matrices have the shape (out, in) that ``F.linear`` takes.

    Attributes:
        value: Value projection, shape (D, D); ``value_bias``: shape (D).
        squeeze: First layer of the MLP on the means of a head, shape (R, D / h);
            ``squeeze_bias``: shape (R). All three of the MLP are None without Eq. 8 and 9.
        excite: Second layer, shape (R).
        intra: What projects Eq. 7, P_1, shape (D, D), or None to leave it out.
        inter: What projects Eq. 9, P_2, shape (D, D), or None to leave it out.
        bias: Of the output, shape (D).
    """
    value: Tensor
    value_bias: Tensor
    squeeze: Optional[Tensor]
    squeeze_bias: Optional[Tensor]
    excite: Optional[Tensor]
    intra: Optional[Tensor]
    inter: Optional[Tensor]
    bias: Tensor


def draw_hash_vectors(groups: int, bits: int, dims: int, seed: int) -> Tensor:
    """Unit vectors for :func:`hash_partition`, the same for the same seed.

    Args:
        groups (int): Number of partitions side by side: one per head, or 1.
        bits (int): Vectors of each; tokens are put into 2^bits partitions.
        dims (int): Channels of a token, of a head or of all.
        seed (int): Of a generator of their own; the global one is left alone.

    Returns:
        Tensor: Shape (groups, bits, dims).
    """
    with torch.device('cpu'):
        vectors = torch.randn(
            groups, bits, dims, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
    return F.normalize(vectors, dim=2)


@torch.no_grad()
def hash_partition(x: Tensor, vectors: Tensor) -> Tensor:
    """Partitions by locality-sensitive hashing, Eq. 4 and 5: codes have a bit per vector.

    Args:
        x (Tensor): Tokens on their grid, shape (B, D, H, W).
        vectors (Tensor): Shape (groups, bits, D / groups).

    Returns:
        Tensor: Partition of every token in every group, shape (B, groups, HW), from 0 to
        2^bits - 1.
    """
    with full_precision(x.device):
        tokens = _by_group(x, len(vectors))
        signs = torch.matmul(vectors.to(tokens.dtype), tokens) >= 0  # (B, groups, bits, N)
        powers = 2**torch.arange(vectors.shape[1], device=x.device)
        return (signs * powers[:, None]).sum(2)


@torch.no_grad()
def kmeans_partition(x: Tensor, codes: Tensor, num_partitions: int, steps: int = 3) -> Tensor:
    """Partitions by K-Means, Eq. 3: Lloyd's steps from a given partition.

    Args:
        x (Tensor): Tokens on their grid, shape (B, D, H, W).
        codes (Tensor): The partition to start from, shape (B, groups, HW).
        num_partitions (int): Number of partitions K. Those without tokens stay without.
        steps (int): Number of steps. Defaults to 3.

    Returns:
        Tensor: Partition of every token in every group, shape (B, groups, HW).
    """
    with full_precision(x.device):
        tokens = _by_group(x, codes.shape[1])  # (B, groups, e, N)
        for _ in range(steps):
            members = _one_hot(codes, num_partitions, tokens.dtype)  # (B, groups, K, N)
            counts = members.sum(3, keepdim=True)
            centres = torch.matmul(members, tokens.transpose(2, 3)) / counts.clamp(min=1)
            distances = centres.square().sum(3, keepdim=True) - 2 * torch.matmul(centres, tokens)
            codes = distances.masked_fill(counts == 0, math.inf).argmin(2)
    return codes


def partition_attention(x: Tensor,
                        codes: Tensor,
                        weights: PartitionAttentionWeights,
                        num_heads: int,
                        num_partitions: int,
                        rescale: bool = True,
                        impl: str = 'auto') -> Tensor:
    """Intra- and inter-partition attention, Eq. 6 to 9, and the projection of both.

    Args:
        x (Tensor): Tokens on their grid, shape (B, D, H, W).
        codes (Tensor): Partition of every token, shape (B, h, HW), or (B, 1, HW) if all heads
            share one.
        weights (PartitionAttentionWeights): The layer's weights.
        num_heads (int): Number of heads h.
        num_partitions (int): Number of partitions K.
        rescale (bool): Whether l_k is a factor of Eq. 7. Defaults to True.
        impl (str): ``'literal'``, ``'packed'``, or ``'auto'``, which is ``'packed'``. Both are
            exact. Defaults to ``'auto'``.

    Returns:
        Tensor: The mixed tokens, shape (B, D, H, W), in the memory format of ``x``.

    Raises:
        ValueError: If ``impl`` is unknown.
    """
    check_partition_attention_impl(impl)
    mix = _mix_literal if impl == 'literal' else _mix_packed
    codes = codes.expand(-1, num_heads, -1)
    mixed = mix(x.contiguous(), codes, weights, num_partitions, rescale)
    channels_last = x.stride(1) == 1 and not x.is_contiguous()  # of a part of the channels too
    return mixed.contiguous(memory_format=torch.channels_last) if channels_last else mixed


def check_partition_attention_impl(impl: str) -> None:
    """Raises a ValueError that lists the valid names if ``impl`` is none of them."""
    if impl not in _IMPLS:
        raise ValueError(f'impl must be one of {list(_IMPLS)}, got {impl!r}')


def _by_group(x: Tensor, groups: int) -> Tensor:
    """Maps (B, D, H, W) as tokens (B, groups, D / groups, N), in single precision or better."""
    tokens = x.flatten(2).unflatten(1, (groups, -1))
    return tokens if x.dtype == torch.float64 else tokens.float()


def _one_hot(codes: Tensor, num_partitions: int, dtype: torch.dtype) -> Tensor:
    """Codes (B, g, N) as zeros and ones, shape (B, g, K, N)."""
    partitions = torch.arange(num_partitions, device=codes.device)
    return (codes[:, :, None] == partitions[:, None]).to(dtype)


def _project(x: Tensor, weight: Tensor, bias: Optional[Tensor] = None) -> Tensor:
    return F.conv2d(x, weight[:, :, None, None], bias)


def _importance(means: Tensor, weights: PartitionAttentionWeights, present: Tensor) -> Tensor:
    """m of Eq. 9 for means (..., K, d) of partitions that ``present`` (..., K) has tokens for."""
    assert weights.squeeze is not None and weights.squeeze_bias is not None
    assert weights.excite is not None  # all three are there where Eq. 9 is
    dtype = means.dtype
    hidden = F.linear(means, weights.squeeze.to(dtype), weights.squeeze_bias.to(dtype)).relu()
    logits = (hidden * weights.excite.to(dtype)).sum(-1)
    logits = logits.masked_fill(~present, torch.finfo(dtype).min)
    return logits.softmax(-1) * present.sum(-1, keepdim=True)


def _mix_literal(x: Tensor, codes: Tensor, weights: PartitionAttentionWeights,
                 num_partitions: int, rescale: bool) -> Tensor:
    heads = codes.shape[1]
    value = _by_group(_project(x, weights.value, weights.value_bias), heads)
    with full_precision(x.device):
        images = [
            torch.stack([
                _mix_head(*head, weights, num_partitions, rescale) for head in zip(*image)], 1)
            for image in zip(_by_group(x, heads), value, codes)
        ]  # (2, h, d, N) each
    mixed = torch.stack(images, 1).flatten(2, 3).unflatten(3, x.shape[2:]).to(x.dtype)
    projs = (weights.intra, weights.inter)
    parts = [_project(part, proj) for part, proj in zip(mixed, projs) if proj is not None]
    return sum(parts) + weights.bias[:, None, None].to(parts[0].dtype)


def _mix_head(x: Tensor, value: Tensor, codes: Tensor, weights: PartitionAttentionWeights,
              num_partitions: int, rescale: bool) -> Tensor:
    """Eq. 6 to 9 for one head of one image: x and values (d, N) give both parts, (2, d, N)."""
    partitions = [(codes == k).nonzero()[:, 0] for k in range(num_partitions)]
    partitions = [tokens for tokens in partitions if len(tokens)]
    means = torch.stack([value[:, tokens].mean(1) for tokens in partitions])  # (K', d)
    if weights.inter is not None:
        present = torch.ones_like(means[:, 0], dtype=torch.bool)
        means = means * _importance(means, weights, present)[:, None]
    parts = []
    for tokens, mean in zip(partitions, means):
        attention = x[:, tokens].clamp(-CLIP, CLIP).softmax(1)
        intra = attention * value[:, tokens] * (len(tokens) if rescale else 1)
        parts.append(torch.stack((intra, mean[:, None].expand_as(intra))))
    return torch.cat(parts, 2)[:, :, torch.cat(partitions).argsort()]


def _mix_packed(x: Tensor, codes: Tensor, weights: PartitionAttentionWeights,
                num_partitions: int, rescale: bool) -> Tensor:
    heads = codes.shape[1]
    value = _project(x, weights.value, weights.value_bias)
    with full_precision(x.device):
        value = _by_group(value, heads)  # (B, h, d, N)
        members = _one_hot(codes, num_partitions, value.dtype)  # (B, h, K, N)
        counts = members.sum(3)
    mixed = weights.bias[:, None].expand(x.shape[0], -1, -1)
    if weights.intra is not None:
        intra = _attend_within(_by_group(x, heads), value, members, counts, rescale)
        mixed = _project(intra.to(x.dtype).view_as(x), weights.intra, weights.bias).flatten(2)
    if weights.inter is not None:
        means = _attend_between(value, members, counts, weights, weights.inter)  # (B, h * K, D)
        mixed = torch.baddbmm(
            mixed, means.transpose(1, 2).to(mixed.dtype), members.flatten(1, 2).to(mixed.dtype))
    return mixed.view_as(x)


def _attend_within(x: Tensor, value: Tensor, members: Tensor, counts: Tensor,
                   rescale: bool) -> Tensor:
    """Eq. 6 and 7 for tokens and values (B, h, d, N)."""
    with full_precision(x.device):
        attention = x.clamp(-CLIP, CLIP).exp()
        sums = torch.matmul(attention, members.transpose(2, 3))  # (B, h, d, K)
        shares = (counts if rescale else counts.clamp(max=1))[:, :, None]
        scale = shares / sums.clamp(min=math.exp(-CLIP - 1))  # no sum of tokens is so small
        return attention * torch.matmul(scale, members) * value


def _attend_between(value: Tensor, members: Tensor, counts: Tensor,
                    weights: PartitionAttentionWeights, inter: Tensor) -> Tensor:
    """Eq. 8 and 9, projected, for values (B, h, d, N): what partitions add, (B, h * K, D)."""
    heads = value.shape[1]
    with full_precision(value.device):
        means = torch.matmul(members, value.transpose(2, 3))  # (B, h, K, d)
        means = means / counts.clamp(min=1)[..., None]
        means = means * _importance(means, weights, counts > 0)[..., None]
        projs = inter.to(value.dtype).t().unflatten(0, (heads, -1))  # (h, d, D)
        mixed = torch.bmm(means.transpose(0, 1).flatten(1, 2), projs)  # (h, B * K, D)
        return mixed.unflatten(1, (-1, members.shape[2])).transpose(0, 1).flatten(1, 2)


_IMPLS: Tuple[str, ...] = ('auto', 'literal', 'packed')
