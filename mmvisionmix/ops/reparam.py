# Copyright (c) mmvisionmix authors. All rights reserved.
"""Structural re-parameterisation: linear branches of training folded into one convolution.

In inference a batch norm is an affine map of every channel, a sum of convolutions is a convolution
with the sum of the kernels, and the identity is a convolution with a unit pulse. `Diverse Branch
Block <https://arxiv.org/abs/2103.13425>`_ (Ding et al., 2021) states these as transforms I, II and
VI.
"""
from functools import reduce
from typing import NamedTuple, Optional, Sequence

import torch
from torch import Tensor


class Convolution(NamedTuple):
    """Weights of a convolution.

    Attributes:
        weight: Kernels, shape (C_out, C_in / groups, kH, kW).
        bias: Shape (C_out).
    """
    weight: Tensor
    bias: Tensor


class BatchNormStatistics(NamedTuple):
    """What a batch norm computes with in inference; tensors have the shape (C).

    Attributes:
        mean: Running mean.
        var: Running variance.
        weight: Scale.
        bias: Shift.
        eps: Added to the variance.
    """
    mean: Tensor
    var: Tensor
    weight: Tensor
    bias: Tensor
    eps: float


def fold_batch_norm(weight: Tensor, bias: Optional[Tensor],
                    norm: BatchNormStatistics) -> Convolution:
    """Folds the batch norm that follows a convolution into it.

    Args:
        weight (Tensor): Kernels of the convolution, shape (C_out, C_in / groups, kH, kW).
        bias (Tensor, optional): Its bias, shape (C_out), if it has one.
        norm (BatchNormStatistics): The norm's statistics and parameters.

    Returns:
        Convolution: One that gives norm(conv(x)).
    """
    scale = norm.weight / (norm.var + norm.eps).sqrt()
    centre = norm.mean if bias is None else norm.mean - bias
    return Convolution(weight * scale.view(-1, 1, 1, 1), norm.bias - centre * scale)


def add_parallel(branches: Sequence[Convolution]) -> Convolution:
    """Merges convolutions of one shape whose outputs are summed."""
    return Convolution(*(reduce(torch.add, tensors) for tensors in zip(*branches)))


def depthwise_identity(like: Tensor) -> Tensor:
    """The depthwise kernels, of the shape and type of ``like`` (C, 1, k, k), that change nothing.

    Raises:
        ValueError: If a kernel has no centre, or is not depthwise.
    """
    _, inputs, height, width = like.shape
    if inputs != 1 or height % 2 == 0 or width % 2 == 0:
        raise ValueError(f'kernels must be depthwise and odd, got the shape {tuple(like.shape)}')
    identity = torch.zeros_like(like)
    identity[:, :, height // 2, width // 2] = 1
    return identity
