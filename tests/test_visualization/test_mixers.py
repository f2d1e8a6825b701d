# Copyright (c) mmvisionmix authors. All rights reserved.
"""What is drawn of mixers is what they compute with."""
import math

import pytest
import torch
from torch import nn

from mmvisionmix.models import DualFormer, LinGlo, LKCAViT, MCGANet
from mmvisionmix.visualization import kernels, mixer_maps, mixing_rows, views_of
from mmvisionmix.visualization.recording import grid_of, token_at

PYRAMID = dict(embed_dims=(16, 32), depths=(1, 2), mlp_ratios=(2, 2))
POSITION = (0.6, 0.3)


def spread(network):
    """Random weights under which no softmax is flat; in evaluation mode."""
    torch.manual_seed(0)
    for param in network.parameters():
        if param.ndim > 1:
            nn.init.normal_(param, std=0.5)
        else:  # scales of norms stay near 1
            param.data += 0.1 * torch.randn(param.shape)
    network.eval()  # of which some stock networks return nothing
    return network


def images(height=32, width=48):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def linglo(**kwargs):
    arch = dict(PYRAMID, num_heads=(1, 2))
    return spread(LinGlo(arch=arch, out_indices=1, layout='hh', **kwargs))


def mcganet(**kwargs):
    arch = dict(PYRAMID, num_heads=(1, 2))
    return spread(MCGANet(arch=arch, out_indices=1, num_groups=5, **kwargs))


def dualformer(**kwargs):
    arch = dict(PYRAMID, reductions=(2, 1))
    return spread(DualFormer(arch=arch, out_indices=1, num_heads=2, **kwargs))


def lkca(**kwargs):
    arch = dict(embed_dims=12, num_layers=3, mlp_ratio=2)
    return spread(LKCAViT(arch=arch, img_size=(32, 48), patch_size=8, num_heads=2, **kwargs))


def inputs_of(network, name):
    """What a layer is called with, found without the package's help."""
    seen = []
    handle = network.get_submodule(name).register_forward_pre_hook(
        lambda layer, args: seen.append(args))
    with torch.no_grad():
        network(images())
    handle.remove()
    return seen[-1]


@pytest.mark.parametrize('size', [(32, 48), (40, 24)])
def test_rows_of_lkca_are_weights_of_offsets_from_the_position(size):
    network = lkca()
    rows = mixing_rows(network, images(*size), POSITION)
    height, width = size[0] // 8, size[1] // 8
    i, j = int(0.6 * height), int(0.3 * width)
    assert list(rows) == list(kernels(network)) == [f'stages.{i}.mixer' for i in range(3)]
    for name, row in rows.items():
        kernel = kernels(network)[name]
        assert (kernel == network.get_submodule(name).kernel).all()
        assert row.shape == (2, 1, height, width)
        for p in range(height):
            for q in range(width):
                y, x = p - i + 4 - 1, q - j + 6 - 1  # of a kernel made for 4 x 6 tokens
                inside = 0 <= y < kernel.shape[0] and 0 <= x < kernel.shape[1]
                assert (row[:, 0, p, q] == (kernel[y, x] if inside else 0)).all()


def test_a_row_times_the_values_is_the_output_of_the_mixing():
    """Of LKCA, and of self-attention with its heads."""
    network = lkca(attention_layers=(1, ))
    found = mixing_rows(network, images(), POSITION)
    for name, heads in (('stages.0.mixer', 1), ('stages.1.mixer', 2)):
        layer, row = network.get_submodule(name), found[name].flatten(2)  # (B, heads, N)
        x, grid = inputs_of(network, name)
        value = layer.value(x) if heads == 1 else layer.qkv(x).chunk(3, 2)[2]
        mixed = torch.einsum('bhn,bnhd->bhd', row, value.unflatten(2, (heads, -1)))
        expected = layer(x, grid)[:, 2 * 6 + 1]
        assert torch.allclose(layer.proj(mixed.flatten(1)), expected, atol=1e-5)


def test_rows_of_stock_vits_leave_out_the_class_token():
    from mmpretrain.models import VisionTransformer
    from mmseg.models.backbones import VisionTransformer as SegVisionTransformer
    arch = dict(embed_dims=12, num_layers=2, num_heads=3, feedforward_channels=24)
    stock = VisionTransformer(arch=arch, img_size=(32, 48), patch_size=8)
    rows = mixing_rows(spread(stock), images(), POSITION)
    assert list(rows) == ['layers.0.attn', 'layers.1.attn']
    sums = rows['layers.1.attn'].sum((2, 3))
    assert rows['layers.1.attn'].shape == (2, 3, 4, 6) and ((sums > 0.3) & (sums < 1)).all()
    stock = SegVisionTransformer((32, 48), 8, embed_dims=12, num_layers=2, num_heads=3)
    rows = mixing_rows(spread(stock), images(), POSITION)
    x = inputs_of(stock, 'layers.1.attn')[0].transpose(0, 1)
    with torch.no_grad():
        _, weights = stock.layers[1].attn.attn(x, x, x, average_attn_weights=False)
    assert torch.allclose(
        rows['layers.1.attn.attn'].flatten(2), weights[:, :, 1 + 13, 1:], atol=1e-6)


def test_attention_within_windows_is_no_view():
    from mmpretrain.models import SwinTransformerV2
    arch = dict(embed_dims=12, depths=(1, ), num_heads=(3, ), extra_norm_every_n_blocks=0)
    network = SwinTransformerV2(arch=arch, img_size=32, window_size=4, out_indices=(0, ))
    with pytest.raises(ValueError, match='has none of'):
        views_of(network)


@pytest.mark.parametrize('deployed', [False, True])
def test_saliency_is_the_softmax_of_equation_2(deployed):
    network = linglo()
    name = 'stages.1.blocks.1.mixer'
    layer = network.get_submodule(name)
    x, grid = inputs_of(network, name)
    key = layer.key(x).unflatten(2, layer.saliency.shape)
    logits = torch.einsum('bnhd,hd->bhn', key, layer.saliency) / math.sqrt(key.shape[3])
    if deployed:
        network.switch_to_deploy()
    found = mixer_maps(network, images(), 'saliency')
    assert list(found) == ['stages.0.blocks.0.mixer', 'stages.1.blocks.0.mixer', name]
    assert found[name].shape == (2, 2, *grid)
    assert torch.allclose(found[name].flatten(2), logits.softmax(2), atol=1e-5)
    assert found[name].flatten(2).std(2).min() > 1e-4


def test_weights_of_groups_are_those_of_the_layers():
    """The layers' own are compared with their definition in test_ops/test_group_attention.py."""
    network, name = mcganet(), 'stages.1.blocks.1.mixer'
    layer, (x, ) = network.get_submodule(name), inputs_of(network, name)
    pooled = mixer_maps(network, images(), 'groups')[name]
    assert torch.allclose(pooled, layer.pooling_of(x), atol=1e-6)
    assert pooled.flatten(3).std(3).min() > 1e-4
    found = mixer_maps(network, images(), 'queries')
    assert list(found)[:2] == ['stages.0.blocks.0.mixer 3x3', 'stages.0.blocks.0.mixer 5x5']
    for size in (3, 5):
        expected = layer.propagation_of(x)[f'{size}x{size}']
        assert torch.allclose(found[f'{name} {size}x{size}'], expected, atol=1e-6)


def test_weights_are_not_read_past_layers_that_users_changed():
    network = mcganet()
    network.stages[1].blocks[0].mixer.key.register_forward_hook(lambda *call: None)
    with pytest.raises(ValueError, match='stages.1.blocks.0.mixer cannot be read past its layers'):
        mixer_maps(network, images(), 'groups')


@pytest.mark.parametrize('options', [dict(), dict(share_partition=True)])
def test_partitions_are_signs_of_products_with_the_hash_vectors(options):
    network = dualformer(**options)
    found = mixer_maps(network, images(), 'partitions')
    assert [tuple(maps.shape[2:]) for maps in found.values()] == [(4, 6), (4, 6), (4, 6)]
    for name, maps in found.items():
        layer = network.get_submodule(name)
        x, = inputs_of(network, name)
        tokens = layer.downsample(x).unflatten(1, (len(layer.hash_vectors), -1))
        bits = torch.einsum('bgdyx,gkd->bgkyx', tokens, layer.hash_vectors) >= 0
        assert (maps == bits[:, :, 0] + 2 * bits[:, :, 1].long()).all()
        assert maps.shape[1] == (1 if options else 2)
        moved = mixer_maps(dualformer(**options, partition='k-means'), images(), 'partitions')
    assert (maps != moved[name]).any()


@pytest.mark.parametrize('make, views', [
    (lkca, ['kernels', 'rows']), (linglo, ['saliency']), (mcganet, ['groups', 'queries']),
    (dualformer, ['partitions']), (lambda: linglo(attention='dot-product'), ['rows'])])
def test_views_of_a_network_are_those_of_its_layers(make, views):
    assert views_of(nn.Sequential(make())) == views
    with pytest.raises(ValueError, match='Sequential has none of kernels, rows.*no mixer'):
        views_of(nn.Sequential(nn.Conv2d(3, 3, 1)))


def test_positions_name_the_token_they_are_in_and_grids_are_of_square_patches():
    assert token_at((0.99, 0.5), (4, 6)) == (3, 3)
    for outside in ((1., 0.), (0., -0.1)):
        with pytest.raises(ValueError, match='from 0 to below 1'):
            token_at(outside, (4, 6))
    assert grid_of(24, (32, 48)) == grid_of(25, (32, 48)) == (4, 6)
    with pytest.raises(ValueError, match='no grid of square patches'):
        grid_of(40, (32, 48))
