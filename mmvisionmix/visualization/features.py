# Copyright (c) mmvisionmix authors. All rights reserved.
"""What any network's feature maps are made of, mixer or not."""
import math
from typing import Dict, Sequence, Union

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvisionmix.models import BaseBackbone

from .recording import Call, Position, record_calls, token_at


def effective_receptive_field(network: nn.Module, images: Tensor) -> Tensor:
    """How much every pixel moves the centre of the last feature map.

    From `Understanding the Effective Receptive Field in Deep Convolutional Neural Networks
    <https://arxiv.org/abs/1701.04128>`_ (Luo et al., 2016): the gradient of a sum over channels at
    the centre. The sum is over positive values, as that over all of a layer norm's is constant.

    Args:
        network (nn.Module): Gives a map (B, C, H', W'), or several, of which the last counts. In
            evaluation mode, so that images do not meet.
        images (Tensor): Random images to average over, shape (B, 3, H, W).

    Returns:
        Tensor: Absolute gradients, summed over the colours and averaged over the images, shape
        (H, W).

    Raises:
        ValueError: If the network gives something else than maps.
    """
    images = images.detach().requires_grad_()
    with torch.enable_grad():
        last = _maps(network(images))[-1]
        centre = last[:, :, last.shape[2] // 2, last.shape[3] // 2].relu().sum()
        gradient, = torch.autograd.grad(centre, images)
    return gradient.abs().sum(1).mean(0)


def contributing_share(field: Tensor, part: float = 0.5) -> float:
    """The smallest share of the pixels that holds a part of a receptive field.

    Args:
        field (Tensor): What :func:`effective_receptive_field` gives.
        part (float): The part of the sum over all pixels. Defaults to 0.5.

    Returns:
        float: From 0 to 1; NaN if the field is zero everywhere.
    """
    values = field.flatten().double().sort(descending=True).values
    if not values[0] > 0:
        return math.nan
    reached = int((values.cumsum(0) < part * values.sum()).sum()) + 1
    return reached / len(values)


def fourier_amplitude(maps: Tensor) -> Tensor:
    """Relative log amplitude of feature maps by frequency, as in Fig. 5 of the DualFormer paper.

    From `How Do Vision Transformers Work? <https://arxiv.org/abs/2202.06709>`_ (Park and Kim,
    2022), with an average over all frequencies of one magnitude, where they take the diagonal.

    Args:
        maps (Tensor): Shape (B, C, H, W).

    Returns:
        Tensor: Mean over images and channels of the logarithm of the amplitude, less that at
        frequency 0: from frequency 0 to pi in equal steps, shape (n // 2 + 1), n the shorter side.
        The magnitude of a frequency is the greater of those along the sides, to the nearest step.
    """
    spectrum = torch.fft.fft2(maps.double() if maps.dtype == torch.float64 else maps.float())
    amplitude = spectrum.abs().clamp_min(torch.finfo(spectrum.abs().dtype).tiny)
    level = amplitude.log().mean((0, 1)).flatten()
    steps = min(maps.shape[2:]) // 2
    along = [torch.fft.fftfreq(side, device=maps.device).abs() for side in maps.shape[2:]]
    magnitude = torch.maximum(along[0][:, None], along[1])  # from 0 to 0.5
    step = (magnitude * (2 * steps)).round().long().clamp_max(steps).flatten()
    sums = level.new_zeros(steps + 1).index_add(0, step, level)
    means = sums / torch.bincount(step, minlength=steps + 1)
    return means - means[0]


def feature_similarity(maps: Tensor, position: Position) -> Tensor:
    """Cosine similarity of the feature at one position to those at all.

    Args:
        maps (Tensor): Shape (B, C, H, W).
        position (tuple[float, float]): See :func:`token_at`.

    Returns:
        Tensor: From -1 to 1, shape (B, H, W).
    """
    row, col = token_at(position, tuple(maps.shape[2:]))
    return F.cosine_similarity(maps[:, :, row, col][..., None, None], maps, dim=1)


@torch.no_grad()
def block_maps(network: nn.Module, images: Tensor) -> Dict[str, Tensor]:
    """Feature maps after every block of a backbone of this package, or those that others give.

    Args:
        network (nn.Module): A backbone, or any network that gives maps (B, C, H', W').
        images (Tensor): Shape (B, 3, H, W).

    Returns:
        dict[str, Tensor]: Maps (B, C, H', W') from the first to the last, by the block's name, or
        ``'map 1'`` and so on.

    Raises:
        ValueError: If the network gives something else than maps.
    """
    if not isinstance(network, BaseBackbone):
        return {f'map {i}': out for i, out in enumerate(_maps(network(images)), 1)}
    calls = record_calls(
        network, images, lambda layer: isinstance(layer, network.block_classes))
    return {name: _as_map(network.layout, call) for name, call in calls.items()}


def _as_map(layout: str, call: Call) -> Tensor:
    if layout == 'NLC':
        return call.out.transpose(1, 2).unflatten(2, tuple(call.args[1]))
    return call.out.permute(0, 3, 1, 2) if layout == 'NHWC' else call.out


def _maps(outs: Union[Tensor, Sequence[Tensor]]) -> Sequence[Tensor]:
    outs = [outs] if isinstance(outs, Tensor) else list(outs)
    shapes = [tuple(out.shape) if isinstance(out, Tensor) else type(out) for out in outs]
    if not outs or any(len(shape) != 4 if isinstance(shape, tuple) else True for shape in shapes):
        raise ValueError(f'feature maps (B, C, H, W) are needed, the network gives {shapes}')
    return outs
