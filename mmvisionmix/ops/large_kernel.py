# Copyright (c) mmvisionmix authors. All rights reserved.
"""Large-kernel convolutional attention (LKCA): token mixing by one kernel larger than the grid.

From `Interpreting and Improving Attention From the Perspective of Large Kernel Convolution
<https://arxiv.org/abs/2401.05738>`_ (Li et al., 2024). Tokens lie on a grid of H x W, N = HW of
them. One kernel ``w`` of (2H-1) x (2W-1), shared by all channels, gives the weight of token (p, q)
in the output at (i, j) by their offset alone, with no softmax::

    A[(i, j), (p, q)] = w[p - i + H - 1, q - j + W - 1]          out = A V

Four algebraically equal forms of this product are here; MACs are for one image and one channel.

==============  =================  ===========================================================
``impl``        MACs               how
==============  =================  ===========================================================
``'literal'``   N^2                Algorithm 1: A row by row from sliding windows, then A V
``'conv'``      N (2H-1)(2W-1)     Algorithm 2: a zero-padded convolution of every channel
``'gemm'``      N^2                A by one strided copy, then one matrix product
``'spectral'``  4N (H + W)         DFT along H and a small product along W per frequency
==============  =================  ===========================================================
"""
import math
from typing import Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .precision import full_precision

Grid = Tuple[int, int]


def large_kernel_mix(value: Tensor, kernel: Tensor, grid: Grid, impl: str = 'auto') -> Tensor:
    """Mixes tokens by their offsets on the grid (Algorithms 1 and 2 of the paper).

    Args:
        value (Tensor): Tokens V in row-major order, shape (B, H*W, C).
        kernel (Tensor): Weights of all offsets, shape (2H-1, 2W-1). :func:`fit_kernel` gives the
            kernel for another grid than the one it was made for.
        grid (tuple[int, int]): Height H and width W of the token grid.
        impl (str): One of ``'literal'``, ``'conv'``, ``'gemm'``, ``'spectral'``, or ``'auto'``,
            which picks the fastest by :func:`choose_large_kernel_impl`. All are exact.
            ``'spectral'`` computes in at least float32, also inside autocast. Defaults to
            ``'auto'``.

    Returns:
        Tensor: The mixed tokens, shape (B, H*W, C).

    Raises:
        ValueError: If ``impl`` is unknown or the shapes do not belong to the grid.
    """
    if impl not in IMPLS:
        raise ValueError(f'impl must be one of {list(IMPLS)}, got {impl!r}')
    _check_shapes(value, kernel, grid)
    if impl == 'auto':
        impl = choose_large_kernel_impl(grid, value.device)
    return _FORMS[impl](value, kernel, grid)


def choose_large_kernel_impl(grid: Grid, device: torch.device) -> str:
    """Picks the fastest exact form for a grid on a device.

    The matrix product wins while the grid is small enough for its N^2 to be cheap, up to 16 x 16
    on a CPU (measured, docs/benchmarks.md), and on grids so narrow that the spectral form saves no
    multiply-adds. Accelerators are faster at one large product than at many small ones, so the
    bound there is 32 x 32 (not measured yet).

    Args:
        grid (tuple[int, int]): Height H and width W of the token grid.
        device (torch.device): Where the tokens are.

    Returns:
        str: ``'gemm'`` or ``'spectral'``.
    """
    height, width = grid
    tokens = height * width
    cheap = tokens <= (256 if device.type == 'cpu' else 1024)
    return 'gemm' if cheap or tokens <= 4 * (height + width) else 'spectral'


def fit_kernel(kernel: Tensor, grid: Grid, interpolate: bool = False) -> Tensor:
    """Gives a kernel for another grid than the one it was made for.

    Args:
        kernel (Tensor): Weights of all offsets on the source grid, shape (2H-1, 2W-1).
        grid (tuple[int, int]): The target grid (H', W').
        interpolate (bool): If False, every offset keeps its weight: a smaller grid crops the
            kernel and a larger one pads it with zeros, each axis for itself. This is exact for
            crops and for images larger than those trained on. If True, the kernel is sampled
            bicubically at the offsets of the target grid in units of the source grid, which suits
            the same scene at another resolution; as no softmax normalises the weights, they are
            scaled by HW / (H'W'). Defaults to False.

    Returns:
        Tensor: The kernel for the target grid, shape (2H'-1, 2W'-1).
    """
    source = ((kernel.shape[0] + 1) // 2, (kernel.shape[1] + 1) // 2)
    if source == tuple(grid):
        return kernel
    if interpolate:
        return _sample_kernel(kernel, source, grid)
    rows, cols = grid[0] - source[0], grid[1] - source[1]
    return F.pad(kernel, (cols, cols, rows, rows))  # a negative width crops


def _sample_kernel(kernel: Tensor, source: Grid, grid: Grid) -> Tensor:
    """An offset d on n' positions is d n / n' on n; outermost weights go on past the kernel."""
    dtype = _at_least_float32(kernel.dtype)
    axes = []
    for old, new in zip(source, grid):
        offsets = torch.arange(1 - new, new, dtype=dtype, device=kernel.device)
        axes.append(offsets * (old / new / max(old - 1, 1)))  # -1 and 1: the kernel's own ends
    points = torch.stack(torch.meshgrid(*axes, indexing='ij')[::-1], dim=-1)  # (x, y)
    sampled = F.grid_sample(
        kernel[None, None].to(dtype), points[None], mode='bicubic', padding_mode='border',
        align_corners=True)
    gain = source[0] * source[1] / (grid[0] * grid[1])
    return (sampled[0, 0] * gain).to(kernel.dtype)


def toeplitz_matrix(kernel: Tensor, grid: Grid) -> Tensor:
    """Expands a kernel into the mixing matrix A of the module's header.

    Args:
        kernel (Tensor): Weights of all offsets, shape (2H-1, 2W-1).
        grid (tuple[int, int]): Height H and width W of the token grid.

    Returns:
        Tensor: The two-level Toeplitz matrix A, shape (H*W, H*W).
    """
    height, width = grid
    # Windows start at H-1-i and W-1-j, so flipping the window positions orders them by (i, j).
    windows = kernel.unfold(0, height, 1).unfold(1, width, 1).flip(0, 1)  # (H, W, H, W)
    return windows.reshape(height * width, height * width)


def _mix_literal(value: Tensor, kernel: Tensor, grid: Grid) -> Tensor:
    height, width = grid
    rows = []
    for i in range(height):
        for j in range(width):
            top, left = height - 1 - i, width - 1 - j
            rows.append(kernel[top:top + height, left:left + width].flatten())
    return torch.stack(rows) @ value


def _mix_conv(value: Tensor, kernel: Tensor, grid: Grid) -> Tensor:
    """With the longer side as the width of images.

    On CPUs torch 2.1 writes past its memory in the gradient of tall kernels (21 rows and more) on
    narrow maps (up to 5 columns), and not in that of wide ones.
    """
    batch, tokens, channels = value.shape
    images = value.transpose(1, 2).reshape(batch * channels, 1, *grid)
    tall = grid[0] > grid[1]
    if tall:
        images, kernel = images.transpose(2, 3).contiguous(), kernel.t().contiguous()
    mixed = F.conv2d(images, kernel[None, None], padding=(images.shape[2] - 1, images.shape[3] - 1))
    mixed = mixed.transpose(2, 3) if tall else mixed
    return mixed.reshape(batch, channels, tokens).transpose(1, 2)


def _mix_gemm(value: Tensor, kernel: Tensor, grid: Grid) -> Tensor:
    return _left_product(toeplitz_matrix(kernel, grid), value)


def _mix_spectral(value: Tensor, kernel: Tensor, grid: Grid) -> Tensor:
    """A = D^T blockdiag_f(K_f) D with D the real DFT of length 2H-1 along the grid's height.

    Offsets along H become H frequencies; at frequency f the kernel's rows sum to a cosine row c_f
    and a sine row s_f, and with T(u) the W x W Toeplitz matrix of a row u of 2W-1 weights::

        K_f = [[T(c_f), T(s_f)], [-T(s_f), T(c_f)]]

    Every factor is a plain real matrix product on tokens in their own order: no transposed copies.
    """
    height, width = grid
    batch, tokens, channels = value.shape
    with full_precision(value.device):
        dtype = _at_least_float32(value.dtype)
        basis, waves = _dft(height, dtype, value.device)
        rows = (waves @ kernel.to(dtype)).view(height, 2, 2 * width - 1)
        cos, sin = rows.unfold(2, width, 1).flip(2).unbind(1)  # T(c_f), T(s_f): (H, W, W)
        blocks = torch.cat([torch.cat([cos, sin], 2), torch.cat([-sin, cos], 2)], 1)
        x = value.to(dtype).reshape(batch, height, width * channels)
        x = _left_product(basis, x).view(batch, height, 2 * width, channels)
        x = (blocks @ x).view(batch, 2 * height, width * channels)
        mixed = _left_product(basis.t(), x).view(batch, tokens, channels)
    return mixed.to(value.dtype)


_FORMS = dict(literal=_mix_literal, conv=_mix_conv, gemm=_mix_gemm, spectral=_mix_spectral)
IMPLS = ('auto', *_FORMS)


def _dft(size: int, dtype: torch.dtype, device: torch.device) -> Tuple[Tensor, Tensor]:
    """Real DFT of circular length 2*size-1, the shortest in which no offset wraps around.

    Returns:
        tuple[Tensor, Tensor]: D, shape (2*size, size): rows (f, cos), (f, sin) on positions
        0..size-1, scaled so that D^T D = 1; and the same frequencies, unscaled, on the offsets
        1-size..size-1, shape (2*size, 2*size-1).
    """
    length = 2 * size - 1
    frequency = torch.arange(size, device=device)
    offset = torch.arange(1 - size, size, device=device)
    turns = torch.outer(frequency, offset) % length  # whole numbers: exact
    phase = turns.to(dtype) * (2 * math.pi / length)
    waves = torch.stack([phase.cos(), phase.sin()], dim=1)  # (f, cos|sin, offset)
    # A real signal's negative frequencies mirror the positive ones, so all but f = 0 count twice.
    power = (2 - (frequency == 0).to(dtype)) / length
    basis = waves[..., size - 1:] * power.sqrt()[:, None, None]
    return basis.reshape(2 * size, size), waves.reshape(2 * size, length)


def _left_product(matrix: Tensor, value: Tensor) -> Tensor:
    """matrix @ value of a batch; torch.matmul would fold the batch by a transposed copy."""
    return torch.bmm(matrix.expand(value.shape[0], -1, -1), value)


def _at_least_float32(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _check_shapes(value: Tensor, kernel: Tensor, grid: Grid) -> None:
    height, width = grid
    if value.ndim != 3 or value.shape[1] != height * width:
        raise ValueError(f'value must have shape (B, {height * width}, C) on a grid of {height} x '
                         f'{width}, got {tuple(value.shape)}')
    if tuple(kernel.shape) != (2 * height - 1, 2 * width - 1):
        raise ValueError(f'kernel must have shape {(2 * height - 1, 2 * width - 1)} on a grid of '
                         f'{height} x {width}, got {tuple(kernel.shape)}; see fit_kernel')
