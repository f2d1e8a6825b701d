# Copyright (c) mmvisionmix authors. All rights reserved.
from typing import Any, Optional, Tuple

import torch
from mmcv.cnn.bricks import DropPath
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..arguments import check_int, check_rate
from ..layers import ChannelNorm, ConditionalPositionalEncoding, ConvFFN
from .base import BaseBackbone


class PreNormBlock(BaseModule):
    """Pre-norm residual block of a token mixer and a feed-forward network.

    Args:
        embed_dims (int): Number of channels C.
        mixer (nn.Module): Maps (B, C, H, W) to the same shape.
        mlp_ratio (int): Hidden channels of the feed-forward network, as a multiple of C.
        drop_rate (float): Dropout in the feed-forward network. Defaults to 0.
        drop_path_rate (float): Stochastic-depth rate of both branches. Defaults to 0.
        encoding (nn.Module, optional): See :class:`ConvFFN`. Defaults to None.
    """

    def __init__(self,
                 embed_dims: int,
                 mixer: nn.Module,
                 mlp_ratio: int,
                 drop_rate: float = 0.,
                 drop_path_rate: float = 0.,
                 encoding: Optional[nn.Module] = None) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(embed_dims)
        self.mixer = mixer
        self.norm2 = ChannelNorm(embed_dims)
        self.ffn = ConvFFN(embed_dims, embed_dims * mlp_ratio, encoding, drop_rate)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to the same shape."""
        x = x + self.drop_path(self.mixer(self.norm1(x)))
        return x + self.drop_path(self.ffn(self.norm2(x)))


class PyramidBackbone(BaseBackbone):
    """A backbone whose stem and stages map (B, C, H, W), each stage's maps smaller than the last.

    It runs channels-last, where convolutions and norms are faster so, and emits contiguous maps.

    Args:
        in_channels (int): Channels of the input image.
        drop_rate (float): Dropout in feed-forward networks.
        gap_before_norm (bool): Whether to emit vectors (B, C), averages over positions and then
            normalised, as classifiers want, instead of normalised maps.
        kwargs: See :class:`BaseBackbone`.
    """

    block_classes = (PreNormBlock, )
    fx_leaves = (*BaseBackbone.fx_leaves, ConditionalPositionalEncoding)

    def __init__(self, in_channels: int, drop_rate: float, gap_before_norm: bool,
                 **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_int(in_channels=in_channels)
        check_rate(drop_rate=drop_rate)
        self.gap_before_norm = gap_before_norm

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """Maps images to feature maps.

        Args:
            x (Tensor): Images, shape (B, in_channels, height, width).

        Returns:
            tuple[Tensor]: One map per emitted stage, shape (B, C, H, W), where H and W are a
            quarter, eighth, 16th and 32nd of the image's, rounded up; or, with
            ``gap_before_norm``, one vector per emitted stage, shape (B, C).
        """
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        outs = []
        for i, stage in enumerate(self.stages):
            x = stage(x, self.maybe_checkpoint)
            if i in self.out_indices:
                norm = self.norms[str(i)]
                outs.append(norm(x.mean((2, 3), keepdim=True)).flatten(1) if self.gap_before_norm
                            else norm(x).contiguous())
        return tuple(outs)
