# Copyright (c) mmvisionmix authors. All rights reserved.
from functools import partial
from typing import Any, Optional, Sequence, Tuple

import torch
import torch.fx
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmvisionmix._compat import on_load

torch.fx.wrap('resize_pos_embed')


def resize_pos_embed(pos_embed: Tensor, grid: Sequence[int]) -> Tensor:
    """Resizes a position embedding bicubically.

    Args:
        pos_embed (Tensor): Shape (1, C, H, W).
        grid (Sequence[int]): The target size (H', W').

    Returns:
        Tensor: Shape (1, C, H', W'); the input itself if it has that size already.
    """
    if tuple(pos_embed.shape[2:]) == tuple(grid):
        return pos_embed
    resized = F.interpolate(pos_embed.float(), size=grid, mode='bicubic', align_corners=False)
    return resized.to(pos_embed.dtype)


def resize_loaded(name: str, module: nn.Module, state_dict: dict, prefix: str,
                  *args: Any) -> None:
    """Resizes the position embedding called ``name`` of a checkpoint to a module's own grid."""
    key = prefix + name
    if key in state_dict and state_dict[key].ndim == 4:  # else torch names the mismatch
        grid = getattr(module, name).shape[2:]
        state_dict[key] = resize_pos_embed(state_dict[key], grid)


class PositionEmbedding(BaseModule):
    """Adds a learned absolute position embedding, resized for other grids than it was made for.

    Args:
        channels (int): Number of channels C.
        grid (tuple[int, int]): Height H and width W of the grid that is trained on.
        init_cfg (dict, optional): Initialisation config. Defaults to None.
    """

    def __init__(self,
                 channels: int,
                 grid: Tuple[int, int],
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg)
        self.weight = nn.Parameter(torch.empty(1, channels, *grid))
        nn.init.trunc_normal_(self.weight, std=0.02)
        on_load(self, partial(resize_loaded, 'weight'))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, H', W', C) to the same shape."""
        return x + resize_pos_embed(self.weight, x.shape[1:3]).permute(0, 2, 3, 1)
