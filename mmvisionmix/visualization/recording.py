# Copyright (c) mmvisionmix authors. All rights reserved.
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

import torch
from torch import Tensor, nn

Position = Tuple[float, float]


class Call(NamedTuple):
    """What a layer was called with, and what it returned."""
    layer: nn.Module
    args: Tuple[Any, ...]
    kwargs: Dict[str, Any]
    out: Any


@torch.no_grad()
def record_calls(network: nn.Module, images: Tensor,
                 wanted: Callable[[nn.Module], bool]) -> Dict[str, Call]:
    """Runs a network once and notes the calls of some of its layers.

    Args:
        network (nn.Module): Takes images.
        images (Tensor): Shape (B, 3, H, W).
        wanted (Callable): Whether a layer's calls are noted.

    Returns:
        dict[str, Call]: The last call of every such layer, by its name, in the order of the calls.
    """
    calls: Dict[str, Call] = {}

    def note(name: str) -> Callable:
        def hook(layer: nn.Module, args: tuple, kwargs: dict, out: Any) -> None:
            calls[name] = Call(layer, args, kwargs, out)
        return hook

    handles: List[Any] = [
        layer.register_forward_hook(note(name), with_kwargs=True)
        for name, layer in network.named_modules() if wanted(layer)]
    try:
        network(images)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def token_at(position: Position, grid: Tuple[int, int]) -> Tuple[int, int]:
    """Row and column of the token that a position of the image is in.

    Args:
        position (tuple[float, float]): From the top and from the left, as parts of the image's
            height and width, from 0 to below 1.
        grid (tuple[int, int]): Height and width of the token grid.

    Returns:
        tuple[int, int]: Row and column.

    Raises:
        ValueError: If the position is outside the image.
    """
    if not all(0 <= part < 1 for part in position):
        raise ValueError(f'a position is from 0 to below 1 along each side, got {position}')
    return int(position[0] * grid[0]), int(position[1] * grid[1])


def grid_of(tokens: int, size: Tuple[int, int]) -> Tuple[int, int]:
    """The grid of a plain ViT's tokens: square patches, after as few other tokens as possible.

    Args:
        tokens (int): Number of tokens, those included that are no patches.
        size (tuple[int, int]): Height and width of the image in pixels.

    Returns:
        tuple[int, int]: Rows and columns of the patches.

    Raises:
        ValueError: If no size of patches gives as many tokens, or up to eight fewer.
    """
    grids = [(size[0] // side, size[1] // side) for side in range(1, min(size) + 1)
             if not (size[0] % side or size[1] % side)]
    for others in range(9):
        for grid in grids:
            if grid[0] * grid[1] + others == tokens:
                return grid
    raise ValueError(f'{tokens} tokens are no grid of square patches of {size[0]} x {size[1]} '
                     f'pixels; take images of a multiple of the patch size')
