# Copyright (c) mmvisionmix authors. All rights reserved.
"""GELU of a convolution's output, in one pass over the maps where oneDNN offers it.

Beside a 1 x 1 or depthwise convolution GELU is not free: on CPUs it takes a tenth of the time of
the networks here, most of it for reading and writing maps once more. oneDNN can apply it while it
writes the convolution's output; torch has an operator for that, which its compiler uses.
"""
from typing import Optional, Sequence

import torch
from torch import Tensor

from .precision import autocasts_on_cpu
from .recording import is_recording


def may_fuse_gelu(x: Tensor, weight: Tensor) -> bool:
    """Whether :func:`fused_conv_gelu` can take maps and kernels: in inference on CPUs, in float32.

    Not while operators are recorded or counted: what does that knows convolutions, and not this.
    """
    if torch.is_grad_enabled() or is_recording():
        return False
    if torch._C._len_torch_dispatch_stack():
        return False
    return (x.device.type == 'cpu' and x.dtype == weight.dtype == torch.float32
            and torch.backends.mkldnn.is_available()
            and torch.backends.mkldnn.enabled  # type: ignore[attr-defined]  # a hidden property
            and not autocasts_on_cpu())


def fused_conv_gelu(x: Tensor, weight: Tensor, bias: Optional[Tensor] = None,
                    stride: Sequence[int] = (1, 1), padding: Sequence[int] = (0, 0),
                    groups: int = 1) -> Tensor:
    """GELU of a convolution, without gradients; equal to that of ``F.conv2d`` to rounding.

    Args:
        x (Tensor): Maps, shape (B, C, H, W).
        weight (Tensor): Kernels, shape (C', C / groups, kH, kW).
        bias (Tensor, optional): Shape (C'). Defaults to None.
        stride (Sequence[int]): Along rows and columns. Defaults to (1, 1).
        padding (Sequence[int]): Zeros added at each end of rows and columns. Defaults to (0, 0).
        groups (int): Groups of the convolution. Defaults to 1.

    Returns:
        Tensor: Maps, shape (B, C', H', W').
    """
    return torch.ops.mkldnn._convolution_pointwise(
        x, weight, bias, padding, stride, (1, 1), groups, 'gelu', [], 'none')
