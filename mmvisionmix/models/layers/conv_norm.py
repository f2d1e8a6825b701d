# Copyright (c) mmvisionmix authors. All rights reserved.
from typing import Optional

from mmcv.cnn import build_norm_layer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .foldable import Foldable, are_plain


class ConvNorm(Foldable):
    """Convolution without bias, and a norm. In deployment a batch norm folds into the convolution.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output.
        kernel_size (int): Side of the kernels. Defaults to 1.
        stride (int): Stride. Defaults to 1.
        padding (int): Zeros added on every side. Defaults to 0.
        groups (int): Groups of the convolution. Defaults to 1.
        norm_cfg (dict): Config of the norm. Defaults to ``dict(type='BN')``.
        init_cfg (dict, optional): Initialisation config. Defaults to None.
    """

    plain_parts = ('conv', 'norm')

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
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False)
        self.norm = build_norm_layer(norm_cfg or dict(type='BN'), out_channels)[1]

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, in_channels, H, W) to (B, out_channels, H', W')."""
        return self.norm(self.conv(x)) if self.folded is None else self.folded(x)

    def fold(self) -> Optional[nn.Conv2d]:
        """The convolution that both are in inference."""
        if not may_fold(self.norm) or not are_plain(self.conv):
            return None
        return fuse_conv_bn_eval(self.conv.eval(), self.norm.eval())


def may_fold(norm: nn.Module) -> bool:
    """Whether a norm is an affine map of every channel in inference: a plain batch norm."""
    return (isinstance(norm, _BatchNorm) and norm.affine and norm.track_running_stats
            and are_plain(norm))
