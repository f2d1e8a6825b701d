# Copyright (c) mmvisionmix authors. All rights reserved.
from typing import List, Optional, Sequence, Union

from mmcv.cnn.bricks.transformer import AdaptivePadding
from torch import nn

from mmvisionmix.registry import MODELS

from ..layers import ChannelNorm, GroupAttention, make_encoding
from .base import Stage, drop_path_rates
from .pyramid import PreNormBlock, PyramidBackbone


class PatchEmbedding(nn.Sequential):
    """A convolution of patches that do not overlap, and a norm.

    The bottom and right are padded with zeros to a multiple of the patch size.

    Args:
        in_channels (int): Channels of the input.
        embed_dims (int): Channels of the output.
        patch_size (int): Side of a patch.
        depthwise (bool): Whether the convolution is. Defaults to False.
    """

    def __init__(self, in_channels: int, embed_dims: int, patch_size: int,
                 depthwise: bool = False) -> None:
        super().__init__(
            AdaptivePadding(patch_size, patch_size, padding='corner'),
            nn.Conv2d(in_channels, embed_dims, patch_size, patch_size,
                      groups=in_channels if depthwise else 1),
            ChannelNorm(embed_dims))


@MODELS.register_module()
class MCGANet(PyramidBackbone):
    """MCGANet: multi-scale convolutions meet group attention, in a four-stage pyramid.

    From Vo et al., "Multi-scale Convolutions Meet Group Attention for Dense Prediction Tasks",
    Section 3: patch embeddings by depthwise convolutions, and blocks of MCGA attention (Eq. 1-3)
    and an MLP. Maps are (B, C, H, W) throughout, channels-last. Images of any size are taken: what
    is short of a patch is padded with zeros at the bottom and right.

    Departs from the paper: the first patch embedding is dense, as 32 channels are no multiple of 3.
    Inferred, as it does not say: biases, norms after patch embeddings, and one layer norm per
    emitted stage.

    Args:
        arch (str | dict): ``'base'``, the paper's only network, or a dict with the keys
            ``embed_dims``, ``depths``, ``num_heads`` and ``mlp_ratios``, each with one value per
            stage, where channels are multiples of the previous stage's. Defaults to ``'base'``.
        in_channels (int): Channels of the input image. Defaults to 3.
        out_indices (int | Sequence[int]): Stages to emit; negative ones count from the end.
            Stages past the last of them are not built. Defaults to (0, 1, 2, 3).
        num_groups (int): Group tokens of every block. Defaults to 8.
        kernel_sizes (Sequence[int]): See :class:`GroupAttention`. Defaults to (3, 5).
        qkv_bias (bool): See :class:`GroupAttention`. Defaults to True.
        share_groups (bool): See :class:`GroupAttention`. Defaults to False.
        fusion (str): See :class:`GroupAttention`. Defaults to ``'separate'``.
        encoding (str, optional): See :class:`LinGlo`; the paper has none. Defaults to None.
        gap_before_norm (bool): Whether to emit vectors (B, C), averages over positions and then
            normalised, as classifiers want, instead of normalised maps. Defaults to False.
        impl (str): Form of the attention, see :class:`GroupAttention`. Defaults to ``'auto'``.
        drop_rate (float): Dropout in MLPs. Defaults to 0.
        drop_path_rate (float): Stochastic-depth rate of the last block. Defaults to 0.
        frozen_stages (int): See :class:`BaseBackbone`. Defaults to -1.
        norm_eval (bool): See :class:`BaseBackbone`; encodings have batch norms. Defaults to False.
        with_cp (bool): See :class:`BaseBackbone`. Defaults to False.
        init_cfg (dict | list[dict], optional): See :class:`BaseBackbone`. Defaults to truncated
            normal linear layers with a standard deviation of 0.02, and convolutions, those of the
            MLPs among them, that keep that of their input, as no batch norm scales theirs.

    Raises:
        ValueError: If an option is none of those above, or has not one value per stage.

    Examples:
        >>> import torch
        >>> from mmvisionmix.models import MCGANet
        >>> backbone = MCGANet().eval()
        >>> [tuple(out.shape) for out in backbone(torch.rand(1, 3, 224, 160))]
        [(1, 32, 56, 40), (1, 64, 28, 20), (1, 128, 14, 10), (1, 256, 7, 5)]
    """

    arch_settings = {
        'base': dict(  # 10.30M with the classifier's head
            embed_dims=(32, 64, 128, 256), depths=(2, 2, 6, 6), num_heads=(2, 2, 4, 8),
            mlp_ratios=(4, 4, 4, 4)),
    }
    default_init_cfg = [
        dict(type='TruncNormal', layer='Linear', std=0.02),
        dict(type='Kaiming', layer='Conv2d', mode='fan_in', nonlinearity='linear')
    ]
    pretraining_config = 'configs/mcganet/mcganet_8xb128-300e_in1k'
    family = 'mcganet'
    first_conv = 'stem.1'
    hidden_dims = 1280
    no_weight_decay = ('.tokens', )
    fx_leaves = (*PyramidBackbone.fx_leaves, GroupAttention)
    counted_impls = dict(literal='literal')

    def __init__(self,
                 arch: Union[str, dict] = 'base',
                 in_channels: int = 3,
                 out_indices: Union[int, Sequence[int]] = (0, 1, 2, 3),
                 num_groups: int = 8,
                 kernel_sizes: Sequence[int] = (3, 5),
                 qkv_bias: bool = True,
                 share_groups: bool = False,
                 fusion: str = 'separate',
                 encoding: Optional[str] = None,
                 gap_before_norm: bool = False,
                 impl: str = 'auto',
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
        if any(wide % narrow for narrow, wide in zip(dims, dims[1:])):
            raise ValueError(f'arch.embed_dims must be multiples of those of the stage before, got '
                             f'{dims}')

        def make_block(stage: int, rate: float) -> nn.Module:
            attention = GroupAttention(
                dims[stage], settings['num_heads'][stage], num_groups, kernel_sizes, qkv_bias,
                share_groups, fusion, impl)
            ratio = settings['mlp_ratios'][stage]
            local = make_encoding(encoding, dims[stage] * ratio, impl=impl)
            return PreNormBlock(dims[stage], attention, ratio, drop_rate, rate, local)

        rates = iter(drop_path_rates(drop_path_rate, sum(depths)))
        self.stem = PatchEmbedding(in_channels, dims[0], 4)
        self.stages = nn.ModuleList(
            Stage(PatchEmbedding(dims[i - 1], dims[i], 2, depthwise=True) if i else nn.Identity(),
                  [make_block(i, next(rates)) for _ in range(depths[i])])
            for i in range(self.out_indices[-1] + 1))
        self.norms = nn.ModuleDict({str(i): ChannelNorm(dims[i]) for i in self.out_indices})
        self.freeze_stages()
