# Copyright (c) mmvisionmix authors. All rights reserved.
from typing import Optional, Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmvisionmix.ops import (
    PartitionAttentionWeights,
    check_partition_attention_impl,
    draw_hash_vectors,
    hash_partition,
    kmeans_partition,
    partition_attention,
)

from .arguments import check_heads, check_whole_numbers
from .conv_norm import ConvNorm

PARTITIONS = ('lsh', 'k-means')
PATHS = ('intra', 'inter')


class PartitionAttention(BaseModule):
    """Multi-Head Partition-wise Attention (MHPA), Section 3.2 of the DualFormer paper.

    Maps are shrunk by a depthwise convolution and a norm, every head of them is partitioned and
    attended to as in :func:`mmvisionmix.ops.partition_attention`, and grown back by a 1 x 1
    convolution whose channels become positions; the input is added. Hash vectors are a buffer:
    drawn at construction, saved with the weights, never trained.

    Inferred, as the paper does not say: the kernels and the norm of shrinking, biases, and the
    design of the MLP of Eq. 9.

    Args:
        embed_dims (int): Number of channels D.
        num_heads (int): Number of heads; divides ``embed_dims``. Defaults to 8.
        num_partitions (int): Number of partitions K, a power of two. Defaults to 4.
        partition (str): ``'lsh'``, or ``'k-means'``, three of Lloyd's steps from there. Both have
            the same weights. Defaults to ``'lsh'``.
        share_partition (bool): Whether all heads share one partition, of all channels. Defaults to
            False.
        paths (Sequence[str]): ``'intra'`` (Eq. 6 and 7), ``'inter'`` (Eq. 8 and 9) or both.
            Defaults to both.
        rescale (bool): See :func:`mmvisionmix.ops.partition_attention`. Defaults to True.
        reduction (int): How many times maps are shrunk along each side. Defaults to 1.
        hash_seed (int): What hash vectors are drawn from. Defaults to 0.
        impl (str): Form of the computation, see :func:`mmvisionmix.ops.partition_attention`.
            Defaults to ``'auto'``.
        norm_cfg (dict): Config of the batch norm. Defaults to ``dict(type='BN')``.
        init_cfg (dict, optional): Initialisation config. Defaults to None.

    Raises:
        ValueError: If an option is none of those above, ``embed_dims`` is no multiple of
            ``num_heads``, ``num_partitions`` no power of two, ``reduction`` below 1, or
            ``hash_seed`` below 0.
    """

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
                 norm_cfg: Optional[dict] = None,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg)
        check_partition_attention_impl(impl)
        check_whole_numbers(reduction=reduction)
        check_whole_numbers(0, hash_seed=hash_seed)
        self._check_options(embed_dims, num_heads, num_partitions, partition, paths)
        self.num_heads = num_heads
        self.num_partitions = num_partitions
        self.partition = partition
        self.paths = tuple(name for name in PATHS if name in paths)
        self.rescale = rescale
        self.impl = impl
        groups = 1 if share_partition else num_heads
        vectors = draw_hash_vectors(
            groups, num_partitions.bit_length() - 1, embed_dims // groups, hash_seed)
        self.register_buffer('hash_vectors', torch.empty(vectors.shape).copy_(vectors))
        self.shrink: nn.Module = nn.Identity()
        if reduction > 1:
            self.shrink = ConvNorm(
                embed_dims, embed_dims, 2 * reduction - 1, reduction, reduction - 1, embed_dims,
                norm_cfg)
        self.value = nn.Conv2d(embed_dims, embed_dims, 1)
        if 'inter' in self.paths:
            squeezed = max(embed_dims // num_heads // 4, 4)
            self.squeeze = nn.Linear(embed_dims // num_heads, squeezed)
            self.excite = nn.Linear(squeezed, 1, bias=False)  # softmax would not see a bias
        self.proj = nn.Conv2d(embed_dims * len(self.paths), embed_dims, 1)
        self.grow: nn.Module = nn.Identity() if reduction == 1 else nn.Sequential(
            nn.Conv2d(embed_dims, embed_dims * reduction**2, 1), nn.PixelShuffle(reduction))

    def forward(self, x: Tensor) -> Tensor:
        """Mixes the tokens of maps (B, D, H, W)."""
        shrunk = self.shrink(x)
        codes = self._partition(shrunk)
        mixed = partition_attention(
            shrunk, codes, self._weights(), self.num_heads, self.num_partitions, self.rescale,
            self.impl)
        return x + self.grow(mixed)[:, :, :x.shape[2], :x.shape[3]]

    def partitions_of(self, x: Tensor) -> Tensor:
        """Partitions that the tokens of maps (B, D, H, W) are put into.

        Args:
            x (Tensor): Input of this layer.

        Returns:
            Tensor: Numbers from 0 to K - 1 per head, or for all heads where they share them, on
            the grid that attention is computed on, shape (B, heads, H / reduction, W / reduction).
        """
        shrunk = self.shrink(x)
        return self._partition(shrunk).unflatten(2, shrunk.shape[2:])

    def _partition(self, shrunk: Tensor) -> Tensor:
        codes = hash_partition(shrunk, self.hash_vectors)
        if self.partition == 'k-means':
            codes = kmeans_partition(shrunk, codes, self.num_partitions)
        return codes

    def _weights(self) -> PartitionAttentionWeights:
        inter = 'inter' in self.paths
        assert self.value.bias is not None and self.proj.bias is not None
        projs = dict(zip(self.paths, self.proj.weight.flatten(1).chunk(len(self.paths), 1)))
        return PartitionAttentionWeights(
            self.value.weight.flatten(1), self.value.bias,
            self.squeeze.weight if inter else None, self.squeeze.bias if inter else None,
            self.excite.weight[0] if inter else None,
            projs.get('intra'), projs.get('inter'), self.proj.bias)

    @staticmethod
    def _check_options(embed_dims: int, num_heads: int, num_partitions: int, partition: str,
                       paths: Sequence[str]) -> None:
        check_heads(embed_dims, num_heads)
        check_whole_numbers(num_partitions=num_partitions)
        if num_partitions < 2 or num_partitions & (num_partitions - 1):
            raise ValueError(f'num_partitions must be 2, 4, 8 or so on, got {num_partitions}')
        if partition not in PARTITIONS:
            raise ValueError(f'partition must be one of {list(PARTITIONS)}, got {partition!r}')
        if not paths or set(paths) - set(PATHS):
            raise ValueError(f'paths must be one or both of {list(PATHS)}, got {paths!r}')
