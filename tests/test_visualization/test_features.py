# Copyright (c) mmvisionmix authors. All rights reserved.
"""What is drawn of feature maps, against definitions and networks that it is known of."""
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


def test_field_of_ones_convolutions_counts_the_paths_to_the_centre():
    network = nn.Sequential(*(nn.Conv2d(3 if i == 0 else 1, 1, 3, padding=1) for i in range(2)))
    for conv in network:
        nn.init.ones_(conv.weight)
        nn.init.constant_(conv.bias, 100.)  # all values are positive
    field = effective_receptive_field(network, torch.rand(4, 3, 9, 11))
    paths = torch.tensor([1., 2, 3, 2, 1])
    expected = torch.zeros(9, 11)
    expected[2:7, 3:8] = 3 * torch.outer(paths, paths)  # of three colours
    assert torch.allclose(field, expected)


def test_field_is_the_mean_over_images_of_absolute_gradients():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.GELU(), nn.Conv2d(4, 5, 3))
    images = torch.randn(2, 3, 8, 8)
    expected = torch.zeros(8, 8)
    for image in images:
        image = image.clone().requires_grad_()
        out = network(image[None])[0, :, 3, 3]  # of maps of 6 x 6
        out[out > 0].sum().backward()
        expected += image.grad.abs().sum(0) / 2
    assert torch.allclose(effective_receptive_field(network, images), expected, atol=1e-6)


def test_field_is_of_the_last_map_and_reaches_all_of_it_by_global_mixing():
    network = LinGlo(arch=dict(embed_dims=(8, 8), depths=(1, 1), num_heads=(1, 1),
                               mlp_ratios=(1, 1)), layout='hh', out_indices=(0, 1)).eval()
    field = effective_receptive_field(network, torch.randn(1, 3, 64, 64))
    assert field.shape == (64, 64) and (field[:4] > 0).any() and (field[-4:] > 0).any()
    assert all(param.grad is None for param in network.parameters())


def test_share_is_of_the_fewest_pixels_with_half_of_the_field():
    field = torch.tensor([[6., 1, 1], [1, 1, 2]])
    assert contributing_share(field) == pytest.approx(1 / 6)
    assert contributing_share(field, 0.6) == pytest.approx(2 / 6)
    assert contributing_share(torch.ones(4, 5), 1) == 1
    assert math.isnan(contributing_share(torch.zeros(2, 2)))


@pytest.mark.parametrize('size', [(4, 4), (5, 8), (7, 7), (1, 3)])
def test_amplitudes_are_mean_logarithms_by_magnitude_of_the_frequency(size):
    height, width = size
    maps = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0)).double()
    steps = min(size) // 2
    levels = [[] for _ in range(steps + 1)]
    for u in range(height):
        for v in range(width):
            logs = []
            for image in maps.flatten(0, 1):
                total = sum(image[y, x].item() * cmath.exp(
                    -2j * math.pi * (u * y / height + v * x / width))
                    for y in range(height) for x in range(width))
                logs.append(math.log(abs(total)))
            magnitude = max(min(u, height - u) / height, min(v, width - v) / width)
            levels[min(round(magnitude * 2 * steps), steps)].append(sum(logs) / len(logs))
    means = [sum(level) / len(level) for level in levels]
    expected = torch.tensor([mean - means[0] for mean in means]).double()
    assert torch.allclose(fourier_amplitude(maps), expected)


def test_amplitude_of_a_wave_is_at_its_frequency():
    wave = torch.cos(math.pi / 2 * torch.arange(8.)).expand(1, 1, 8, 8) + 3
    assert fourier_amplitude(wave + 1e-3 * torch.randn(1, 1, 8, 8))[1:].argmax() == 1  # pi / 2
    assert fourier_amplitude(torch.zeros(1, 1, 4, 4)).isfinite().all()


def test_similarity_is_the_cosine_with_the_feature_at_the_position():
    maps = torch.randn(2, 5, 4, 6)
    found = feature_similarity(maps, (0.8, 0.2))  # row 3, column 1
    one = maps[:, :, 3, 1]
    for row in range(4):
        for col in range(6):
            other = maps[:, :, row, col]
            expected = (one * other).sum(1) / (one.norm(dim=1) * other.norm(dim=1))
            assert torch.allclose(found[:, row, col], expected, atol=1e-6)


@pytest.mark.parametrize('network, names', [
    (LinGlo(arch=dict(embed_dims=(8, 16), depths=(1, 2), num_heads=(1, 1), mlp_ratios=(1, 1)),
            layout='hh', out_indices=(0, 1)),
     ['stages.0.blocks.0', 'stages.1.blocks.0', 'stages.1.blocks.1']),
    (DualFormer(arch=dict(embed_dims=(16, 32), depths=(1, 1), reductions=(1, 1),
                          mlp_ratios=(1, 1)), num_heads=2, out_indices=(0, 1)),
     ['stages.0.blocks.0', 'stages.1.blocks.0']),
    (LKCAViT(arch=dict(embed_dims=12, num_layers=2, mlp_ratio=1), img_size=(32, 48),
             patch_size=8, out_indices=(0, 1)), ['stages.0', 'stages.1'])], ids=lambda case: type(
                 case).__name__)
def test_maps_of_blocks_become_the_outputs_by_the_norms(network, names):
    images = torch.randn(1, 3, 32, 48)
    maps = block_maps(network.eval(), images)
    assert list(maps) == names
    outs = network(images)
    for i, (norm, out) in enumerate(zip(network.norms.values(), outs)):
        last = [maps[name] for name in names if name.startswith(f'stages.{i}')][-1]
        channels_last = not isinstance(network, DualFormer)
        normed = norm(last.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) if channels_last else norm(last)
        assert torch.allclose(normed, out, atol=1e-5)


def test_other_networks_give_the_maps_they_give():
    network = nn.Conv2d(3, 2, 1)
    images = torch.rand(1, 3, 4, 4)
    assert (block_maps(network, images)['map 1'] == network(images)).all()
    with pytest.raises(ValueError, match=r'maps \(B, C, H, W\) are needed.*\(1, 48\)'):
        block_maps(nn.Flatten(), images)
    with pytest.raises(ValueError, match='are needed'):
        effective_receptive_field(nn.Flatten(), images)
