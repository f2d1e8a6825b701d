# Copyright (c) mmvisionmix authors. All rights reserved.
"""What the token mixers of this package, and a ViT's attention, weigh.

Layers are asked what they compute, by the functions of :mod:`mmvisionmix.ops` that they compute it
with. All functions here take a network in evaluation mode and one batch of images.
"""
import math
from typing import Callable, Dict, List, Tuple, Type

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvisionmix.models.layers import (
    GroupAttention,
    KeyOnlyAttention,
    LargeKernelAttention,
    PartitionAttention,
)

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
_OWN: Dict[str, Type[nn.Module]] = dict(
    kernels=LargeKernelAttention, rows=LargeKernelAttention, saliency=KeyOnlyAttention,
    groups=GroupAttention, queries=GroupAttention, partitions=PartitionAttention)


def views_of(network: nn.Module) -> List[str]:
    """Finds out what can be seen in a network.

    Args:
        network (nn.Module): Any network.

    Returns:
        list[str]: Some of :data:`VIEWS`.

    Raises:
        ValueError: If there is nothing to be seen; lists the layers in which there is.
    """
    layers = list(network.modules())
    views = [view for view, kind in _OWN.items()
             if any(isinstance(layer, kind) for layer in layers)
             or view == 'rows' and any(map(_is_self_attention, layers))]
    if not views:
        kinds = ', '.join(sorted({kind.__name__ for kind in _OWN.values()}))
        raise ValueError(f'{type(network).__name__} has none of the layers {kinds}, of the '
                         f"backbones DualFormer, LinGlo, LKCAViT and MCGANet, nor a ViT's "
                         f'self-attention')
    return views


def kernels(network: nn.Module) -> Dict[str, Tensor]:
    """The kernels of LKCA, as trained.

    Args:
        network (nn.Module): Any network.

    Returns:
        dict[str, Tensor]: Weights by offset, (0, 0) in the middle, for every layer by its name:
        shape (2H-1, 2W-1).
    """
    return {name: layer.kernel.detach() for name, layer in network.named_modules()
            if isinstance(layer, LargeKernelAttention)}


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
        head for LKCA.

    Raises:
        ValueError: If self-attention is within windows, or tokens are no grid.
    """
    def mixes(layer: nn.Module) -> bool:
        return isinstance(layer, LargeKernelAttention) or _is_self_attention(layer)

    rows = {}
    for name, call in record_calls(network, images, mixes).items():
        if isinstance(call.layer, LargeKernelAttention):
            grid = tuple(call.args[1])
            index = _index(position, grid)
            row = call.layer.matrix_for(grid)[index].view(1, 1, *grid)
            rows[name] = row.expand(len(images), -1, -1, -1)
        else:
            rows[name] = _attention_row(call, images, position)
    return rows


@torch.no_grad()
def saliency(network: nn.Module, images: Tensor) -> Dict[str, Tensor]:
    """Weights of keys in key-only attention, A of Eq. 2 of the LinGlo paper.

    Args:
        network (nn.Module): Any network.
        images (Tensor): Shape (B, 3, H, W).

    Returns:
        dict[str, Tensor]: Weights that sum to one over the tokens, for every layer by its name:
        shape (B, heads, H', W').
    """
    calls = _calls_of(KeyOnlyAttention, network, images)
    return {name: call.layer.saliency_of(call.args[0]).unflatten(2, tuple(call.args[1]))
            for name, call in calls.items()}


@torch.no_grad()
def group_pooling(network: nn.Module, images: Tensor) -> Dict[str, Tensor]:
    """Attention of the groups to tokens, Eq. 3 of the MCGANet paper.

    Args:
        network (nn.Module): Any network.
        images (Tensor): Shape (B, 3, H, W).

    Returns:
        dict[str, Tensor]: Weights that sum to one over the tokens, for every layer by its name:
        shape (B, heads, groups, H', W').
    """
    calls = _calls_of(GroupAttention, network, images)
    return {name: call.layer.maps_of(call.args[0]).pooling for name, call in calls.items()}


@torch.no_grad()
def group_queries(network: nn.Module, images: Tensor) -> Dict[str, Tensor]:
    """Attention of the convolutions' tokens to the groups.

    Args:
        network (nn.Module): Any network.
        images (Tensor): Shape (B, 3, H, W).

    Returns:
        dict[str, Tensor]: Weights that sum to one over the groups, for every layer and convolution
        by the layer's name and the side of the kernel, ``'stages.0.blocks.0.mixer 3x3'``: shape
        (B, heads, groups, H', W').
    """
    calls = _calls_of(GroupAttention, network, images)
    maps = {}
    for name, call in calls.items():
        propagation = call.layer.maps_of(call.args[0]).propagation
        for conv, weights in zip(call.layer.convs, propagation.unbind(1)):
            maps['{} {}x{}'.format(name, *conv.kernel_size)] = weights
    return maps


@torch.no_grad()
def partitions(network: nn.Module, images: Tensor) -> Dict[str, Tensor]:
    """Partitions of partition attention, Eq. 3 to 5 of the DualFormer paper.

    Args:
        network (nn.Module): Any network.
        images (Tensor): Shape (B, 3, H, W).

    Returns:
        dict[str, Tensor]: Numbers of partitions from 0 on, for every layer by its name: shape
        (B, heads, H', W'), with one head where heads share partitions.
    """
    calls = _calls_of(PartitionAttention, network, images)
    return {name: call.layer.partitions_of(call.args[0]) for name, call in calls.items()}


def _calls_of(kind: Type[nn.Module], network: nn.Module, images: Tensor) -> Dict[str, Call]:
    """What all layers of a kind are called with, by their names."""
    return record_calls(network, images, lambda layer: isinstance(layer, kind))


def _is_self_attention(layer: nn.Module) -> bool:
    """Whether all tokens attend to all, by queries and keys alone, as in a plain ViT."""
    if isinstance(layer, nn.MultiheadAttention):
        return layer.in_proj_weight is not None
    plain = isinstance(getattr(layer, 'qkv', None), nn.Linear) and hasattr(layer, 'num_heads')
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


MAPS: Dict[str, Callable[..., Dict[str, Tensor]]] = dict(
    saliency=saliency, groups=group_pooling, queries=group_queries, partitions=partitions)
"""The functions of those views that show images alone."""
