# Copyright (c) mmvisionmix authors. All rights reserved.
from typing import Optional, Tuple

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..arguments import check_heads


class SelfAttention(BaseModule):
    """Multi-head softmax attention, the mixer that the others replace.

    Args:
        embed_dims (int): Number of channels C.
        num_heads (int): Number of heads; divides ``embed_dims``.
        qkv_bias (bool): Whether queries, keys and values have biases. Defaults to False: so
            the parameter counts of the LKCA paper's ViT are met.
        drop_rate (float): Dropout of the output. Defaults to 0.
        init_cfg (dict, optional): Initialisation config. Defaults to None.

    Raises:
        ValueError: If ``embed_dims`` is no multiple of ``num_heads``.
    """

    def __init__(self, embed_dims: int, num_heads: int, qkv_bias: bool = False,
                 drop_rate: float = 0.,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg)
        check_heads(embed_dims, num_heads)
        self.num_heads = num_heads
        self.qkv = nn.Linear(embed_dims, 3 * embed_dims, bias=qkv_bias)
        self.proj = nn.Linear(embed_dims, embed_dims)
        self.drop = nn.Dropout(drop_rate)

    def forward(self, x: Tensor, grid: Tuple[int, int]) -> Tensor:
        """Mixes tokens (B, N, C); ``grid`` is taken, and not used, so that mixers are alike."""
        qkv = self.qkv(x).reshape(x.shape[0], x.shape[1], 3, self.num_heads, -1)
        qkv = qkv.permute(2, 0, 3, 1, 4)  # (3, B, heads, N, d)
        mixed = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
        return self.drop(self.proj(mixed.transpose(1, 2).flatten(2)))
