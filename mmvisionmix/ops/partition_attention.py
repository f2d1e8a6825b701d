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

This is ``normalisation='softmax'``. ``'paper'`` is what the equations print, for study::

    w_i = x_i / (sum of x_j over I_k)                          i in I_k, per channel       Eq. 6
    intra_i = w_i * v_i / (sum of w_j over I_k)                                            Eq. 7
    inter_i = g_k * m_k / (sum of m_j),   m = sigmoid(MLP(g_k))                            Eq. 9

Sums of x cross zero, so that these weights have either sign and any size; those of a softmax are
shares. Its factors l_k and the number of partitions keep the scale of the output the same whatever
the resolution. The sum in Eq. 9 is over partitions, as the text below it says, not over I_k; the
sigmoid is that of SENet, which it cites. Partitions without tokens have g = 0 and no weight.

Two algebraically equal forms of Eq. 6 and 7 are here. ``'literal'`` goes through images, heads and
partitions one by one; ``'packed'`` writes partitions as a matrix of zeros and ones, E (K, N) per
head, so that all sums over partitions are one product with E and all look-ups one with its
transpose.

Membership, exponentials and sums are computed in single precision or better.
"""
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .precision import full_precision

CLIP = 15.
"""Largest exponent, of either sign: sums over 1e6 tokens stay far from the range of float32."""

IMPLS = ('auto', 'literal', 'packed')
NORMALISATIONS = ('softmax', 'paper')


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
        tokens = split_heads(x, len(vectors))
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
        tokens = split_heads(x, codes.shape[1])  # (B, groups, e, N)
        for _ in range(steps):
            members = one_hot(codes, num_partitions, tokens)  # (B, groups, K, N)
            counts = members.sum(3, keepdim=True)
            centres = torch.matmul(members, tokens.transpose(2, 3)) / counts.clamp(min=1)
            distances = centres.square().sum(3, keepdim=True) - 2 * torch.matmul(centres, tokens)
            codes = distances.masked_fill(counts == 0, math.inf).argmin(2)
    return codes


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Maps (B, D, H, W) as tokens (B, h, D / h, N), in single precision or better."""
    tokens = x.flatten(2)
    tokens = tokens.reshape(tokens.shape[0], heads, tokens.shape[1] // heads, -1)
    return tokens if x.dtype == torch.float64 else tokens.float()


def one_hot(codes: Tensor, num_partitions: int, like: Tensor) -> Tensor:
    """The matrix E for partitions of tokens, as ones and zeros.

    Args:
        codes (Tensor): Partition of every token, shape (B, h, N) or, if heads share it, (B, 1, N).
        num_partitions (int): Number of partitions K.
        like (Tensor): Tokens of every head, shape (B, h, d, N), which give heads and dtype.

    Returns:
        Tensor: Shape (B, h, K, N).
    """
    partitions = torch.arange(num_partitions, device=codes.device)
    members = (codes[:, :, None] == partitions[:, None]).to(like.dtype)
    return members.expand(-1, like.shape[1], -1, -1)


def attend_within(x: Tensor, value: Tensor, members: Tensor, rescale: bool = True,
                  impl: str = 'auto', normalisation: str = 'softmax') -> Tensor:
    """Intra-partition attention, Eq. 6 and 7.

    Args:
        x (Tensor): Tokens of every head, shape (B, h, d, N).
        value (Tensor): Their values v, shape (B, h, d, N).
        members (Tensor): E, zeros and ones, shape (B, h, K, N).
        rescale (bool): Whether l_k is a factor of the softmax. Defaults to True.
        impl (str): ``'literal'`` or ``'packed'``; ``'auto'`` is the latter. Both are exact.
            Defaults to ``'auto'``.
        normalisation (str): ``'softmax'``, or ``'paper'``, as printed. Defaults to ``'softmax'``.

    Returns:
        Tensor: Shape (B, h, d, N).

    Raises:
        ValueError: If ``impl`` or ``normalisation`` is unknown.
    """
    if impl not in IMPLS:
        raise ValueError(f'impl must be one of {list(IMPLS)}, got {impl!r}')
    if normalisation not in NORMALISATIONS:
        raise ValueError(f'normalisation must be one of {NORMALISATIONS}, got {normalisation!r}')
    with full_precision(x.device):
        if impl == 'literal':
            heads = zip(x.flatten(0, 1), value.flatten(0, 1), members.flatten(0, 1))
            return torch.stack([_attend_within_head(*head, rescale, normalisation)
                                for head in heads]).reshape(value.shape)
        if normalisation == 'paper':
            return _over_sums(_over_sums(x, members), members) * value
        attention = x.clamp(-CLIP, CLIP).exp()
        sums = torch.matmul(attention, members.transpose(2, 3))  # (B, h, d, K)
        counts = members.sum(3)
        shares = (counts if rescale else counts.clamp(max=1))[:, :, None]
        scale = shares / sums.clamp(min=math.exp(-CLIP - 1))  # no sum of tokens is so small
        return attention * torch.matmul(scale, members) * value


def _over_sums(x: Tensor, members: Tensor) -> Tensor:
    """Tokens (B, h, d, N) over the sums of their partitions, E (B, h, K, N)."""
    return x / torch.matmul(torch.matmul(x, members.transpose(2, 3)), members)


def _attend_within_head(x: Tensor, value: Tensor, members: Tensor, rescale: bool,
                        normalisation: str) -> Tensor:
    """Eq. 6 and 7 for one head of one image: x and values (d, N) and E (K, N) give (d, N)."""
    partitions, parts = [tokens.nonzero()[:, 0] for tokens in members], []
    for tokens in partitions:
        if normalisation == 'paper':
            weights = x[:, tokens] / x[:, tokens].sum(1, keepdim=True)
            weights = weights / weights.sum(1, keepdim=True)
        else:
            weights = x[:, tokens].clamp(-CLIP, CLIP).softmax(1) * (len(tokens) if rescale else 1)
        parts.append(weights * value[:, tokens])
    return torch.cat(parts, 1)[:, torch.cat(partitions).argsort()]


def partition_means(value: Tensor, members: Tensor) -> Tensor:
    """Means of values over partitions, Eq. 8; zero where there are no tokens.

    Args:
        value (Tensor): Shape (B, h, d, N).
        members (Tensor): E, zeros and ones, shape (B, h, K, N).

    Returns:
        Tensor: g, shape (B, h, K, d).
    """
    with full_precision(value.device):
        means = torch.matmul(members, value.transpose(2, 3))
        return means / members.sum(3).clamp(min=1)[..., None]


def attend_between(means: Tensor, logits: Tensor, members: Tensor,
                   normalisation: str = 'softmax') -> Tensor:
    """Inter-partition attention, Eq. 9.

    Args:
        means (Tensor): g of Eq. 8, shape (B, h, K, d).
        logits (Tensor): What an MLP makes of them, shape (B, h, K).
        members (Tensor): E, zeros and ones, shape (B, h, K, N).
        normalisation (str): ``'softmax'``, or ``'paper'``, as printed. Defaults to ``'softmax'``.

    Returns:
        Tensor: Shape (B, h, d, N).

    Raises:
        ValueError: If ``normalisation`` is unknown.
    """
    if normalisation not in NORMALISATIONS:
        raise ValueError(f'normalisation must be one of {NORMALISATIONS}, got {normalisation!r}')
    with full_precision(means.device):
        present = members.sum(3) > 0
        logits = logits.to(means.dtype).masked_fill(~present, torch.finfo(means.dtype).min)
        if normalisation == 'paper':
            gates = logits.sigmoid()  # zero where there are no tokens
            importance = gates / gates.sum(2, keepdim=True)
        else:
            importance = logits.softmax(2) * present.sum(2, keepdim=True)
        return torch.matmul((means * importance[..., None]).transpose(2, 3), members)
