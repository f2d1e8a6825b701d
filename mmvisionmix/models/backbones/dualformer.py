# Copyright (c) mmvisionmix authors. All rights reserved.
from functools import partial
from typing import Callable, List, Optional, Sequence, Union

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmvisionmix.registry import MODELS

from ..arguments import check_choice, check_int
from ..layers import ChannelNorm, ConvNorm, MBConv, PartitionAttention, make_encoding
from .base import Stage, drop_path_rates
from .pyramid import PreNormBlock, PyramidBackbone

MIXINGS = ('parallel', 'serial', 'attention')


class DualMixer(BaseModule):
    """Convolution and partition attention side by side, on half of the channels each (Fig. 3).

    Args:
        embed_dims (int): Number of channels C.
        make_attention (Callable): ``make_attention(channels)`` makes partition attention.
        mixing (str): ``'parallel'``: as above. ``'serial'``: attention after convolution, both on
            all channels, the convolution without expansion. ``'attention'``: attention alone, on
            all channels. Defaults to ``'parallel'``. The projection after each is inferred.
        norm_cfg (dict): Config of the batch norms. Defaults to ``dict(type='BN')``.

    Raises:
        ValueError: If the channels have no halves.
    """

    def __init__(self,
                 embed_dims: int,
                 make_attention: Callable[[int], nn.Module],
                 mixing: str = 'parallel',
                 norm_cfg: Optional[dict] = None) -> None:
        super().__init__()
        self.parallel = mixing == 'parallel'
        if self.parallel and embed_dims % 2:
            raise ValueError(f'embed_dims must be even for two paths, got {embed_dims}')
        channels = embed_dims // 2 if self.parallel else embed_dims
        self.attention = make_attention(channels)
        self.conv = None if mixing == 'attention' else MBConv(
            channels, 4 if self.parallel else 1, norm_cfg=norm_cfg)
        self.proj = nn.Conv2d(embed_dims, embed_dims, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to the same shape."""
        if self.conv is None:
            return self.proj(self.attention(x))
        if not self.parallel:
            return self.proj(self.attention(x + self.conv(x)))
        local, distant = x.chunk(2, 1)
        return self.proj(torch.cat((local + self.conv(local), self.attention(distant)), 1))


class Stem(BaseModule):
    """Two 3 x 3 convolutions that halve images twice, with batch norms, and GELU between them.

    Args:
        in_channels (int): Channels of the image.
        embed_dims (int): Channels of the output; the first convolution has half of them.
        norm_cfg (dict): Config of the batch norms. Defaults to ``dict(type='BN')``.
    """

    def __init__(self, in_channels: int, embed_dims: int, norm_cfg: Optional[dict] = None) -> None:
        super().__init__()
        self.halve = ConvNorm(in_channels, embed_dims // 2, 3, 2, 1, norm_cfg=norm_cfg)
        self.act = nn.GELU()
        self.quarter = ConvNorm(embed_dims // 2, embed_dims, 3, 2, 1, norm_cfg=norm_cfg)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, in_channels, H, W) to (B, embed_dims, H', W')."""
        return self.quarter(self.act(self.halve(x)))


@MODELS.register_module()
class DualFormer(PyramidBackbone):
    """DualFormer: convolution and partition attention in two paths, in a four-stage pyramid.

    From `Dual Path Transformer with Partition Attention <https://arxiv.org/abs/2305.14768>`_,
    Section 3: overlapping convolutions between the stages, and blocks of MBConv beside partition
    attention (Eq. 4-9) and of a feed-forward network. Maps are (B, C, H, W) throughout,
    channels-last. Images of any size are taken. There is no position encoding.

    Inferred, as the paper does not say: the ratios of MLPs, from parameter counts, the number of
    heads, the projection of both paths, and one layer norm per emitted stage; see
    :class:`PartitionAttention` for the rest.

    Args:
        arch (str | dict): ``'t'``, ``'xs'``, ``'s'`` or ``'b'`` of Table 1, or a dict with the keys
            ``embed_dims``, ``depths``, ``reductions`` (of the maps that attention is computed on)
            and ``mlp_ratios``, each with one value per stage. Defaults to ``'xs'``.
        in_channels (int): Channels of the input image. Defaults to 3.
        out_indices (int | Sequence[int]): Stages to emit; negative ones count from the end.
            Stages past the last of them are not built. Defaults to (0, 1, 2, 3).
        num_heads (int): Heads of every block. Defaults to 8.
        num_partitions (int): See :class:`PartitionAttention`. Defaults to 4.
        partition (str): See :class:`PartitionAttention`, and Table 6. Defaults to ``'lsh'``.
        share_partition (bool): See :class:`PartitionAttention`. Defaults to False.
        paths (Sequence[str]): See :class:`PartitionAttention`, and Table 5. Defaults to
            ``('intra', 'inter')``.
        rescale (bool): See :class:`PartitionAttention`. Defaults to True.
        mixing (str): ``'parallel'``, ``'serial'`` or ``'attention'``, see :class:`DualMixer`, and
            Table 5. Defaults to ``'parallel'``.
        encoding (str, optional): See :class:`LinGlo`; the paper has none. Defaults to None.
        gap_before_norm (bool): Whether to emit vectors (B, C), averages over positions and then
            normalised, as classifiers want, instead of normalised maps. Defaults to False.
        impl (str): Form of the attention, see :class:`PartitionAttention`. Defaults to
            ``'auto'``.
        normalisation (str): ``'softmax'``, or ``'paper'`` for study, see
            :class:`PartitionAttention`. Defaults to ``'softmax'``.
        hash_seed (int): What the hash vectors of the first block are drawn from; each block after
            it adds one. Defaults to 0.
        norm_cfg (dict): Config of the batch norms. Defaults to ``dict(type='BN')``.
        drop_rate (float): Dropout in feed-forward networks. Defaults to 0.
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
        >>> from mmvisionmix.models import DualFormer
        >>> backbone = DualFormer('xs').eval()
        >>> [tuple(out.shape) for out in backbone(torch.rand(1, 3, 224, 160))]
        [(1, 64, 56, 40), (1, 128, 28, 20), (1, 320, 14, 10), (1, 368, 7, 5)]
    """

    # Parameters and multiply-adds of classifiers of 1000 classes on 224 x 224 images.
    arch_settings = {
        't': dict(  # 5.70M, 1.32G
            embed_dims=(64, 128, 256, 320), depths=(2, 2, 4, 2), reductions=(4, 2, 1, 1),
            mlp_ratios=(4, 4, 2, 2)),
        'xs': dict(  # 10.86M, 2.38G
            embed_dims=(64, 128, 320, 368), depths=(2, 2, 4, 2), reductions=(4, 2, 1, 1),
            mlp_ratios=(8, 8, 4, 4)),
        's': dict(  # 22.05M, 4.44G
            embed_dims=(64, 128, 320, 512), depths=(4, 4, 7, 3), reductions=(4, 2, 1, 1),
            mlp_ratios=(8, 8, 4, 4)),
        'b': dict(  # 75.56M, 15.88G
            embed_dims=(64, 128, 368, 560), depths=(6, 12, 25, 7), reductions=(4, 2, 1, 1),
            mlp_ratios=(12, 12, 4, 4)),
    }
    default_init_cfg = [
        dict(type='TruncNormal', layer='Linear', std=0.02),
        dict(type='TruncNormal', layer='Conv2d', std=0.02)
    ]
    family = 'dualformer'
    first_conv = 'stem.halve.conv'
    counted_impls = dict(literal='packed')

    def __init__(self,
                 arch: Union[str, dict] = 'xs',
                 in_channels: int = 3,
                 out_indices: Union[int, Sequence[int]] = (0, 1, 2, 3),
                 num_heads: int = 8,
                 num_partitions: int = 4,
                 partition: str = 'lsh',
                 share_partition: bool = False,
                 paths: Sequence[str] = ('intra', 'inter'),
                 rescale: bool = True,
                 mixing: str = 'parallel',
                 encoding: Optional[str] = None,
                 gap_before_norm: bool = False,
                 impl: str = 'auto',
                 normalisation: str = 'softmax',
                 hash_seed: int = 0,
                 norm_cfg: Optional[dict] = None,
                 drop_rate: float = 0.,
                 drop_path_rate: float = 0.,
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 with_cp: bool = False,
                 init_cfg: Union[dict, List[dict], None] = None) -> None:
        super().__init__(
            in_channels, drop_rate, gap_before_norm, frozen_stages=frozen_stages,
            norm_eval=norm_eval, with_cp=with_cp, init_cfg=init_cfg)
        settings = self.get_arch(arch)
        dims, depths = settings['embed_dims'], settings['depths']
        self.set_out_indices(out_indices, depths)
        if isinstance(arch, str):
            self.pretraining_config = (
                f'configs/dualformer/dualformer-{arch.lower()}_8xb128-300e_in1k')
        check_int(0, hash_seed=hash_seed)
        check_int(2, **{'arch.embed_dims': dims})
        check_choice(MIXINGS, mixing=mixing)

        def make_block(stage: int, index: int) -> nn.Module:
            make_attention = partial(
                PartitionAttention, num_heads=num_heads, num_partitions=num_partitions,
                partition=partition, share_partition=share_partition, paths=paths, rescale=rescale,
                reduction=settings['reductions'][stage], hash_seed=hash_seed + index, impl=impl,
                normalisation=normalisation, norm_cfg=norm_cfg)
            mixer = DualMixer(dims[stage], make_attention, mixing, norm_cfg)
            ratio = settings['mlp_ratios'][stage]
            local = make_encoding(encoding, dims[stage] * ratio, norm_cfg, impl)
            return PreNormBlock(dims[stage], mixer, ratio, drop_rate, rates[index], local)

        def make_downsample(stage: int) -> Union[ConvNorm, nn.Identity]:
            widths = (dims[stage - 1], dims[stage])
            return ConvNorm(*widths, 3, 2, 1, norm_cfg=norm_cfg) if stage else nn.Identity()

        rates = drop_path_rates(drop_path_rate, sum(depths))
        starts = [sum(depths[:i]) for i in range(self.num_stages)]
        self.stem = Stem(in_channels, dims[0], norm_cfg)
        self.stages = nn.ModuleList(
            Stage(make_downsample(i), [make_block(i, starts[i] + j) for j in range(depths[i])])
            for i in range(self.out_indices[-1] + 1))
        self.norms = nn.ModuleDict({str(i): ChannelNorm(dims[i]) for i in self.out_indices})
        self.freeze_stages()
