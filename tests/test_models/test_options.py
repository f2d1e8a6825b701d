# Copyright (c) mmvisionmix authors. All rights reserved.
"""Every option of every backbone trains, has equal forms, and deploys; sizes are the papers'."""
import pytest
import torch
from mmcv.cnn.bricks import DropPath
from small_backbones import BACKBONES, assert_differ, assert_same, build, gradients, run
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmvisionmix.models import MCGANet

PATCHES = dict(encoding=None, patch_sizes=(4, 2, 2, 2))
WITHOUT_C = dict(PATCHES, absolute_pos=True, img_size=64)
OPTIONS = dict(
    DualFormer=(
        dict(mixing='serial'), dict(mixing='attention'), dict(paths=('intra', )),
        dict(paths=('inter', )), dict(paths=('inter', 'intra'), rescale=False),
        dict(mixing='serial', paths=('inter', )), dict(mixing='attention', paths=('intra', )),
        dict(num_partitions=1, paths=('intra', )), dict(partition='k-means', num_partitions=2),
        dict(share_partition=True), dict(
            num_partitions=8, partition='k-means', share_partition=True),
        dict(normalisation='paper'), dict(encoding='rp-cpe')),
    LKCAViT=(
        dict(interpolate_kernel=True), dict(attention_layers=(1, -1), num_heads=4),
        dict(out_proj=False, attention_layers=(1, ), num_heads=4), dict(kernel_init='conv'),
        dict(impl='conv'), dict(impl='gemm'), dict(impl='spectral')),
    LinGlo=(
        dict(layout='cchh'), dict(layout='chhh'), dict(attention='dot-product'),
        dict(inner_per_head=True), dict(encoding='cpe'), dict(encoding='r-cpe'),
        dict(encoding='p-cpe'), WITHOUT_C),
    MCGANet=(
        dict(num_groups=3), dict(kernel_sizes=(7, )), dict(kernel_sizes=(1, 3, 5), num_groups=2),
        dict(qkv_bias=False), dict(share_groups=True), dict(fusion='single'),
        dict(fusion='single', share_groups=True, qkv_bias=False), dict(encoding='rp-cpe')))


@pytest.mark.parametrize('name, options', [
    (name, options) for name, choices in OPTIONS.items() for options in choices], ids=str)
def test_every_option_trains_on_odd_images_has_equal_forms_and_deploys(name, options):
    model = build(name, **options, drop_rate=0.1)
    for key, grad in gradients(model, torch.randn(2, 3, 117, 150)).items():
        assert grad is not None and grad.isfinite().all() and grad.any(), key
    model = build(name, **options).double().eval()
    literal = build(name, **{**options, 'impl': 'literal'}).double().eval()
    x = torch.randn(2, 3, 53, 70, dtype=torch.float64)
    expected = run(literal, x)
    assert_same(run(model, x), expected, 1e-10)
    model.switch_to_deploy()
    assert not any(isinstance(module, _BatchNorm) for module in model.modules())
    assert_same(run(model, x), expected, 1e-10)


@pytest.mark.parametrize('options, millions', (
    ({}, 10.306), (dict(fusion='single'), 10.304), (dict(share_groups=True), 9.300),
    (dict(num_groups=16), 10.335), (dict(kernel_sizes=(3, 5, 7)), 11.941)), ids=str)
def test_mcganets_options_have_the_parameters_of_the_page(options, millions):
    with torch.device('meta'):
        model = MCGANet('base', out_indices=-1, **options)
        model.head = nn.Sequential(nn.Linear(256, 1280), nn.Linear(1280, 1000))
    count = sum(param.numel() for param in model.parameters()) / 1e6
    assert count == pytest.approx(millions, abs=5e-4)


@pytest.mark.parametrize('name, options', (
    ('DualFormer', dict(partition='k-means')), ('DualFormer', dict(rescale=False)),
    ('DualFormer', dict(hash_seed=1)), ('DualFormer', dict(normalisation='paper')),
    ('LKCAViT', dict(interpolate_kernel=True))), ids=str)
def test_options_without_weights_of_their_own_change_the_outputs(name, options):
    x = torch.randn(1, 3, 160, 128)
    outs, others = run(build(name, **options).eval(), x), run(build(name).eval(), x)
    assert_differ(outs[-1:], others[-1:], 0.01)


@pytest.mark.parametrize('name', BACKBONES)
def test_norms_and_dropout_are_as_configured(name):
    norms = {} if name in ('LKCAViT', 'MCGANet') else dict(norm_cfg=dict(type='BN', eps=0.1))
    model = build(name, **norms, drop_rate=0.3, drop_path_rate=0.2, out_indices=2)
    assert {m.eps for m in model.modules() if isinstance(m, _BatchNorm)} == {0.1} - (
        set() if norms else {0.1})
    assert {m.p for m in model.modules() if isinstance(m, nn.Dropout)} == {0.3}
    steps = sum(build(name).depths) - 1  # of the whole network
    rates = [m.drop_prob for m in model.modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx([0.2 * i / steps for i in range(sum(model.depths[:3]))])


@pytest.mark.parametrize('name', [name for name in BACKBONES if name != 'LKCAViT'])
def test_gap_before_norm_emits_normalised_averages(name):
    model = build(name, out_indices=(1, 3)).eval()
    vectors = build(name, out_indices=(1, 3), gap_before_norm=True).eval()
    x, features = torch.randn(2, 3, 40, 72), []
    for stage in (1, 3):
        model.norms[str(stage)].register_forward_pre_hook(
            lambda module, args: features.append(args[0]))
    model(x)
    last = name == 'LinGlo'  # channels are its last dimension throughout
    for out, feature, stage in zip(vectors(x), features, (1, 3)):
        mean = feature.flatten(1, 2).mean(1) if last else feature.flatten(2).mean(2)
        norm = model.norms[str(stage)]
        expected = nn.functional.layer_norm(mean, mean.shape[1:], norm.weight, norm.bias, norm.eps)
        torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('name, options', (
    ('LinGlo', PATCHES), ('MCGANet', {}), ('LKCAViT', {})), ids=str)
def test_patches_are_padded_at_the_bottom_and_right(name, options):
    model, x = build(name, **options).eval(), torch.randn(1, 3, 61, 30)
    padded = nn.functional.pad(x, (0, 2, 0, 3))
    assert_same(run(model, x)[:1], run(model, padded)[:1])


def test_forms_reach_every_attention_and_encoding():
    for name in BACKBONES:
        forms = [module.impl for module in build(name, impl='literal').modules()
                 if hasattr(module, 'impl')]
        assert forms and set(forms) == {'literal'}


def test_queries_of_mcganet_start_as_wide_as_their_input():
    model = MCGANet()
    model.init_weights()
    for conv in model.stages[1].blocks[0].mixer.convs:
        assert 0.7 < conv(torch.randn(2, 64, 16, 16)).std() < 1.3
