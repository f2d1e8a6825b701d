# Copyright (c) mmvisionmix authors. All rights reserved.
from functools import partial
from typing import Any, List, Sequence, Tuple, Union

import torch
import torch.fx
from mmcv.cnn.bricks import DropPath
from mmcv.cnn.bricks.transformer import PatchEmbed
from mmengine.model import BaseModule
from mmengine.utils import to_2tuple
from torch import Tensor, nn

from mmvisionmix._compat import on_load
from mmvisionmix.registry import MODELS

from ..arguments import check_int, check_rate, check_size, is_int
from ..layers import LargeKernelAttention, SelfAttention, resize_loaded, resize_pos_embed
from .base import BaseBackbone, drop_path_rates

torch.fx.wrap('resize_pos_embed')


class LKCABlock(BaseModule):
    """Pre-norm residual block of a mixer and an MLP (Eq. 3 and 4).

    Args:
        mixer (nn.Module): Called as ``mixer(tokens, grid)``.
        embed_dims (int): Number of channels C.
        mlp_ratio (float): Hidden channels of the MLP, as a multiple of C.
        drop_rate (float): Dropout in the MLP. Defaults to 0.
        drop_path_rate (float): Stochastic-depth rate of both branches. Defaults to 0.
    """

    def __init__(self,
                 mixer: nn.Module,
                 embed_dims: int,
                 mlp_ratio: float,
                 drop_rate: float = 0.,
                 drop_path_rate: float = 0.) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dims, eps=1e-6)
        self.mixer = mixer
        self.norm2 = nn.LayerNorm(embed_dims, eps=1e-6)
        hidden_dims = int(embed_dims * mlp_ratio)
        self.mlp = nn.Sequential(
            nn.Linear(embed_dims, hidden_dims), nn.GELU(), nn.Dropout(drop_rate),
            nn.Linear(hidden_dims, embed_dims), nn.Dropout(drop_rate))
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor, grid: Tuple[int, int]) -> Tensor:
        """Maps tokens (B, H*W, C) on a grid (H, W) to tokens of the same shape."""
        x = x + self.drop_path(self.mixer(self.norm1(x), grid))
        return x + self.drop_path(self.mlp(self.norm2(x)))


@MODELS.register_module()
class LKCAViT(BaseBackbone):
    """LKCA-ViT: a plain ViT whose attention is one large-kernel convolution.

    From `Interpreting and Improving Attention From the Perspective of Large Kernel Convolution
    <https://arxiv.org/abs/2401.05738>`_, Eq. 1-5: patch embedding, learned position embedding, no
    class token, blocks of LKCA and MLP, a final layer norm. Every block counts as one stage for
    ``out_indices`` and ``frozen_stages``. Pool the last output (``GlobalAveragePooling``) to
    classify, as the paper does.

    Images of any size are taken: the bottom and right are zero-padded to a multiple of
    ``patch_size``, the position embedding is resized, and the kernels are cropped or padded.
    Inferred, as the paper does not say: the sizes behind the names, the output projection of the
    mixer, and one layer norm per emitted stage where several are emitted. Which blocks keep
    self-attention the paper leaves open: Section III-B-3 speaks of some, Eq. 3 of none.

    Args:
        arch (str | dict): Architecture. Names with ``m`` are the rows of Tables II-IV by millions
            of parameters; ``'t'`` and ``'l'`` are LKCA-T and LKCA-L of Tables I and V; ``'s'`` and
            ``'b'`` are LKCA-S and LKCA-B of Tables VI and VII (ADE20K). The paper also calls the
            2.69M network of Tables I and V "LKCA-B". A dict has the keys ``embed_dims``,
            ``num_layers`` and ``mlp_ratio``. Defaults to ``'s'``.
        img_size (int | tuple[int, int]): Height and width of the training images in pixels, which
            set the size of kernels and position embedding. Defaults to 224.
        patch_size (int): Side of a patch in pixels. Defaults to 16.
        in_channels (int): Channels of the input image. Defaults to 3.
        out_indices (int | Sequence[int]): Blocks to emit; negative ones count from the end.
            Blocks past the last of them are not built. Defaults to -1.
        attention_layers (Sequence[int]): Blocks that keep softmax self-attention, see
            :class:`SelfAttention`; negative ones count from the end. Defaults to none.
        num_heads (int): Heads of these blocks. Defaults to 8.
        impl (str): Form of the LKCA product, see :func:`mmvisionmix.ops.large_kernel_mix`.
            Defaults to ``'auto'``.
        interpolate_kernel (bool): Whether to resize kernels, instead of cropping or padding them,
            for images of another size than ``img_size``. Suits the same scenes at another
            resolution. Defaults to False.
        out_proj (bool): Whether LKCA has an output projection, see :class:`LargeKernelAttention`.
            Defaults to True.
        kernel_init (str): How its kernel starts, ``'zero'`` or ``'conv'``. Defaults to ``'zero'``.
        drop_rate (float): Dropout after the position embedding and in MLPs. Defaults to 0.
        drop_path_rate (float): Stochastic-depth rate of the last block. Defaults to 0.
        uniform_drop_path (bool): Whether all blocks have that rate, instead of rates that rise
            linearly from 0. Defaults to False.
        frozen_stages (int): See :class:`BaseBackbone`. Defaults to -1.
        norm_eval (bool): See :class:`BaseBackbone`. Defaults to False.
        with_cp (bool): See :class:`BaseBackbone`. Defaults to False.
        init_cfg (dict | list[dict], optional): Initialisation config. Defaults to truncated normal
            linear layers with a standard deviation of 0.02.

    Raises:
        ValueError: If an argument is none of the above; names it.

    Examples:
        >>> import torch
        >>> from mmvisionmix.models import LKCAViT
        >>> backbone = LKCAViT('s', img_size=512, out_indices=(2, 5, 8, 11))
        >>> [tuple(out.shape) for out in backbone(torch.rand(1, 3, 512, 384))]
        [(1, 384, 32, 24), (1, 384, 32, 24), (1, 384, 32, 24), (1, 384, 32, 24)]
    """

    # Parameters, and multiply-adds beside the mixing product, as in Tables II-IV: 32 x 32 images,
    # patch size 4, with a 10-class head.
    arch_settings = {
        '0.5m': dict(embed_dims=100, num_layers=8, mlp_ratio=2),  # 0.50M, 31M MACs
        '1m': dict(embed_dims=136, num_layers=9, mlp_ratio=2),  # 1.03M
        '2m': dict(embed_dims=192, num_layers=9, mlp_ratio=2),  # 2.03M
        '2.69m': dict(embed_dims=192, num_layers=12, mlp_ratio=2),  # 2.70M, 171M MACs
        '4m': dict(embed_dims=272, num_layers=9, mlp_ratio=2),  # 4.05M
        '8m': dict(embed_dims=384, num_layers=9, mlp_ratio=2),  # 8.04M
        't': dict(embed_dims=136, num_layers=9, mlp_ratio=2),  # the same as 1m
        'l': dict(embed_dims=480, num_layers=9, mlp_ratio=2),  # 12.70M with 200 classes
        's': dict(embed_dims=384, num_layers=12, mlp_ratio=3),  # ADE20K, Table VII
        'b': dict(embed_dims=768, num_layers=12, mlp_ratio=2),  # ADE20K, Table VI
    }
    fractional_settings = ('mlp_ratio', )
    stem_names = ('stem', 'pos_embed', 'drop')
    num_extra_tokens = 0  # no class token; mmpretrain's vis_cam.py asks
    default_init_cfg = dict(type='TruncNormal', layer='Linear', std=0.02)
    family = 'lkca'
    arch_options = {
        **dict.fromkeys(arch_settings, dict(img_size=32, patch_size=4)),
        'l': dict(img_size=64, patch_size=8), 's': {}, 'b': {}}
    arch_data = {
        **dict.fromkeys(arch_settings, dict(  # of CIFAR-10
            num_classes=10, mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616))),
        'l': dict(num_classes=200), 's': {}, 'b': {}}
    first_conv = 'stem.projection'
    norm_before_pool = True
    no_weight_decay = ('pos_embed', )
    block_classes = (LKCABlock, )
    layout = 'NLC'
    fx_leaves = (*BaseBackbone.fx_leaves, PatchEmbed)
    counted_impls = dict(literal='gemm', convolution='conv')
    has_token_products = True
    size_multiple = None  # kernels and position embedding are fitted to the grid

    def __init__(self,
                 arch: Union[str, dict] = 's',
                 img_size: Union[int, Tuple[int, int]] = 224,
                 patch_size: int = 16,
                 in_channels: int = 3,
                 out_indices: Union[int, Sequence[int]] = -1,
                 attention_layers: Sequence[int] = (),
                 num_heads: int = 8,
                 impl: str = 'auto',
                 interpolate_kernel: bool = False,
                 out_proj: bool = True,
                 kernel_init: str = 'zero',
                 drop_rate: float = 0.,
                 drop_path_rate: float = 0.,
                 uniform_drop_path: bool = False,
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 with_cp: bool = False,
                 init_cfg: Union[dict, List[dict], None] = None) -> None:
        super().__init__(frozen_stages, norm_eval, with_cp, init_cfg)
        check_int(in_channels=in_channels)
        check_size(img_size=img_size, patch_size=patch_size)
        check_rate(drop_rate=drop_rate)
        settings = self.get_arch(arch)
        self.embed_dims: int = settings['embed_dims']
        depth: int = settings['num_layers']
        self.set_out_indices(out_indices, (1, ) * depth)

        self.stem = PatchEmbed(
            in_channels, self.embed_dims, kernel_size=patch_size, stride=patch_size,
            input_size=to_2tuple(img_size))
        grid: Tuple[int, int] = self.stem.init_out_size
        self.pos_embed = nn.Parameter(torch.empty(1, self.embed_dims, *grid))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        on_load(self, partial(resize_loaded, 'pos_embed'))
        self.drop = nn.Dropout(drop_rate)

        if not (isinstance(attention_layers, (tuple, list))
                and all(is_int(i) and -depth <= i < depth for i in attention_layers)):
            raise ValueError(f'attention_layers must be between {-depth} and {depth - 1}, '
                             f'got {attention_layers}')
        attention = {i % depth for i in attention_layers}
        rates = drop_path_rates(drop_path_rate, depth, uniform_drop_path)
        self.stages = nn.ModuleList()
        for i in range(self.out_indices[-1] + 1):
            mixer: nn.Module
            if i in attention:
                mixer = SelfAttention(self.embed_dims, num_heads)
            else:
                mixer = LargeKernelAttention(
                    self.embed_dims, grid, impl, interpolate_kernel, out_proj, kernel_init)
            self.stages.append(
                LKCABlock(mixer, self.embed_dims, settings['mlp_ratio'], drop_rate, rates[i]))
        self.norms = nn.ModuleDict(
            {str(i): nn.LayerNorm(self.embed_dims, eps=1e-6) for i in self.out_indices})
        self.freeze_stages()

    @classmethod
    def channels_and_strides(cls, arch: Union[str, dict], **options: Any) -> List[Tuple[int, int]]:
        """See :meth:`BaseBackbone.channels_and_strides`."""
        settings = cls.get_arch(arch)
        stride = options.get('patch_size', 16)
        return [(settings['embed_dims'], stride)] * settings['num_layers']

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """Maps images to feature maps.

        Args:
            x (Tensor): Images, shape (B, in_channels, height, width).

        Returns:
            tuple[Tensor]: One map per emitted block, shape (B, embed_dims, ceil(height /
            patch_size), ceil(width / patch_size)).
        """
        x, grid = self.stem(x)  # (B, H*W, C)
        if torch.jit.is_tracing():
            grid = tuple(map(int, grid))  # a traced graph is for one grid; see docs/deploy.md
        pos_embed = resize_pos_embed(self.pos_embed, grid)
        x = self.drop(x + pos_embed.flatten(2).transpose(1, 2))
        outs = []
        for i, stage in enumerate(self.stages):
            x = self.maybe_checkpoint(stage, x, grid)
            if i in self.out_indices:
                out = self.norms[str(i)](x)
                out = out.transpose(1, 2).contiguous()
                outs.append(out.view(-1, self.embed_dims, grid[0], grid[1]))
        return tuple(outs)
