# Copyright (c) mmvisionmix authors. All rights reserved.
"""What the token mixers of this package, and a ViT's attention, weigh.

A mixer has a dict ``views``, from names in :data:`VIEWS` to its attributes: ``kernels`` to a
parameter; ``rows`` to a method that gives, for a grid (H', W'), its mixing matrix of (H'W', H'W');
and all others to methods that give weights for the mixer's input. All functions here take a network
in evaluation mode and one batch of images.
"""
import math
from typing import Dict, List, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .recording import Call, Position, grid_of, record_calls, token_at

VIEWS: Dict[str, str] = {
    'kernels': 'the kernel of each LKCA layer',
    'rows': 'what other tokens weigh for one token, in LKCA and self-attention',
    'saliency': 'weights of keys in key-only attention',
    'groups': 'attention of groups to tokens',
    'queries': "attention of the convolutions' tokens to groups",
    'partitions': 'partitions of partition attention',
}
"""What can be seen, and in which layers."""


def views_of(network: nn.Module) -> List[str]:
    """Finds out what can be seen in a network.

    Returns:
        list[str]: Some of :data:`VIEWS`.

    Raises:
        ValueError: If there is nothing to be seen.
    """
    layers = list(network.modules())
    views = [view for view in VIEWS if any(has_view(layer, view) for layer in layers)]
    if not views:
        raise ValueError(f'{type(network).__name__} has none of {", ".join(VIEWS)}: it has no '
                         f"mixer of this package, and no self-attention of a plain ViT")
    return views


def has_view(layer: nn.Module, view: str) -> bool:
    """Whether a layer has one of :data:`VIEWS`."""
    return view in getattr(layer, 'views', ()) or view == 'rows' and _is_self_attention(layer)


def kernels(network: nn.Module) -> Dict[str, Tensor]:
    """The kernels of LKCA, as trained.

    Returns:
        dict[str, Tensor]: Weights by offset, (0, 0) in the middle, for every layer by its name:
        shape (2H-1, 2W-1).
    """
    return {name: getattr(layer, layer.views['kernels']).detach()
            for name, layer in network.named_modules() if has_view(layer, 'kernels')}


@torch.no_grad()
def mixing_rows(network: nn.Module, images: Tensor, position: Position) -> Dict[str, Tensor]:
    """A row of the mixing matrices: what all tokens weigh in the output of one.

    In LKCA these are weights of a Toeplitz matrix, of any sign; in self-attention the softmax over
    queries and keys, without what a class token weighs.

    Args:
        network (nn.Module): With LKCA, or plain self-attention of this package, mmpretrain,
            mmsegmentation or timm.
        images (Tensor): Shape (B, 3, H, W).
        position (tuple[float, float]): Of the one token; see :func:`token_at`.

    Returns:
        dict[str, Tensor]: Weights for every layer by its name, shape (B, heads, H', W'), with one
        head for mixing matrices.

    Raises:
        ValueError: If self-attention is within windows, or tokens are no grid.
    """
    rows = {}
    for name, call in record_calls(network, images, lambda layer: has_view(layer, 'rows')).items():
        if not hasattr(call.layer, 'views'):
            rows[name] = _attention_row(call, images, position)
            continue
        grid = tuple(call.args[1] if len(call.args) > 1 else call.args[0].shape[2:])
        matrix = getattr(call.layer, call.layer.views['rows'])(grid)
        row = matrix[_index(position, grid)].view(1, 1, *grid)
        rows[name] = row.expand(len(images), -1, -1, -1)
    return rows


@torch.no_grad()
def mixer_maps(network: nn.Module, images: Tensor, view: str) -> Dict[str, Tensor]:
    """What mixers weigh in images.

    Args:
        network (nn.Module): Any network.
        images (Tensor): Shape (B, 3, H, W).
        view (str): ``'saliency'``: weights of keys in key-only attention, A of Eq. 2 of the LinGlo
            paper. ``'groups'``: attention of groups to tokens, Eq. 3 of the MCGANet paper.
            ``'queries'``: attention of the convolutions' tokens to groups. ``'partitions'``:
            numbers from 0 on, Eq. 3 to 5 of the DualFormer paper. Or that of another mixer.

    Returns:
        dict[str, Tensor]: For every layer by its name, of ``'queries'`` also by the side of the
        kernel (``'stages.0.blocks.0.mixer 3x3'``), weights that sum to one over the tokens, or over
        the groups for ``'queries'``: shape (B, heads, H', W'), or (B, heads, groups, H', W').
        Partitions have one head where heads share them.
    """
    maps = {}
    for name, call in record_calls(network, images, lambda layer: has_view(layer, view)).items():
        if getattr(call.layer, 'folded', True) is None and not call.layer.is_plain():
            raise ValueError(f'weights of {name} cannot be read past its layers: one is hooked, '
                             f'parametrized or of another class')
        found = getattr(call.layer, call.layer.views[view])(call.args[0])
        for part, weights in found.items() if isinstance(found, dict) else [('', found)]:
            if len(call.args) > 1:  # of tokens on a grid
                weights = weights.reshape(*weights.shape[:-1], *call.args[1])
            maps[f'{name} {part}'.rstrip()] = weights
    return maps


def _is_self_attention(layer: nn.Module) -> bool:
    """Whether all tokens attend to all, by queries and keys alone, as in a plain ViT."""
    if isinstance(layer, nn.MultiheadAttention):
        return layer.in_proj_weight is not None
    plain = isinstance(getattr(layer, 'qkv', None), nn.Linear) and type(layer).__name__ in (
        'SelfAttention', 'Attention', 'MultiheadAttention')  # ours, timm's and mmpretrain's
    normed = any(not isinstance(getattr(layer, name, None), (nn.Identity, type(None)))
                 for name in ('q_norm', 'k_norm'))
    return plain and not normed and not hasattr(layer, 'relative_position_bias_table')


def _attention_row(call: Call, images: Tensor, position: Position) -> Tensor:
    """A row of a self-attention layer's softmax, shape (B, heads, H', W')."""
    query, key = _queries_and_keys(call)  # (B, heads, N, d)
    if len(query) != len(images):
        raise ValueError(f'{type(call.layer).__name__} attends within windows of the image, where '
                         f'a row of a matrix of all tokens is none')
    tokens = query.shape[2]
    given = call.args[1] if len(call.args) > 1 and not isinstance(call.args[1], Tensor) else None
    grid = tuple(given) if given is not None else grid_of(tokens, tuple(images.shape[2:]))
    others = tokens - grid[0] * grid[1]  # a class token and the like come first
    one = query[:, :, others + _index(position, grid)]
    logits = (one[:, :, None] * key).sum(3) / math.sqrt(query.shape[3])
    return logits.softmax(2)[:, :, others:].unflatten(2, grid)


def _queries_and_keys(call: Call) -> Tuple[Tensor, Tensor]:
    layer = call.layer
    x = call.args[0] if call.args else call.kwargs['query']
    if isinstance(layer, nn.MultiheadAttention):
        x = x if layer.batch_first else x.transpose(0, 1)
        qkv = F.linear(x, layer.in_proj_weight, layer.in_proj_bias)
    else:
        qkv = layer.qkv(x)
    query, key, _ = qkv.unflatten(2, (3, layer.num_heads, -1)).permute(2, 0, 3, 1, 4)
    return query, key


def _index(position: Position, grid: Tuple[int, int]) -> int:
    row, col = token_at(position, grid)
    return row * grid[1] + col
