# Copyright (c) mmvisionmix authors. All rights reserved.
from typing import Any, Optional, Tuple

import torch
import torch.fx
from torch import Tensor, nn

from mmvisionmix.ops import (
    FoldedKeyOnlyWeights,
    fold_key_only_weights,
    folded_key_only_attention,
    key_only_context,
    key_only_saliency,
)
from mmvisionmix.registry import MODELS

from ..arguments import check_heads
from .foldable import Foldable, are_plain

torch.fx.wrap('folded_key_only_attention')


@MODELS.register_module()
class KeyOnlyAttention(Foldable):
    """Key-only attention, Section 3.1 of the LinGlo paper (Eq. 2-4).

    Heads split keys and values by channels and have one saliency vector each. Inferred, as the
    paper does not say: biases, and that U1 mixes the channels of all heads.

    Args:
        embed_dims (int): Number of channels D.
        num_heads (int): Number of heads; divides ``embed_dims``.
        inner_per_head (bool): Whether U1 mixes the channels of each head by themselves (a block
            diagonal matrix) and not of all. Defaults to False.
        drop_rate (float): Dropout of the output. Defaults to 0.
        init_cfg (dict, optional): Initialisation config. Defaults to None.

    Raises:
        ValueError: If ``embed_dims`` is no multiple of ``num_heads``.
    """

    plain_parts = ('key', 'value', 'saliency', 'inner', 'outer')
    counted_folded = False
    views = dict(saliency='saliency_of')

    def __init__(self,
                 embed_dims: int,
                 num_heads: int,
                 inner_per_head: bool = False,
                 drop_rate: float = 0.,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg)
        check_heads(embed_dims, num_heads)
        self.inner_per_head = inner_per_head
        self.key = nn.Linear(embed_dims, embed_dims)
        self.value = nn.Linear(embed_dims, embed_dims)
        self.saliency = nn.Parameter(torch.empty(num_heads, embed_dims // num_heads))
        self.inner: Any = (
            nn.Conv1d(embed_dims, embed_dims, 1, groups=num_heads) if inner_per_head else
            nn.Linear(embed_dims, embed_dims))
        self.outer = nn.Linear(embed_dims, embed_dims)
        self.drop = nn.Dropout(drop_rate)
        nn.init.trunc_normal_(self.saliency, std=0.02)

    def forward(self, x: Tensor, grid: Tuple[int, int]) -> Tensor:
        """Mixes tokens (B, N, D); ``grid`` is taken, and not used, so that mixers are alike."""
        if self.folded is not None:
            return self.drop(folded_key_only_attention(x, self._folded_weights()))
        key = self.key(x)
        gated = key_only_context(key, self.saliency) * self.value(x)
        if self.inner_per_head:
            gated = self.inner(gated.transpose(1, 2)).transpose(1, 2)
        else:
            gated = self.inner(gated)
        return self.drop(self.outer(gated + key))

    def saliency_of(self, x: Tensor) -> Tensor:
        """What every token of (B, N, D) weighs in its image, A of Eq. 2: shape (B, heads, N)."""
        return key_only_saliency(x, self._folded_weights().saliency)

    def fold(self) -> Optional[nn.ParameterDict]:
        """:class:`mmvisionmix.ops.FoldedKeyOnlyWeights` as parameters."""
        return nn.ParameterDict(self._folded_weights()._asdict()) if self.is_plain() else None

    def _folded_weights(self) -> FoldedKeyOnlyWeights:
        if self.folded is not None:
            return FoldedKeyOnlyWeights(**dict(self.folded.items()))
        inner = self.inner.weight
        if self.inner_per_head:
            inner = torch.block_diag(*inner.squeeze(2).chunk(len(self.saliency)))
        return fold_key_only_weights(
            key=self.key.weight, key_bias=self.key.bias, value=self.value.weight,
            value_bias=self.value.bias, saliency=self.saliency, inner=inner,
            inner_bias=self.inner.bias, outer=self.outer.weight, outer_bias=self.outer.bias)

    def is_plain(self) -> bool:
        """Whether its weights may be read past its layers, see :func:`are_plain`."""
        return ('saliency' in dict(self.named_parameters(recurse=False))
                and are_plain(self.key, self.value, self.inner, self.outer))
