# Copyright (c) mmvisionmix authors. All rights reserved.
from typing import Optional

from mmengine.model import BaseModule
from torch import Tensor, nn


class ConvFFN(BaseModule):
    """Feed-forward network with a convolution between its first layer and the activation.

    The linear layers are 1 x 1 convolutions: as products of channels-last maps they are the same,
    and on CPUs about twice as fast.

    Args:
        embed_dims (int): Number of channels C.
        hidden_dims (int): Channels between the linear layers.
        encoding (nn.Module, optional): Maps (B, hidden_dims, H, W) to the same shape. Defaults to
            None: there is no convolution between.
        drop_rate (float): Dropout after the activation and after the second layer. Defaults to 0.
        init_cfg (dict, optional): Initialisation config. Defaults to None.
    """

    def __init__(self,
                 embed_dims: int,
                 hidden_dims: int,
                 encoding: Optional[nn.Module] = None,
                 drop_rate: float = 0.,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg)
        self.fc1 = nn.Conv2d(embed_dims, hidden_dims, 1)
        self.encoding = encoding
        self.act = nn.GELU()
        self.fc2 = nn.Conv2d(hidden_dims, embed_dims, 1)
        self.drop = nn.Dropout(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to the same shape; those of channels-last layout stay so."""
        x = self.fc1(x)
        x = x if self.encoding is None else self.encoding(x)
        return self.drop(self.fc2(self.drop(self.act(x))))
