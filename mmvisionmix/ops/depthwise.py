# Copyright (c) mmvisionmix authors. All rights reserved.
"""Depthwise convolution whose backward pass is as fast on CPUs as its forward pass.

oneDNN, by which torch convolves on CPUs, computes the gradient of the input of a depthwise
convolution slowly: for 512 maps of 56 x 56, four images and 3 x 3 kernels, in 16 ms where the
forward pass takes 4, and on channels-last maps in 288 ms where that takes 1.3. For stride 1 that
gradient is itself a depthwise convolution, of the output's gradient with the kernels turned by 180
degrees, and takes as long as the forward pass. The gradient of the kernels is quick for 3 x 3, and
forty times as slow for 5 x 5, where it is put together from four quick ones.
"""
from typing import Any, Optional, Sequence, Tuple, Union

import torch
import torch.nn.functional as F
from torch import Tensor

from .recording import is_compiling


def depthwise_conv(x: Tensor, weight: Tensor, bias: Optional[Tensor] = None, stride: int = 1,
                   padding: Union[int, str] = 0) -> Tensor:
    """Convolves every channel by itself, into one channel or more.

    Where gradients are recorded on a CPU, the backward pass is the one described above for stride 1
    and as many channels as before, and for others torch's own on contiguous maps, which is quicker
    so; else this is torch's convolution. Values and gradients are equal, to rounding.

    Args:
        x (Tensor): Maps, shape (B, C, H, W).
        weight (Tensor): Kernels, shape (C * m, 1, k, k).
        bias (Tensor, optional): Shape (C * m). Defaults to None.
        stride (int): Stride. Defaults to 1.
        padding (int | str): Zeros added on every side, fewer than k; or ``'same'``, which keeps the
            size of maps, for stride 1 and odd k. Defaults to 0.

    Returns:
        Tensor: Maps, shape (B, C * m, H', W').
    """
    if x.device.type == 'cpu' and torch.is_grad_enabled() and not torch.jit.is_tracing():
        if not is_compiling():
            return _DepthwiseConv.apply(x, weight, bias, stride, padding)
        x = x.contiguous()
    return F.conv2d(x, weight, bias, stride, padding, groups=x.shape[1])


class _DepthwiseConv(torch.autograd.Function):
    generate_vmap_rule = True  # torch.func's transforms go through it too

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Optional[Tensor], stride: int,
                padding: Union[int, str]) -> Tensor:
        return F.conv2d(x, weight, bias, stride, padding, groups=x.shape[1])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        x, weight, _, ctx.stride, padding = inputs
        ctx.padding = weight.shape[2] // 2 if padding == 'same' else padding
        ctx.save_for_backward(x, weight)
        ctx.save_for_forward(x, weight)

    @staticmethod
    def jvp(ctx: Any, dx: Tensor, dweight: Tensor, dbias: Optional[Tensor],
            *settings: None) -> Tensor:
        x, weight = ctx.saved_tensors
        rest = ctx.stride, ctx.padding, 1, x.shape[1]
        return F.conv2d(dx, weight, dbias, *rest) + F.conv2d(x, dweight, None, *rest)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tuple[Optional[Tensor], ...]:
        x, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:3]
        grad_x, grad_weight, grad_bias = _gradients(
            grad, x.to(grad.dtype), weight.to(grad.dtype), ctx.stride, ctx.padding, wanted)
        # Autocast, which lowers the output's precision, gives gradients of the inputs' own.
        return (None if grad_x is None else grad_x.to(x.dtype),
                None if grad_weight is None else grad_weight.to(weight.dtype),
                None if grad_bias is None else grad_bias.to(weight.dtype), None, None)


def _gradients(grad: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int,
               wanted: Sequence[bool]) -> Tuple[Optional[Tensor], ...]:
    """Gradients of maps, kernels and bias, of those that are wanted."""
    grad_x = grad_weight = None
    channels, size = x.shape[1], weight.shape[2]
    if stride == 1 and len(weight) == channels:
        if wanted[0]:
            grad_x = F.conv2d(
                grad, weight.flip(2, 3), padding=size - 1 - padding, groups=channels)
        if wanted[1] and weight.shape[2:] == (5, 5):
            grad_weight = _gradient_of_5x5(grad, x, padding)
    mask = [wanted[0] and grad_x is None, wanted[1] and grad_weight is None, False]
    if mask[0]:
        x, grad = x.contiguous(), grad.contiguous()
    if any(mask):
        found = torch.ops.aten.convolution_backward(
            grad, x, weight, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], channels,
            mask)
        grad_x, grad_weight = (own if asked else known for own, asked, known in
                               zip(found, mask, (grad_x, grad_weight)))
    return grad_x, grad_weight, grad.sum((0, 2, 3)) if wanted[2] else None


def kernel_gradient(grad: Tensor, x: Tensor, padding: Sequence[int]) -> Tensor:
    """Gradient of 3 x 3 kernels of a depthwise convolution: sums of products of maps.

    Args:
        grad (Tensor): Gradient of the output, shape (B, C, H, W).
        x (Tensor): The input, two larger than ``grad`` along both axes once it is padded.
        padding (Sequence[int]): Zeros added left, right, above and below; negative ones crop.

    Returns:
        Tensor: For each tap the sum of ``grad`` times what of ``x`` it meets, shape (C, 3, 3).
    """
    channels = x.shape[1]
    return torch.ops.aten.convolution_backward(
        grad, F.pad(x, list(padding)), x.new_empty(channels, 1, 3, 3), None, [1, 1], [0, 0], [1, 1],
        False, [0, 0], channels, [False, True, False])[1][:, 0]


def _gradient_of_5x5(grad: Tensor, x: Tensor, padding: int) -> Tensor:
    """Gradient of 5 x 5 kernels, (C, 1, 5, 5), from those of their four corners, which overlap."""
    sides = [(padding - start, padding + start - 2) for start in (0, 2)]
    (a, b), (c, d) = [[kernel_gradient(grad, x, (*cols, *rows)) for cols in sides]
                      for rows in sides]
    above, below = torch.cat((a, b[..., 1:]), 2), torch.cat((c, d[..., 1:]), 2)
    return torch.cat((above, below[:, 1:]), 1)[:, None]
