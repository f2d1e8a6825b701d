# Copyright (c) mmvisionmix authors. All rights reserved.
from itertools import accumulate
from operator import mul
from typing import Any, List, Optional, Sequence, Tuple, Union

from mmcv.cnn.bricks import DropPath
from mmcv.cnn.bricks.transformer import AdaptivePadding
from mmengine.model import BaseModule
from mmengine.utils import to_2tuple
from torch import Tensor, nn

from mmvisionmix.registry import MODELS

from ..arguments import check_choice, check_int, check_rate, check_size
from ..layers import (
    ConditionalPositionalEncoding,
    ConvFFN,
    KeyOnlyAttention,
    MBConv,
    PositionEmbedding,
    SelfAttention,
    make_encoding,
)
from .base import BaseBackbone, Stage, drop_path_rates


class PatchEmbedding(BaseModule):
    """A strided convolution, and a layer norm after it or before it.

    Args:
        in_channels (int): Channels of the input.
        embed_dims (int): Channels of the output.
        stride (int): Stride of the convolution.
        kernel_size (int): Side of the kernels. If it is ``stride``, patches do not overlap, and
            the bottom and right are padded with zeros to a multiple of it.
        norm_first (bool): Whether the norm is on the input, a map, or on the output, where the
            input is an image.
        pos_grid (tuple[int, int], optional): Grid that an absolute position embedding is made for.
            Defaults to None: there is none.
    """

    def __init__(self,
                 in_channels: int,
                 embed_dims: int,
                 stride: int,
                 kernel_size: int,
                 norm_first: bool,
                 pos_grid: Optional[Tuple[int, int]] = None) -> None:
        super().__init__()
        self.norm_first = norm_first
        padding = 0 if kernel_size == stride else kernel_size // 2
        self.pad = nn.Identity() if padding else AdaptivePadding(stride, stride, padding='corner')
        self.conv = nn.Conv2d(in_channels, embed_dims, kernel_size, stride, padding)
        self.norm = nn.LayerNorm(in_channels if norm_first else embed_dims)
        self.position: nn.Module = nn.Identity()
        if pos_grid:
            self.position = PositionEmbedding(embed_dims, pos_grid)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, H, W, C) to (B, H', W', C')."""
        x = self.norm(x) if self.norm_first else x
        x = self.conv(self.pad(x.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
        return self.position(x if self.norm_first else self.norm(x))


class HybridBlock(BaseModule):
    """Pre-norm residual block of attention and a feed-forward network (Fig. 3b).

    Args:
        embed_dims (int): Number of channels C.
        mixer (nn.Module): Called as ``mixer(tokens, grid)``.
        ffn (nn.Module): Maps (B, C, H, W) to the same shape.
        drop_path_rate (float): Stochastic-depth rate of both branches. Defaults to 0.
    """

    def __init__(self,
                 embed_dims: int,
                 mixer: nn.Module,
                 ffn: nn.Module,
                 drop_path_rate: float = 0.) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dims)
        self.mixer = mixer
        self.norm2 = nn.LayerNorm(embed_dims)
        self.ffn = ffn
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, H, W, C) to the same shape."""
        mixed = self.mixer(self.norm1(x).flatten(1, 2), x.shape[1:3])
        x = x + self.drop_path(mixed.view_as(x))
        hidden = self.ffn(self.norm2(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x + self.drop_path(hidden)


class ConvBlock(BaseModule):
    """Residual block of an MBConv with squeeze and excitation (Section 5.1).

    Args:
        embed_dims (int): Number of channels C.
        norm_cfg (dict): Config of the batch norms.
        drop_path_rate (float): Stochastic-depth rate. Defaults to 0.
    """

    def __init__(self, embed_dims: int, norm_cfg: dict, drop_path_rate: float = 0.) -> None:
        super().__init__()
        self.conv = MBConv(embed_dims, 8, squeezed_channels=embed_dims // 4, norm_cfg=norm_cfg)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, H, W, C) to the same shape."""
        mixed = self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x + self.drop_path(mixed)


@MODELS.register_module()
class LinGlo(BaseBackbone):
    """LinGlo: key-only attention and convolution in every block of a four-stage pyramid.

    From `Rethinking Query-Key Pairwise Interactions in Vision Transformers
    <https://arxiv.org/abs/2207.00188>`_, Section 3: overlapping convolutions between the stages,
    blocks of key-only attention (Eq. 2-4) and of a feed-forward network with RP-CPE. Maps are
    (B, H, W, C) throughout. Images of any size are taken.

    Inferred, as the paper does not say: biases, the place of the norms of downsampling, one layer
    norm per emitted stage, and the design of the convolutional blocks of Section 5.1, from
    parameter counts.

    Args:
        arch (str | dict): ``'b0'``, ``'b1'`` or ``'b2'`` of Section 3.4, ``'w/o-ch'`` of Section
            5.4, or a dict with the keys ``embed_dims``, ``depths``, ``num_heads`` and
            ``mlp_ratios``, each with one value per stage. Defaults to ``'b0'``.
        in_channels (int): Channels of the input image. Defaults to 3.
        out_indices (int | Sequence[int]): Stages to emit; negative ones count from the end.
            Stages past the last of them are not built. Defaults to (0, 1, 2, 3).
        layout (str): One letter per stage: ``'h'`` for hybrid blocks, ``'c'`` for convolutional
            ones (Section 5.1). Defaults to ``'hhhh'``, which fits four stages alone.
        attention (str): ``'key-only'``, or ``'dot-product'`` for softmax attention (Section 5.2).
            Defaults to ``'key-only'``.
        inner_per_head (bool): See :class:`KeyOnlyAttention`. Defaults to False.
        encoding (str, optional): Positional encoding in feed-forward networks, ``'cpe'``,
            ``'r-cpe'``, ``'p-cpe'`` or ``'rp-cpe'`` (Section 5.3), or None for none. Defaults to
            ``'rp-cpe'``.
        patch_sizes (Sequence[int], optional): Non-overlapping patches of these sizes, one per
            stage, instead of overlapping convolutions (Section 5.4); 1 leaves downsampling out.
            Defaults to None.
        absolute_pos (bool): Whether to add a learned position embedding after each downsampling
            (Section 5.4). Defaults to False.
        img_size (int | tuple[int, int]): Height and width in pixels of the images that position
            embeddings are made for; they are resized for others. Defaults to 224.
        gap_before_norm (bool): Whether to emit vectors (B, C), averages over positions and then
            normalised, as classifiers want, instead of normalised maps. Defaults to False.
        impl (str): ``'literal'`` has positional encodings computed branch by branch in training,
            see :class:`ConditionalPositionalEncoding`. Defaults to ``'auto'``.
        norm_cfg (dict): Config of the batch norms in positional encodings and convolutional
            blocks. Defaults to ``dict(type='BN')``.
        drop_rate (float): Dropout of attention outputs and MLPs in hybrid blocks. Defaults to 0.
        drop_path_rate (float): Stochastic-depth rate of the last block. Defaults to 0.
        frozen_stages (int): See :class:`BaseBackbone`. Defaults to -1.
        norm_eval (bool): See :class:`BaseBackbone`. Defaults to False.
        with_cp (bool): See :class:`BaseBackbone`. Defaults to False.
        init_cfg (dict | list[dict], optional): See :class:`BaseBackbone`. Defaults to truncated
            normal linear layers and convolutions with a standard deviation of 0.02.

    Raises:
        ValueError: If an option is none of those above, or has not one value per stage.

    Examples:
        >>> import torch
        >>> from mmvisionmix.models import LinGlo
        >>> backbone = LinGlo('b0').eval()
        >>> [tuple(out.shape) for out in backbone(torch.rand(1, 3, 224, 160))]
        [(1, 32, 56, 40), (1, 64, 28, 20), (1, 160, 14, 10), (1, 256, 7, 5)]
    """

    # As classifiers of 1000 classes: parameters, those with RP-CPE folded, and multiply-adds of
    # the latter on 224 x 224 images, mixers as in the paper.
    arch_settings = {
        'b0': dict(embed_dims=(32, 64, 160, 256), depths=(2, 3, 3, 2), num_heads=(1, 2, 5, 8),
                   mlp_ratios=(8, 8, 4, 4)),  # 3.81M, 3.60M; 0.68G
        'b1': dict(embed_dims=(64, 128, 320, 512), depths=(2, 3, 3, 2), num_heads=(1, 2, 5, 8),
                   mlp_ratios=(8, 8, 4, 4)),  # 14.13M, 13.72M; 2.62G
        'b2': dict(embed_dims=(64, 128, 320, 512), depths=(3, 5, 9, 3), num_heads=(1, 2, 5, 8),
                   mlp_ratios=(8, 8, 4, 4)),  # 25.97M, 25.14M; 5.04G
        'w/o-ch': dict(  # 3.92M, without encodings and with its patches; MLP ratios inferred
            embed_dims=(150, 150, 150, 150), depths=(2, 3, 3, 2), num_heads=(3, 3, 3, 3),
            mlp_ratios=(8, 8, 4, 4)),
    }
    default_init_cfg = dict(type='TruncNormal', layer=['Linear', 'Conv1d', 'Conv2d'], std=0.02)
    family = 'linglo'
    arch_options = {
        'w/o-ch': dict(encoding=None, patch_sizes=(16, 1, 1, 1), absolute_pos=True)}
    no_weight_decay = ('position.weight', )
    block_classes = (HybridBlock, ConvBlock)
    layout = 'NHWC'
    fx_leaves = (*BaseBackbone.fx_leaves, ConditionalPositionalEncoding)
    counted_impls = dict(literal='literal')

    def __init__(self,
                 arch: Union[str, dict] = 'b0',
                 in_channels: int = 3,
                 out_indices: Union[int, Sequence[int]] = (0, 1, 2, 3),
                 layout: str = 'hhhh',
                 attention: str = 'key-only',
                 inner_per_head: bool = False,
                 encoding: Optional[str] = 'rp-cpe',
                 patch_sizes: Optional[Sequence[int]] = None,
                 absolute_pos: bool = False,
                 img_size: Union[int, Tuple[int, int]] = 224,
                 gap_before_norm: bool = False,
                 impl: str = 'auto',
                 norm_cfg: Optional[dict] = None,
                 drop_rate: float = 0.,
                 drop_path_rate: float = 0.,
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 with_cp: bool = False,
                 init_cfg: Union[dict, List[dict], None] = None) -> None:
        super().__init__(frozen_stages, norm_eval, with_cp, init_cfg)
        check_int(in_channels=in_channels)
        check_size(img_size=img_size)
        check_rate(drop_rate=drop_rate)
        check_choice(('auto', 'literal'), impl=impl)
        settings = self.get_arch(arch)
        dims, depths = settings['embed_dims'], settings['depths']
        self.set_out_indices(out_indices, depths)
        self.has_token_products = attention == 'dot-product'
        if isinstance(arch, str) and arch.lower() in ('b0', 'b1', 'b2'):
            self.pretraining_config = f'configs/linglo/linglo-{arch.lower()}_8xb128-300e_in1k'
        self._check_options(len(depths), layout, attention, patch_sizes)
        self.gap_before_norm = gap_before_norm
        norm_cfg = norm_cfg or dict(type='BN')

        def make_block(stage: int, rate: float) -> nn.Module:
            channels, heads = dims[stage], settings['num_heads'][stage]
            if layout[stage] == 'c':
                return ConvBlock(channels, norm_cfg, rate)
            mixer: nn.Module
            if attention == 'dot-product':
                mixer = SelfAttention(channels, heads, qkv_bias=True, drop_rate=drop_rate)
            else:
                mixer = KeyOnlyAttention(channels, heads, inner_per_head, drop_rate)
            hidden = channels * settings['mlp_ratios'][stage]
            local = make_encoding(encoding, hidden, norm_cfg, impl)
            return HybridBlock(channels, mixer, ConvFFN(channels, hidden, local, drop_rate), rate)

        embeddings = self._make_embeddings(
            (in_channels, *dims), patch_sizes, to_2tuple(img_size) if absolute_pos else None)
        rates = iter(drop_path_rates(drop_path_rate, sum(depths)))
        self.stem = embeddings[0]
        self.stages = nn.ModuleList(
            Stage(embeddings[i] if i else nn.Identity(),
                  [make_block(i, next(rates)) for _ in range(depths[i])])
            for i in range(self.out_indices[-1] + 1))
        self.norms = nn.ModuleDict({str(i): nn.LayerNorm(dims[i]) for i in self.out_indices})
        self.freeze_stages()

    @classmethod
    def channels_and_strides(cls, arch: Union[str, dict], **options: Any) -> List[Tuple[int, int]]:
        """See :meth:`BaseBackbone.channels_and_strides`."""
        found = super().channels_and_strides(arch)
        if not options.get('patch_sizes'):
            return found
        strides = accumulate(options['patch_sizes'], mul)
        return [(dims, stride) for (dims, _), stride in zip(found, strides)]

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """Maps images to feature maps.

        Args:
            x (Tensor): Images, shape (B, in_channels, height, width).

        Returns:
            tuple[Tensor]: One map per emitted stage, shape (B, C, H, W), where H and W are a
            quarter, eighth, 16th and 32nd of the image's, rounded up, unless ``patch_sizes`` say
            otherwise; or, with ``gap_before_norm``, one vector per emitted stage, shape (B, C).
        """
        x = self.stem(x.permute(0, 2, 3, 1))  # (B, H, W, C), here and below
        outs = []
        for i, stage in enumerate(self.stages):
            x = stage(x, self.maybe_checkpoint)
            if i in self.out_indices:
                outs.append(self._emit(x, self.norms[str(i)]))
        return tuple(outs)

    def _emit(self, x: Tensor, norm: nn.Module) -> Tensor:
        if self.gap_before_norm:
            return norm(x.mean((1, 2)))
        return norm(x).permute(0, 3, 1, 2).contiguous()

    def _make_embeddings(self, channels: Sequence[int], patch_sizes: Optional[Sequence[int]],
                         grid: Optional[Tuple[int, int]]) -> List[nn.Module]:
        """The stem and what leads into later stages; ``grid`` is that of the image."""
        later = self.num_stages - 1
        strides = patch_sizes or (4, *(2, ) * later)
        kernels = patch_sizes or (7, *(3, ) * later)
        embeddings: List[nn.Module] = []
        for i in range(self.out_indices[-1] + 1):
            if strides[i] == 1:
                if channels[i] != channels[i + 1]:
                    raise ValueError(f'a patch size of 1 keeps the channels, but stage {i} has '
                                     f'{channels[i + 1]} after {channels[i]}')
                embeddings.append(nn.Identity())
                continue
            if grid is not None:
                grid = -(-grid[0] // strides[i]), -(-grid[1] // strides[i])
            embeddings.append(
                PatchEmbedding(
                    channels[i], channels[i + 1], strides[i], kernels[i], i > 0, grid))
        return embeddings

    @staticmethod
    def _check_options(num_stages: int, layout: str, attention: str,
                       patch_sizes: Optional[Sequence[int]]) -> None:
        if not isinstance(layout, str) or len(layout) != num_stages or set(layout) - set('ch'):
            raise ValueError(f"layout must have {num_stages} letters, 'c' or 'h', got {layout!r}")
        check_choice(('key-only', 'dot-product'), attention=attention)
        if patch_sizes is None:
            return
        check_int(patch_sizes=patch_sizes)
        if not isinstance(patch_sizes, (tuple, list)) or len(patch_sizes) != num_stages:
            raise ValueError(f'patch_sizes must have {num_stages} values, got {patch_sizes}')
