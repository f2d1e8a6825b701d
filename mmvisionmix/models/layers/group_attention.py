# Copyright (c) mmvisionmix authors. All rights reserved.
from functools import reduce
from typing import Any, Dict, List, Optional, Sequence

import torch
import torch.fx
from torch import Tensor, nn

from mmvisionmix.ops import (
    FoldedGroupWeights,
    attend,
    attend_to_groups,
    attend_to_tokens,
    fold_group_weights,
    pool_groups,
    project_groups,
    propagate_groups,
)
from mmvisionmix.ops.group_attention import IMPLS
from mmvisionmix.registry import MODELS

from ..arguments import check_choice, check_heads, check_int
from .foldable import Foldable, are_plain

torch.fx.wrap('pool_groups')
torch.fx.wrap('propagate_groups')

MIXER_DIMS = 32


@MODELS.register_module()
class GroupAttention(Foldable):
    """MCGA attention: multi-scale convolution meets group attention, Section 3.2 of its paper.

    Learned group tokens attend to all tokens, an MLP mixes the groups, and depthwise convolutions
    of the input, one per kernel size, attend to the groups; the projected results are summed.
    Inferred, as the paper does not say: biases, and the design of the MLP. Departs from it: Eq. 3
    divides logits by the square root of all channels, this layer by that of a head's.

    Args:
        embed_dims (int): Number of channels D.
        num_heads (int): Number of heads; divides ``embed_dims``.
        num_groups (int): Number of group tokens. Defaults to 8.
        kernel_sizes (Sequence[int]): Odd sizes of the depthwise convolutions. Defaults to (3, 5).
        qkv_bias (bool): Whether queries and values have biases. Keys have none: softmax does not
            see them. Defaults to True.
        share_groups (bool): Whether all convolutions share the keys and values of the groups, the
            paper's "pair of key K_M and value V_M". Defaults to False, inferred: its parameters
            need a pair per convolution.
        fusion (str): ``'separate'``: one output projection per convolution, the paper's "simple
            linear projections and summation". ``'single'``: one for all, and one of the groups.
            Defaults to ``'separate'``.
        impl (str): ``'literal'`` calls the layers one by one; ``'folded'`` multiplies small
            matrices of weights out first, see :mod:`mmvisionmix.ops.group_attention`, where the
            layers are plain. ``'auto'`` is the latter. Both are exact. Defaults to ``'auto'``.
        init_cfg (dict, optional): Initialisation config. Defaults to None.

    Raises:
        ValueError: If ``impl`` or ``fusion`` is unknown, a kernel size is even, ``embed_dims`` is
            no multiple of ``num_heads``, or a number is below 1.
    """

    plain_parts = ('tokens', 'query', 'key', 'value', 'group_keys', 'group_values', 'projs')
    counted_folded = False
    views = dict(groups='pooling_of', queries='propagation_of')

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
        check_choice(IMPLS, impl=impl)
        check_choice(('separate', 'single'), fusion=fusion)
        check_heads(embed_dims, num_heads)
        check_int(num_groups=num_groups)
        check_int(kernel_sizes=kernel_sizes)
        if (not isinstance(kernel_sizes, (tuple, list)) or not kernel_sizes
                or any(size % 2 == 0 for size in kernel_sizes)):
            raise ValueError(f'kernel_sizes must be odd, and at least one, got {kernel_sizes}')
        self.num_heads = num_heads
        self.kernel_sizes = tuple(kernel_sizes)
        self.impl = impl

        def linears(number: int, bias: bool) -> nn.ModuleList:
            return nn.ModuleList(
                nn.Linear(embed_dims, embed_dims, bias=bias) for _ in range(number))

        scales = len(kernel_sizes)
        single = fusion == 'single'
        self.tokens = nn.Parameter(torch.empty(num_groups, embed_dims))
        self.query = nn.Linear(embed_dims, embed_dims, bias=qkv_bias)
        self.key = nn.Linear(embed_dims, embed_dims, bias=False)
        self.value = nn.Linear(embed_dims, embed_dims, bias=qkv_bias)
        self.pooled = nn.Linear(embed_dims, embed_dims, bias=False) if single else None
        self.norm = nn.LayerNorm(embed_dims)
        self.expand = nn.Linear(num_groups, MIXER_DIMS)
        self.act = nn.GELU()
        self.reduce = nn.Linear(MIXER_DIMS, num_groups)
        self.convs = nn.ModuleList(
            nn.Conv2d(embed_dims, embed_dims, size, padding=size // 2, groups=embed_dims)
            for size in kernel_sizes)
        self.group_keys = linears(1 if share_groups else scales, bias=False)
        self.group_values = linears(1 if share_groups else scales, bias=qkv_bias)
        self.projs: Any = linears(1 if single else scales, bias=True)
        nn.init.trunc_normal_(self.tokens, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Mixes the tokens of maps (B, D, H, W)."""
        if not self._may_fold(x):
            return self._mix_literal(x)
        folded = self._folded_weights()
        groups = self._mix_groups(pool_groups(x, folded))
        return propagate_groups([conv(x) for conv in self.convs], groups, folded, self.num_heads)

    def pooling_of(self, x: Tensor) -> Tensor:
        """What tokens weigh in groups (Eq. 3), (B, heads, G, H, W); sums to one over H and W."""
        weights = attend_to_tokens(x.flatten(2), self._folded_weights().queries)
        return weights.reshape(len(x), self.num_heads, -1, *x.shape[2:])

    def propagation_of(self, x: Tensor) -> Dict[str, Tensor]:
        """What groups weigh for tokens, by the side of the convolutions' kernels, likewise."""
        folded = self._folded_weights()
        *keys, _ = project_groups(
            self._mix_groups(pool_groups(x, folded)), folded, len(self.convs))
        weights = attend_to_groups([conv(x) for conv in self.convs], keys, self.num_heads)
        weights = weights.reshape(len(x), len(self.convs), self.num_heads, -1, *x.shape[2:])
        return {f'{size}x{size}': one for size, one in zip(self.kernel_sizes, weights.unbind(1))}

    def fold(self) -> Optional[nn.ParameterDict]:
        """:class:`mmvisionmix.ops.FoldedGroupWeights` as parameters."""
        if not self.is_plain():
            return None
        weights = self._folded_weights()._asdict()
        return nn.ParameterDict(
            {name: weight.contiguous() for name, weight in weights.items() if weight is not None})

    def _mix_groups(self, groups: Tensor) -> Tensor:
        """Exchanges information between groups (B, G, D) by an MLP over them."""
        groups = groups if self.pooled is None else self.pooled(groups)
        mixed = self.reduce(self.act(self.expand(self.norm(groups).transpose(1, 2))))
        return groups + mixed.transpose(1, 2)

    def _mix_literal(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)  # (B, N, D)
        query = self.query(self.tokens).expand(x.shape[0], -1, -1)
        groups = attend(query, self.key(tokens), self.value(tokens), self.num_heads)
        groups = self._mix_groups(groups)  # (B, G, D)
        mixed = []
        for conv, key, value in zip(
                self.convs, self._by_scale(self.group_keys), self._by_scale(self.group_values)):
            query = conv(x).flatten(2).transpose(1, 2)
            mixed.append(attend(query, key(groups), value(groups), self.num_heads))
        if self.pooled is None:
            mixed = [proj(part) for proj, part in zip(self.projs, mixed)]
            out = reduce(torch.add, mixed)
        else:
            out = self.projs[0](reduce(torch.add, mixed))
        return out.transpose(1, 2).reshape(x.shape)

    def _may_fold(self, x: Tensor) -> bool:
        if self.folded is not None:
            return True
        return (self.impl != 'literal' and not isinstance(x, torch.fx.Proxy) and self.is_plain())

    def is_plain(self) -> bool:
        """Whether its weights may be read past its layers, see :func:`are_plain`."""
        return 'tokens' in dict(self.named_parameters(recurse=False)) and are_plain(
            self.query, self.key, self.value, *self.group_keys, *self.group_values, *self.projs)

    def _folded_weights(self) -> FoldedGroupWeights:
        if self.folded is not None:
            return FoldedGroupWeights(**dict(self.folded.items()))
        keys, values = self._by_scale(self.group_keys), self._by_scale(self.group_values)
        return fold_group_weights(
            num_heads=self.num_heads, tokens=self.tokens, query=self.query.weight,
            query_bias=self.query.bias, key=self.key.weight, value=self.value.weight,
            value_bias=self.value.bias, group_keys=[key.weight for key in keys],
            group_values=[value.weight for value in values],
            group_value_biases=[value.bias for value in values],
            projs=[proj.weight for proj in self._by_scale(self.projs)],
            biases=[proj.bias for proj in self.projs])

    def _by_scale(self, layers: nn.ModuleList) -> List[Any]:
        """One layer per convolution, the same for all where they share it."""
        return list(layers) * (len(self.convs) // len(layers))
