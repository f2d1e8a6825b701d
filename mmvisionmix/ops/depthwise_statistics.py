# Copyright (c) mmvisionmix authors. All rights reserved.
"""Mean and variance of depthwise convolutions' outputs, without convolving.

A batch norm after a convolution needs both while training, and where several branches convolve the
same maps, as in RP-CPE of `LinGlo <https://arxiv.org/abs/2207.00188>`_, each branch writes its maps
only to be normalised and added up. But an output is a product of kernel w and patch X_p, nine
values of one channel::

    mean = w . m     m = E_p[X_p]             mean of the squares = w^T M w     M = E_p[X_p X_p^T]

m and M, 9 x 9 per channel, are the same for all branches. With the statistics known, norms fold
into kernels as in inference, and all branches are one convolution in training too.

Nor are 81 products per position needed. On an endless canvas, zero outside the maps, M holds the
maps' autocorrelation R at the offsets between two taps, of which 13 differ. What remains are the
outputs one step outside the maps, which the convolution does not have: they see a single row,
column or corner each. With taps a = (i, j) and a' = (i', j'), in -1..1, and sums in place of
means::

    M[a, a'] = R[a' - a]    - [i = i' = +-1] (autocorrelation at j' - j of the row a cannot reach)
        + [a = a' a corner] (its square)    - [j = j' = +-1] (likewise of the column, at i' - i)
"""
from functools import lru_cache
from itertools import product
from typing import Any, List, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_weight

from .precision import full_precision


def depthwise_statistics(x: Tensor, weights: Tensor) -> Tuple[Tensor, Tensor]:
    """Mean and variance of 3 x 3 depthwise convolutions of maps padded with one zero.

    Equal to those of ``F.conv2d(x, weight, padding=1, groups=C)`` over images and positions, to
    rounding, which is that of a sum of squares: a variance that is a millionth of the mean square
    of the maps has no digit left in float32.

    Args:
        x (Tensor): Maps, shape (B, C, H, W).
        weights (Tensor): Kernels of K convolutions, shape (K, C, 1, 3, 3).

    Returns:
        tuple[Tensor, Tensor]: Means and variances, the latter without Bessel's correction, shape
        (K, C), of the type of ``x``.
    """
    count = x.numel() // x.shape[1]
    from_sums, from_products = (torch.tensor(part, dtype=torch.float64, device=x.device)
                                for part in _reach_of_taps())
    with full_precision(x.device):
        sums, products = _moments(x)
        taps = weights.flatten(2).transpose(0, 1).double()  # (C, K, 9)
        mean = torch.bmm(taps, (sums.double() @ from_sums)[..., None])[..., 0] / count
        matrix = (products.double() @ from_products).reshape(-1, 9, 9)
        square = (torch.bmm(taps, matrix) * taps).sum(2) / count
    return mean.t().to(x.dtype), (square - mean.square()).clamp_min(0).t().to(x.dtype)


def _moments(x: Tensor) -> Tuple[Tensor, Tensor]:
    """What sums over all 3 x 3 patches are made of, for values (C, 9) and products (C, 31)."""
    total, correlation, rows, cols = _Correlation.apply(x)
    corners = rows[:, :, [0, -1]].transpose(1, 2)  # (2, 2, B, C)
    sums = (total[None], rows.sum((1, 2)), cols.sum((1, 2)), corners.sum(2).flatten(0, 1))
    products = (correlation.flatten(1).t(), _autocorrelation(rows), _autocorrelation(cols),
                corners.square().sum(2).flatten(0, 1))
    return torch.cat(sums).t(), torch.cat(products).t()


@lru_cache(maxsize=None)
def _reach_of_taps() -> Tuple[List[List[int]], List[List[int]]]:
    """How the sums of :func:`_moments` add up to m and M, shapes (9, 9) and (31, 81).

    Numbers, as a tensor that is kept would be of the mode (inference, meta) it was made in.
    """
    def missed(tap: int) -> int:
        return (1 - tap) // 2  # the line that a tap towards one side misses is the other

    taps = list(product((-1, 0, 1), repeat=2))
    sums, products = ([[0] * size for _ in range(rows)] for rows, size in ((9, 9), (31, 81)))
    for a, (row, col) in enumerate(taps):
        sums[0][a] = 1
        if row:
            sums[1 + missed(row)][a] = -1
        if col:
            sums[3 + missed(col)][a] = -1
        if row and col:
            corner = 2 * missed(row) + missed(col)
            sums[5 + corner][a] = products[27 + corner][10 * a] = 1
        for b, (other_row, other_col) in enumerate(taps):
            down, right = other_row - row, other_col - col
            offset = 3 * down + right if right >= 0 else -3 * down - right  # R[-d] is R[d]
            products[6 + offset][9 * a + b] += 1
            if row and not down:
                products[15 + 3 * missed(row) + abs(right)][9 * a + b] -= 1
            if col and not right:
                products[21 + 3 * missed(col) + abs(down)][9 * a + b] -= 1
    return sums, products


def _autocorrelation(lines: Tensor) -> Tensor:
    """Of two lines (2, B, N, C), at the offsets 0 to 2, summed over images: (6, C)."""
    size = lines.shape[2]
    shifted = [(lines[:, :, k:] * lines[:, :, :max(size - k, 0)]).sum((1, 2)) for k in range(3)]
    return torch.stack(shifted, 1).flatten(0, 1)


class _Correlation(torch.autograd.Function):
    """Sum (C), autocorrelation (C, 5, 3), and outermost rows and columns (2, B, N, C) of maps.

    The autocorrelation is that at the offsets -2..2 of rows and 0..2 of columns. All is in one
    function, since the gradient of each by itself would be one more pass over the maps.
    """

    @staticmethod
    def forward(x: Tensor) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
        return _sum_and_edges(x, _correlate(x, x))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def jvp(ctx: Any, dx: Tensor) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
        x, = ctx.saved_tensors
        return _sum_and_edges(dx, _correlate(x, dx) + _correlate(dx, x))

    @staticmethod
    def backward(ctx: Any, total: Tensor, correlation: Tensor, rows: Tensor,
                 cols: Tensor) -> Tensor:
        x, = ctx.saved_tensors
        kernels = F.pad(correlation, (2, 0))
        kernels = (kernels + kernels.flip(1, 2))[:, None]
        grad = F.conv2d(x, kernels, total, padding=2, groups=x.shape[1])
        for edge in (0, 1):
            grad[:, :, -edge] += rows[edge].transpose(1, 2)
            grad[..., -edge] += cols[edge].transpose(1, 2)
        return grad


def _sum_and_edges(x: Tensor, correlation: Tensor) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
    rows, cols = (torch.stack((maps[:, 0], maps[:, -1]))
                  for maps in (x.permute(0, 2, 3, 1), x.permute(0, 3, 2, 1)))
    return x.sum((0, 2, 3)), correlation, rows, cols


def _correlate(x: Tensor, other: Tensor) -> Tensor:
    """Sums of ``x`` at p times ``other`` at p + d, at the offsets of :class:`_Correlation`.

    That is the gradient of depthwise kernels, which torch computes slowly where they are wider.
    """
    channels = x.shape[1]
    return conv2d_weight(
        F.pad(other, (0, 2)), (channels, 1, 5, 3), x, padding=(2, 0), groups=channels)[:, 0]
