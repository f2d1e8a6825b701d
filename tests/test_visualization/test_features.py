# Copyright (c) mmvisionmix authors. All rights reserved.
"""What is drawn of feature maps, against definitions."""
import cmath
import math

import pytest
import torch
from torch import nn

from mmvisionmix.models import DualFormer, LinGlo, LKCAViT
from mmvisionmix.visualization import (
    block_maps,
    contributing_share,
    effective_receptive_field,
    feature_similarity,
    fourier_amplitude,
)


def test_field_is_the_mean_over_images_of_absolute_gradients_of_the_last_map():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.GELU(), nn.Conv2d(4, 5, 3))
    images = torch.randn(2, 3, 8, 8)
    expected = torch.zeros(8, 8)
    for image in images:
        image = image.clone().requires_grad_()
        out = network(image[None])[0, :, 3, 3]  # of maps of 6 x 6
        out[out > 0].sum().backward()
        expected += image.grad.abs().sum(0) / 2
    network.zero_grad()
    assert torch.allclose(effective_receptive_field(network, images), expected, atol=1e-6)
    assert all(param.grad is None for param in network.parameters())


def test_share_is_of_the_fewest_pixels_with_half_of_the_field():
    field = torch.tensor([[6., 1, 1], [1, 1, 2]])
    assert contributing_share(field) == pytest.approx(1 / 6)
    assert contributing_share(field, 0.6) == pytest.approx(2 / 6)
    assert math.isnan(contributing_share(torch.zeros(2, 2)))


def test_amplitude_is_the_mean_of_its_definition_over_each_magnitude():
    torch.manual_seed(0)
    height, width = 6, 5
    maps = torch.randn(1, 2, height, width)
    steps = min(height, width) // 2
    levels = [[] for _ in range(steps + 1)]
    for u in range(height):
        for v in range(width):
            logs = [math.log(abs(sum(
                channel[y, x].item() * cmath.exp(-2j * math.pi * (u * y / height + v * x / width))
                for y in range(height) for x in range(width)))) for channel in maps[0]]
            magnitude = max(min(u, height - u) / height, min(v, width - v) / width)
            levels[min(round(magnitude * 2 * steps), steps)].append(sum(logs) / len(logs))
    means = [sum(level) / len(level) for level in levels]
    expected = torch.tensor([mean - means[0] for mean in means])
    assert torch.allclose(fourier_amplitude(maps), expected, atol=1e-5)
    assert fourier_amplitude(torch.zeros(1, 1, 4, 4)).isfinite().all()


def test_similarity_is_the_cosine_with_the_feature_at_the_position():
    maps = torch.randn(2, 5, 4, 6)
    one = maps[:, :, 3, 1]
    expected = torch.einsum('bc,bcyx->byx', one, maps) / (
        one.norm(dim=1)[:, None, None] * maps.norm(dim=1))
    assert torch.allclose(feature_similarity(maps, (0.8, 0.2)), expected, atol=1e-6)


PYRAMID = dict(embed_dims=(16, 32), depths=(1, 2), mlp_ratios=(1, 1))


@pytest.mark.parametrize('network, names', [
    (LinGlo(arch=dict(PYRAMID, num_heads=(1, 1)), layout='hc', out_indices=(0, 1)),
     ['stages.0.blocks.0', 'stages.1.blocks.0', 'stages.1.blocks.1']),
    (DualFormer(arch=dict(PYRAMID, reductions=(1, 1)), num_heads=2, out_indices=(0, 1)),
     ['stages.0.blocks.0', 'stages.1.blocks.0', 'stages.1.blocks.1']),
    (LKCAViT(arch=dict(embed_dims=12, num_layers=2, mlp_ratio=1), img_size=(32, 48),
             patch_size=8, out_indices=(0, 1)), ['stages.0', 'stages.1'])],
    ids=('LinGlo', 'DualFormer', 'LKCAViT'))
def test_maps_of_blocks_become_the_outputs_by_the_norms(network, names):
    images = torch.randn(1, 3, 32, 48)
    maps = block_maps(network.eval(), images)
    assert list(maps) == names
    for i, (norm, out) in enumerate(zip(network.norms.values(), network(images))):
        last = [maps[name] for name in names if name.startswith(f'stages.{i}')][-1]
        normed = nn.functional.layer_norm(
            last.permute(0, 2, 3, 1), norm.normalized_shape, norm.weight, norm.bias, norm.eps)
        assert torch.allclose(normed.permute(0, 3, 1, 2), out, atol=1e-5)


def test_other_networks_give_the_maps_they_give():
    network, images = nn.Conv2d(3, 2, 1), torch.rand(1, 3, 4, 4)
    assert (block_maps(network, images)['map 1'] == network(images)).all()
    for function in (block_maps, effective_receptive_field):
        with pytest.raises(ValueError, match=r'maps \(B, C, H, W\) are needed.*\(1, 48\)'):
            function(nn.Flatten(), images)
