# Copyright (c) mmvisionmix authors. All rights reserved.
from typing import Optional

from mmengine.model import BaseModule
from torch import Tensor, nn

from .conv_norm import ConvNorm


class SqueezeExcitation(BaseModule):
    """Scales channels by gates computed from their means (`SE <https://arxiv.org/abs/1709.01507>`_).

    Args:
        channels (int): Number of channels C.
        squeezed_channels (int): Channels between the two layers.
        init_cfg (dict, optional): Initialisation config. Defaults to None.
    """

    def __init__(self,
                 channels: int,
                 squeezed_channels: int,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg)
        self.gate = nn.Sequential(
            nn.Linear(channels, squeezed_channels), nn.ReLU(),
            nn.Linear(squeezed_channels, channels), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """Scales maps (B, C, H, W)."""
        return x * self.gate(x.mean((2, 3)))[..., None, None]


class MBConv(BaseModule):
    """Mobile inverted bottleneck (`MBConv <https://arxiv.org/abs/1801.04381>`_), without residual.

    1 x 1 convolution, norm, GELU, 3 x 3 depthwise convolution, norm, GELU, 1 x 1 convolution, norm.

    Args:
        channels (int): Number of channels C.
        expansion (int): Channels of the depthwise convolution, as a multiple of C.
        squeezed_channels (int): Of squeeze and excitation on the output, 0 for none. Defaults to 0.
        norm_cfg (dict): Config of the batch norms. Defaults to ``dict(type='BN')``.
        init_cfg (dict, optional): Initialisation config. Defaults to None.
    """

    def __init__(self,
                 channels: int,
                 expansion: int,
                 squeezed_channels: int = 0,
                 norm_cfg: Optional[dict] = None,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg)
        hidden = channels * expansion
        self.expand = ConvNorm(channels, hidden, norm_cfg=norm_cfg)
        self.depthwise = ConvNorm(
            hidden, hidden, 3, padding=1, groups=hidden, norm_cfg=norm_cfg)
        self.project = ConvNorm(hidden, channels, norm_cfg=norm_cfg)
        self.act = nn.GELU()
        self.excitation: nn.Module = nn.Identity()
        if squeezed_channels:
            self.excitation = SqueezeExcitation(channels, squeezed_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to the same shape."""
        x = self.act(self.expand(x))
        x = self.act(self.depthwise(x))
        return self.excitation(self.project(x))
