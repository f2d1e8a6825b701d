# Copyright (c) mmvisionmix authors. All rights reserved.
from torch import Tensor, nn


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of maps (B, C, H, W), which come out channels-last."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalises along dimension 1."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
