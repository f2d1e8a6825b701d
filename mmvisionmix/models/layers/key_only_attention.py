# Copyright (c) mmvisionmix authors. All rights reserved.
from typing import Optional, Tuple

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmvisionmix.ops import (
    FoldedKeyOnlyWeights,
    KeyOnlyWeights,
    check_key_only_impl,
    fold_key_only_weights,
    key_only_attention,
    key_only_saliency,
)

from .arguments import check_heads
from .parameter_cache import ParameterCache, may_cache


class KeyOnlyAttention(BaseModule):
    """Key-only attention, Section 3.1 of the LinGlo paper (Eq. 2-4).

    Heads split keys and values by channels and have one saliency vector each. Inferred, as the
    paper does not say: biases, and that U1 mixes the channels of all heads. In inference, products
    of weights are computed once and kept until a weight changes.

    Args:
        embed_dims (int): Number of channels D.
        num_heads (int): Number of heads; divides ``embed_dims``.
        inner_per_head (bool): Whether U1 mixes the channels of each head by themselves (a block
            diagonal matrix) and not of all. Defaults to False.
        drop_rate (float): Dropout of the output. Defaults to 0.
        impl (str): Form of the computation, see :func:`mmvisionmix.ops.key_only_attention`.
            Defaults to ``'auto'``.
        init_cfg (dict, optional): Initialisation config. Defaults to None.

    Raises:
        ValueError: If ``impl`` is unknown or ``embed_dims`` is no multiple of ``num_heads``.
    """

    def __init__(self,
                 embed_dims: int,
                 num_heads: int,
                 inner_per_head: bool = False,
                 drop_rate: float = 0.,
                 impl: str = 'auto',
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg)
        check_key_only_impl(impl)
        check_heads(embed_dims, num_heads)
        self.impl = impl
        head_dims = embed_dims // num_heads
        self.key = nn.Linear(embed_dims, embed_dims)
        self.value = nn.Linear(embed_dims, embed_dims)
        self.saliency = nn.Parameter(torch.empty(num_heads, head_dims))
        self.inner = (
            nn.Conv1d(embed_dims, embed_dims, 1, groups=num_heads) if inner_per_head else
            nn.Linear(embed_dims, embed_dims))
        self.outer = nn.Linear(embed_dims, embed_dims)
        self.drop = nn.Dropout(drop_rate)
        self._folded: ParameterCache[FoldedKeyOnlyWeights] = ParameterCache()
        nn.init.trunc_normal_(self.saliency, std=0.02)

    def forward(self, x: Tensor, grid: Tuple[int, int]) -> Tensor:
        """Mixes tokens (B, N, D); ``grid`` is taken, and not used, so that mixers are alike."""
        weights, parameters = self._weights(), list(self.parameters())
        folded = None
        if self.impl != 'literal' and not self.training and may_cache(parameters):
            folded = self._folded.get(parameters, lambda: fold_key_only_weights(weights))
        return self.drop(key_only_attention(x, weights, self.impl, folded))

    def saliency_of(self, x: Tensor) -> Tensor:
        """What every token of (B, N, D) weighs in its image, A of Eq. 2: shape (B, heads, N)."""
        return key_only_saliency(x, fold_key_only_weights(self._weights()))

    def train(self, mode: bool = True) -> 'KeyOnlyAttention':
        """Sets the mode and forgets what was computed in the last one."""
        self._folded.clear()
        return super().train(mode)

    def _weights(self) -> KeyOnlyWeights:
        inner = self.inner.weight
        if isinstance(self.inner, nn.Conv1d):
            inner = torch.block_diag(*inner.squeeze(2).chunk(len(self.saliency)))
        return KeyOnlyWeights(
            self.key.weight, self.key.bias, self.value.weight, self.value.bias, self.saliency,
            inner, self.inner.bias, self.outer.weight, self.outer.bias)
