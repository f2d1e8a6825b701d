# Copyright (c) mmvisionmix authors. All rights reserved.
from typing import List, Optional, Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmvisionmix.ops import (
    FoldedGroupWeights,
    GroupAttentionMaps,
    GroupAttentionWeights,
    PropagationWeights,
    check_group_attention_impl,
    fold_group_weights,
    group_attention,
    group_attention_maps,
)

from .arguments import check_heads, check_whole_numbers
from .parameter_cache import ParameterCache, may_cache

MIXER_DIMS = 32


class GroupAttention(BaseModule):
    """MCGA attention: multi-scale convolution meets group attention, Section 3.2 of its paper.

    Learned group tokens attend to all tokens, an MLP mixes the groups, and depthwise convolutions
    of the input, one per kernel size, attend to the groups; the projected results are summed.
    Inferred, as the paper does not say: biases, and the design of the MLP. In inference, what no
    image enters is computed once and kept until a weight changes.

    Args:
        embed_dims (int): Number of channels D.
        num_heads (int): Number of heads; divides ``embed_dims``.
        num_groups (int): Number of group tokens. Defaults to 8.
        kernel_sizes (Sequence[int]): Odd sizes of the depthwise convolutions. Defaults to (3, 5).
        qkv_bias (bool): Whether queries and values have biases. Keys have none: softmax does not
            see them. Defaults to True.
        share_groups (bool): Whether all convolutions share the keys and values of the groups.
            Defaults to False.
        fusion (str): ``'separate'``: one output projection per convolution, as in Fig. 3.
            ``'single'``: one for all, and one of the groups. Defaults to ``'separate'``.
        impl (str): Form of the computation, see :func:`mmvisionmix.ops.group_attention`. Defaults
            to ``'auto'``.
        init_cfg (dict, optional): Initialisation config. Defaults to None.

    Raises:
        ValueError: If ``impl`` or ``fusion`` is unknown, a kernel size is even, ``embed_dims`` is
            no multiple of ``num_heads``, or a number is below 1.
    """

    def __init__(self,
                 embed_dims: int,
                 num_heads: int,
                 num_groups: int = 8,
                 kernel_sizes: Sequence[int] = (3, 5),
                 qkv_bias: bool = True,
                 share_groups: bool = False,
                 fusion: str = 'separate',
                 impl: str = 'auto',
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg)
        check_group_attention_impl(impl)
        check_heads(embed_dims, num_heads)
        check_whole_numbers(num_groups=num_groups)
        if fusion not in ('separate', 'single'):
            raise ValueError(f"fusion must be 'separate' or 'single', got {fusion!r}")
        check_whole_numbers(kernel_sizes=kernel_sizes)
        if (not isinstance(kernel_sizes, (tuple, list)) or not kernel_sizes
                or any(size % 2 == 0 for size in kernel_sizes)):
            raise ValueError(f'kernel_sizes must be odd, and at least one, got {kernel_sizes}')
        self.num_heads = num_heads
        self.impl = impl

        def linears(number: int, bias: bool) -> nn.ModuleList:
            return nn.ModuleList(
                nn.Linear(embed_dims, embed_dims, bias=bias) for _ in range(number))

        scales = len(kernel_sizes)
        self.tokens = nn.Parameter(torch.empty(num_groups, embed_dims))
        self.query = nn.Linear(embed_dims, embed_dims, bias=qkv_bias)
        self.key = nn.Linear(embed_dims, embed_dims, bias=False)
        self.value = nn.Linear(embed_dims, embed_dims, bias=qkv_bias)
        self.pooled = (
            nn.Linear(embed_dims, embed_dims, bias=False) if fusion == 'single' else None)
        self.norm = nn.LayerNorm(embed_dims)
        self.expand = nn.Linear(num_groups, MIXER_DIMS)
        self.reduce = nn.Linear(MIXER_DIMS, num_groups)
        self.convs = nn.ModuleList(
            nn.Conv2d(embed_dims, embed_dims, size, padding=size // 2, groups=embed_dims)
            for size in kernel_sizes)
        self.group_keys = linears(1 if share_groups else scales, bias=False)
        self.group_values = linears(1 if share_groups else scales, bias=qkv_bias)
        self.projs = linears(1 if fusion == 'single' else scales, bias=True)
        self._folded: ParameterCache[FoldedGroupWeights] = ParameterCache()
        nn.init.trunc_normal_(self.tokens, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Mixes the tokens of maps (B, D, H, W)."""
        weights = self._weights()
        folded = None
        if self.impl != 'literal' and not self.training:
            entering = _folded_parameters(weights)
            if may_cache(entering):
                folded = self._folded.get(
                    entering, lambda: fold_group_weights(weights, self.num_heads))
        return group_attention(x, weights, self.num_heads, self.impl, folded)

    def maps_of(self, x: Tensor) -> GroupAttentionMaps:
        """The attention of groups to maps (B, D, H, W), and of convolutions to groups."""
        return group_attention_maps(x, self._weights(), self.num_heads)

    def train(self, mode: bool = True) -> 'GroupAttention':
        """Sets the mode and forgets what was computed in the last one."""
        self._folded.clear()
        return super().train(mode)

    def _weights(self) -> GroupAttentionWeights:
        def pick(layers: nn.ModuleList, scale: int) -> nn.Linear:
            return layers[min(scale, len(layers) - 1)]

        single = self.pooled is not None
        branches = tuple(
            PropagationWeights(
                conv.weight, conv.bias, pick(self.group_keys, i).weight,
                pick(self.group_values, i).weight, pick(self.group_values, i).bias,
                None if single else self.projs[i].weight) for i, conv in enumerate(self.convs))
        return GroupAttentionWeights(
            self.tokens, self.query.weight, self.query.bias, self.key.weight, self.value.weight,
            self.value.bias, None if self.pooled is None else self.pooled.weight,
            self.norm.weight, self.norm.bias, self.expand.weight, self.expand.bias,
            self.reduce.weight, self.reduce.bias, branches,
            self.projs[0].weight if single else None,
            tuple(proj.bias for proj in self.projs))


def _folded_parameters(weights: GroupAttentionWeights) -> List[Tensor]:
    """The parameters that :func:`mmvisionmix.ops.fold_group_weights` reads."""
    parameters = [weights.tokens, weights.query, weights.query_bias, weights.key, weights.proj,
                  *weights.biases]
    for branch in weights.branches:
        parameters += [branch.key, branch.value, branch.value_bias, branch.proj]
    return [param for param in parameters if param is not None]
