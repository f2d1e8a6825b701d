# Copyright (c) mmvisionmix authors. All rights reserved.
import math
from typing import Any, Dict, Optional

import torch
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmvisionmix.ops import BatchNormStatistics, Convolution, depthwise_conv, fold_batch_norm

FOLDED = {'weight', 'bias', 'running_mean', 'running_var'}
"""What a batch norm computes with in inference."""


class DepthwiseConv2d(nn.Conv2d):
    """Depthwise convolution, quick to train on CPUs, see :func:`mmvisionmix.ops.depthwise_conv`.

    Args:
        in_channels (int): Channels of the input, each of them a group.
        out_channels (int): Channels of the output, a multiple of those of the input.
        kernel_size (int): Side of the kernels.
        stride (int): Stride. Defaults to 1.
        padding (int): Zeros added on every side. Defaults to 0.
        bias (bool): Whether to add a bias. Defaults to True.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1,
                 padding: int = 0, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding,
                         groups=in_channels, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, in_channels, H, W) to (B, out_channels, H', W')."""
        return depthwise_conv(x, self.weight, self.bias, self.stride[0], self.padding[0])


class ConvNorm(BaseModule):
    """Convolution without bias, and a batch norm.

    :meth:`switch_to_deploy` folds the norm into the convolution, which then has a bias. A
    checkpoint saved before loads afterwards, and the other way round.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output.
        kernel_size (int): Side of the kernels. Defaults to 1.
        stride (int): Stride. Defaults to 1.
        padding (int): Zeros added on every side. Defaults to 0.
        groups (int): Groups of the convolution. Defaults to 1.
        norm_cfg (dict): Config of the batch norm. Defaults to ``dict(type='BN')``.
        init_cfg (dict, optional): Initialisation config. Defaults to None.
    """

    def __init__(self,
                 in_channels: int,
                 out_channels: int,
                 kernel_size: int = 1,
                 stride: int = 1,
                 padding: int = 0,
                 groups: int = 1,
                 norm_cfg: Optional[dict] = None,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg)
        self.conv = (
            DepthwiseConv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False)
            if groups == in_channels else nn.Conv2d(
                in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False))
        norm = build_norm_layer(norm_cfg or dict(type='BN'), out_channels)[1]
        self.norm: Optional[nn.Module] = norm
        self.eps: float = norm.eps

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, in_channels, H, W) to (B, out_channels, H', W')."""
        x = self.conv(x)
        return x if self.norm is None else self.norm(x)

    @property
    def convolution(self) -> Optional[nn.Conv2d]:
        """The convolution that the layer amounts to, once the norm is folded."""
        return self.conv if self.norm is None else None

    def fold(self, mean: Optional[Tensor] = None, var: Optional[Tensor] = None) -> Convolution:
        """The one convolution that both are in inference.

        Args:
            mean (Tensor, optional): Of the convolution's outputs, shape (out_channels). Defaults to
                None: the norm's running mean.
            var (Tensor, optional): Their variance. Defaults to None: the running variance.
        """
        if self.norm is None:
            assert self.conv.bias is not None  # switch_to_deploy gave it one
            return Convolution(self.conv.weight, self.conv.bias)
        norm = self.norm.state_dict(keep_vars=True)
        if mean is not None:
            norm.update(running_mean=mean, running_var=var)
        return self._fold(self.conv.weight, norm)

    @torch.no_grad()
    def track(self, mean: Tensor, var: Tensor, count: int) -> None:
        """Moves the running statistics towards those of a batch, as the norm does in training.

        Args:
            mean (Tensor): Of the convolution's outputs, shape (out_channels).
            var (Tensor): Their variance, without Bessel's correction.
            count (int): Number of images times positions, more than 1.
        """
        norm = self.norm
        assert norm is not None  # a folded norm tracks nothing
        norm.num_batches_tracked += 1
        share = 1 / norm.num_batches_tracked.item() if norm.momentum is None else norm.momentum
        norm.running_mean.lerp_(mean, share)
        norm.running_var.lerp_(var * (count / (count - 1)), share)

    @torch.no_grad()
    def switch_to_deploy(self) -> None:
        """Folds the norm into the convolution."""
        if self.norm is not None:
            weight, bias = self.fold()
            self.conv.weight.copy_(weight)
            self.conv.bias = nn.Parameter(bias, requires_grad=self.conv.weight.requires_grad)
            self.norm = None

    def _fold(self, weight: Tensor, norm: Dict[str, Tensor]) -> Convolution:
        return fold_batch_norm(
            weight, None,
            BatchNormStatistics(
                norm['running_mean'], norm['running_var'], norm['weight'], norm['bias'], self.eps))

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        weight, bias, norm = (prefix + name for name in ('conv.weight', 'conv.bias', 'norm.'))
        given = {key[len(norm):]: key for key in state_dict if key.startswith(norm)}
        if self.norm is None and weight in state_dict and FOLDED.issubset(given):
            parts = {name: state_dict.pop(key) for name, key in given.items()}
            state_dict[weight], state_dict[bias] = self._fold(state_dict[weight], parts)
        elif self.norm is not None and bias in state_dict:
            shift = state_dict.pop(bias)
            state_dict.update({
                norm + 'weight': torch.full_like(shift, math.sqrt(1 + self.eps)),
                norm + 'bias': shift, norm + 'running_mean': torch.zeros_like(shift),
                norm + 'running_var': torch.ones_like(shift),
                norm + 'num_batches_tracked': torch.zeros((), dtype=torch.long)})
        super()._load_from_state_dict(state_dict, prefix, *args)
