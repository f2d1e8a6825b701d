# Copyright (c) mmvisionmix authors. All rights reserved.
from typing import Any, Optional, Sequence

import torch
import torch.fx
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmvisionmix._compat import on_load
from mmvisionmix.ops import (
    attend_between,
    attend_within,
    draw_hash_vectors,
    hash_partition,
    kmeans_partition,
    one_hot,
    partition_means,
    split_heads,
)
from mmvisionmix.ops.partition_attention import IMPLS, NORMALISATIONS
from mmvisionmix.registry import MODELS

from ..arguments import check_choice, check_heads, check_int
from .conv_norm import ConvNorm

for function in ('attend_between', 'attend_within', 'hash_partition', 'kmeans_partition', 'one_hot',
                 'partition_means', 'split_heads'):
    torch.fx.wrap(function)

PARTITIONS = ('lsh', 'k-means')
PATHS = ('intra', 'inter')


@MODELS.register_module()
class PartitionAttention(BaseModule):
    """Multi-Head Partition-wise Attention (MHPA), Section 3.2 of the DualFormer paper.

    Maps are downsampled by a depthwise convolution and a norm, every head of them is partitioned
    and attended to as in :mod:`mmvisionmix.ops.partition_attention`, and upsampled by a 1 x 1
    convolution whose channels become positions; the input is added. Hash vectors are a buffer:
    drawn at construction, saved with the weights, never trained.

    Inferred, as the paper does not say: partitions of every head by itself, three of Lloyd's steps,
    the kernels and the norm of downsampling, biases, and the design of the MLP of Eq. 9. K = 4 is
    its example (Eq. 5).

    Args:
        embed_dims (int): Number of channels D.
        num_heads (int): Number of heads; divides ``embed_dims``. Defaults to 8.
        num_partitions (int): Number of partitions K, a power of two. Defaults to 4.
        partition (str): ``'lsh'``, or ``'k-means'``, three of Lloyd's steps from there. Both have
            the same weights. Defaults to ``'lsh'``.
        share_partition (bool): Whether all heads share one partition, of all channels, as the paper
            words it: its partition is of x in n x d. Defaults to False.
        paths (Sequence[str]): ``'intra'`` (Eq. 6 and 7), ``'inter'`` (Eq. 8 and 9) or both.
            Defaults to both.
        rescale (bool): Whether l_k is a factor of the softmax in Eq. 7. Defaults to True.
        reduction (int): Stride of the downsampling. Defaults to 1.
        hash_seed (int): What hash vectors are drawn from. Defaults to 0.
        impl (str): Form of Eq. 6 and 7, see :func:`mmvisionmix.ops.attend_within`. Defaults to
            ``'auto'``.
        normalisation (str): Of Eq. 6 to 9: ``'softmax'``, or ``'paper'``, as printed, where weights
            may have either sign and any size, and be infinite. Defaults to ``'softmax'``.
        norm_cfg (dict): Config of the batch norm. Defaults to ``dict(type='BN')``.
        init_cfg (dict, optional): Initialisation config. Defaults to None.

    Raises:
        ValueError: If an option is none of those above, ``embed_dims`` is no multiple of
            ``num_heads``, ``num_partitions`` no power of two, ``reduction`` below 1, or
            ``hash_seed`` below 0.
    """

    views = dict(partitions='partitions_of')

    def __init__(self,
                 embed_dims: int,
                 num_heads: int = 8,
                 num_partitions: int = 4,
                 partition: str = 'lsh',
                 share_partition: bool = False,
                 paths: Sequence[str] = PATHS,
                 rescale: bool = True,
                 reduction: int = 1,
                 hash_seed: int = 0,
                 impl: str = 'auto',
                 normalisation: str = 'softmax',
                 norm_cfg: Optional[dict] = None,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg)
        check_choice(IMPLS, impl=impl)
        check_choice(NORMALISATIONS, normalisation=normalisation)
        check_choice(PARTITIONS, partition=partition)
        check_int(reduction=reduction, num_partitions=num_partitions)
        check_int(0, hash_seed=hash_seed)
        check_heads(embed_dims, num_heads)
        if num_partitions & (num_partitions - 1):
            raise ValueError(f'num_partitions must be a power of two, got {num_partitions}')
        if not paths or set(paths) - set(PATHS):
            raise ValueError(f'paths must be one or both of {list(PATHS)}, got {paths!r}')
        self.num_heads = num_heads
        self.num_partitions = num_partitions
        self.partition = partition
        self.paths = tuple(name for name in PATHS if name in paths)
        self.rescale = rescale
        self.impl = impl
        self.normalisation = normalisation
        groups = 1 if share_partition else num_heads
        vectors = draw_hash_vectors(
            groups, num_partitions.bit_length() - 1, embed_dims // groups, hash_seed)
        self.register_buffer('hash_vectors', torch.empty(vectors.shape).copy_(vectors))
        self.downsample: nn.Module = nn.Identity()
        if reduction > 1:
            self.downsample = ConvNorm(
                embed_dims, embed_dims, 2 * reduction - 1, reduction, reduction - 1, embed_dims,
                norm_cfg)
        self.value = nn.Conv2d(embed_dims, embed_dims, 1)
        if 'inter' in self.paths:
            squeezed = max(embed_dims // num_heads // 4, 4)
            self.squeeze = nn.Linear(embed_dims // num_heads, squeezed)
            self.excite = nn.Linear(squeezed, 1, bias=False)  # softmax would not see a bias
        self.proj = nn.Conv2d(embed_dims * len(self.paths), embed_dims, 1)
        self.upsample: nn.Module = nn.Identity() if reduction == 1 else nn.Sequential(
            nn.Conv2d(embed_dims, embed_dims * reduction**2, 1), nn.PixelShuffle(reduction))
        on_load(self, _rename_old_weights)

    def forward(self, x: Tensor) -> Tensor:
        """Mixes the tokens of maps (B, D, H, W)."""
        mixed = self.upsample(self.proj(self._attend(self.downsample(x))))
        return x + mixed[:, :, :x.shape[2], :x.shape[3]]

    def partitions_of(self, x: Tensor) -> Tensor:
        """Partitions that the tokens of maps (B, D, H, W) are put into.

        Args:
            x (Tensor): Input of this layer.

        Returns:
            Tensor: Numbers from 0 to K - 1 per head, or for all heads where they share them, on
            the grid that attention is computed on: shape (B, heads, H / reduction,
            W / reduction), rounded up.
        """
        maps = self.downsample(x)
        codes = self._partition(maps)
        return codes.reshape(len(codes), -1, *maps.shape[2:])

    def _attend(self, maps: Tensor) -> Tensor:
        """The paths side by side for maps (B, D, H, W): shape (B, paths * D, H, W)."""
        value = split_heads(self.value(maps), self.num_heads)  # (B, h, d, N)
        members = one_hot(self._partition(maps), self.num_partitions, value)  # (B, h, K, N)
        parts = []
        if 'intra' in self.paths:
            tokens = split_heads(maps, self.num_heads)
            parts.append(attend_within(
                tokens, value, members, self.rescale, self.impl, self.normalisation))
        if 'inter' in self.paths:
            means = partition_means(value, members)
            logits = self.excite(self.squeeze(means.to(maps.dtype)).relu())[..., 0]
            parts.append(attend_between(means, logits, members, self.normalisation))
        mixed = torch.stack(parts, 1).to(maps.dtype)  # (B, paths, h, d, N)
        mixed = mixed.reshape(maps.shape[0], -1, maps.shape[2], maps.shape[3])
        return mixed.contiguous(memory_format=torch.channels_last)

    def _partition(self, maps: Tensor) -> Tensor:
        """Partition of every token of maps (B, D, H, W) in every head, shape (B, h, HW)."""
        codes = hash_partition(maps, self.hash_vectors)
        if self.partition == 'k-means':
            codes = kmeans_partition(maps, codes, self.num_partitions)
        return codes


def _rename_old_weights(layer: PartitionAttention, state_dict: dict, prefix: str,
                        *args: Any) -> None:
    """``shrink`` and ``grow`` were the names of down- and upsampling before version 0.2."""
    for old, new in (('shrink.', 'downsample.'), ('grow.', 'upsample.')):
        for key in [key for key in state_dict if key.startswith(prefix + old)]:
            state_dict[prefix + new + key[len(prefix + old):]] = state_dict.pop(key)
