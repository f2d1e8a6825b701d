# Copyright (c) mmvisionmix authors. All rights reserved.
from typing import Optional

from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from torch import Tensor, nn

from .gelu import GELU


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
        norm_cfg = norm_cfg or dict(type='BN')
        hidden = channels * expansion
        self.expand = nn.Conv2d(channels, hidden, 1, bias=False)
        self.norm1 = build_norm_layer(norm_cfg, hidden)[1]
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden, bias=False)
        self.norm2 = build_norm_layer(norm_cfg, hidden)[1]
        self.project = nn.Conv2d(hidden, channels, 1, bias=False)
        self.norm3 = build_norm_layer(norm_cfg, channels)[1]
        self.act = GELU()
        self.excitation = (
            SqueezeExcitation(channels, squeezed_channels) if squeezed_channels else nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to the same shape."""
        x = self.act(self.norm1(self.expand(x)))
        x = self.act(self.norm2(self.depthwise(x)))
        return self.excitation(self.norm3(self.project(x)))
