# Copyright (c) mmvisionmix authors. All rights reserved.
"""What folds is folded once, by name; what does not fold stays; no kind of weights is mixed up."""
import inspect
from functools import partial

import pytest
import torch
from mmengine.runner.checkpoint import load_state_dict
from small_backbones import BACKBONES, SMALL, assert_same, backbones, build, randomise, run
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import prune

from mmvisionmix.models import switch_to_deploy
from mmvisionmix.models.layers import (
    ConditionalPositionalEncoding,
    ConvNorm,
    Foldable,
    GroupAttention,
    KeyOnlyAttention,
    MBConv,
    are_plain,
)

TOOL = 'tools/model_converters/reparameterize.py'
WITH_NORMS = [name for name, cls in BACKBONES.items()
              if 'norm_cfg' in inspect.signature(cls).parameters]
NORMS = dict(
    BN=dict(type='BN'), SyncBN=dict(type='SyncBN'), GN=dict(type='GN', num_groups=2),
    IN=dict(type='IN'), affine=dict(type='BN', affine=False),
    untracked=dict(type='BN', track_running_stats=False))
FOLDING = ('BN', 'SyncBN')
CONVS = (
    dict(), dict(kernel_size=3, padding=1), dict(kernel_size=3, stride=2, padding=1),
    dict(kernel_size=3, padding=1, groups=6), dict(kernel_size=7, stride=4, padding=3, groups=6),
    dict(kernel_size=3, padding=1, norm_cfg=dict(type='BN', eps=0.1)))


def deployed(module):
    module.switch_to_deploy()
    return module


def unfolded(model):
    return [module for module in model.modules()
            if isinstance(module, Foldable) and module.folded is None]


@pytest.mark.parametrize('norm', NORMS)
@pytest.mark.parametrize('name', WITH_NORMS)
def test_norms_that_depend_on_images_stay_and_all_else_folds(name, norm):
    layout = dict(layout='chhh') if name == 'LinGlo' else {}
    model = build(name, norm_cfg=NORMS[norm], **layout).eval()
    x = torch.randn(2, 3, 64, 96)
    expected = run(model, x)
    assert_same(run(deployed(model), x), expected)
    left = unfolded(model)
    if norm in FOLDING:
        assert not left and not any(isinstance(part, _BatchNorm) for part in model.modules())
    else:
        assert left and all(
            isinstance(layer, (ConvNorm, ConditionalPositionalEncoding)) for layer in left)


@backbones
def test_a_second_switch_changes_nothing_and_folded_weights_are_trained(name):
    model = deployed(build(name).eval())
    assert not unfolded(model)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    after = deployed(model).state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], value) for key, value in before.items())
    sum(out.square().mean() for out in model(torch.randn(2, 3, 24, 40))).backward()
    assert all(param.grad.isfinite().all() for param in model.parameters())


@backbones
def test_what_was_frozen_stays_so(name):
    model = deployed(build(name, frozen_stages=2))
    assert [any(param.requires_grad for param in stage.parameters())
            for stage in model.stages] == [False, False, True, True]
    assert not any(param.requires_grad for param in deployed(build(name).eval().requires_grad_(
        False)).parameters())


@backbones
@pytest.mark.parametrize('given', ('plain', 'deployed'))
@pytest.mark.parametrize('load', (nn.Module.load_state_dict, load_state_dict,
                                  partial(load_state_dict, strict=True)),
                         ids=('torch', 'mmengine', 'mmengine-strict'))
def test_weights_of_the_other_kind_are_refused_by_a_line_that_names_the_tool(name, given, load):
    plain, other = build(name), deployed(build(name))
    target, source = (other, plain) if given == 'plain' else (plain, other)
    whole = nn.ModuleDict(dict(backbone=target))
    weights = {f'backbone.{key}': value for key, value in source.state_dict().items()}
    with pytest.raises(ValueError, match=f'are of a {given} model') as error:
        load(whole, weights)
    assert TOOL in str(error.value) and 'backbone.st' in str(error.value)
    assert '\n' not in str(error.value)
    whole.load_state_dict({}, strict=False)  # a checkpoint of a head alone is of no kind


@pytest.mark.parametrize('norm', ('BN', 'GN'))
def test_plain_checkpoints_with_the_names_before_version_0_2_load(norm):
    model, x = build('DualFormer', norm_cfg=NORMS[norm]).eval(), torch.randn(1, 3, 40, 24)
    old = {key.replace('attention.downsample', 'attention.shrink')
           .replace('attention.upsample', 'attention.grow'): value
           for key, value in model.state_dict().items()}
    assert sum('.shrink.' in key or '.grow.' in key for key in old) > 10
    given = dict(old)
    for load in (nn.Module.load_state_dict, partial(load_state_dict, strict=True)):
        other = BACKBONES['DualFormer'](**SMALL['DualFormer'], norm_cfg=NORMS[norm]).eval()
        load(other, given)
        assert list(given) == list(old)  # the file's own dict stays as it was
        assert all(map(torch.equal, run(other, x), run(model, x)))


@backbones
def test_layers_that_users_changed_do_not_fold(name):
    model, x = build(name).eval(), torch.randn(2, 3, 24, 40)
    changed = []
    for module in model.modules():
        if isinstance(module, Foldable):
            part = next(one for one in module.modules() if isinstance(one, (nn.Linear, nn.Conv2d)))
            if are_plain(part):
                prune.random_unstructured(part, 'weight', amount=0.3)
            changed.append(module)
    expected = run(model, x)
    assert all(map(torch.equal, run(deployed(model), x), expected))
    assert unfolded(model) == changed


@pytest.mark.parametrize('mixer, weight', (
    (KeyOnlyAttention, 'saliency'), (GroupAttention, 'tokens'), (KeyOnlyAttention, None)))
def test_mixers_of_other_networks_fold_unless_their_own_weights_are_pruned(mixer, weight):
    network = nn.Sequential(mixer(8, 2))
    if weight:
        prune.random_unstructured(network[0], weight, amount=0.3)
    switch_to_deploy(network)
    assert (network[0].folded is None) == bool(weight)


@pytest.mark.parametrize('options', CONVS, ids=str)
@pytest.mark.parametrize('dtype, tolerance', (
    (torch.float32, 1e-5), (torch.float64, 1e-10), (torch.bfloat16, 3e-2)))
def test_convolution_and_norm_are_as_one_convolution(options, dtype, tolerance):
    torch.manual_seed(0)
    layer = randomise(ConvNorm(6, 12, **options), std=0.5).to(dtype).eval()
    x = torch.randn(2, 6, 9, 11, dtype=dtype)
    norm, conv = layer.norm, {key: value for key, value in options.items() if key != 'norm_cfg'}
    mean, var, weight, bias = (part[:, None, None] for part in (
        norm.running_mean, norm.running_var, norm.weight, norm.bias))
    conv.pop('kernel_size', None)
    mapped = nn.functional.conv2d(x, layer.conv.weight, **conv)
    expected = [(mapped - mean) / (var + norm.eps).sqrt() * weight + bias]
    assert_same([layer(x)], expected, tolerance)
    out = deployed(layer)(x).detach()
    assert out.dtype == dtype and layer.folded.weight.dtype == layer.folded.bias.dtype == dtype
    assert_same([out], expected, tolerance)
    assert [key for key, _ in layer.named_parameters()] == ['folded.weight', 'folded.bias']
    assert torch.equal(layer.train()(x), out)  # there is no norm left to train


@pytest.mark.parametrize('squeezed_channels', (0, 3))
@pytest.mark.parametrize('expansion', (1, 4))
def test_bottleneck_is_three_convolutions_and_gates(expansion, squeezed_channels):
    torch.manual_seed(0)
    layer = randomise(MBConv(6, expansion, squeezed_channels)).double().eval()
    x = torch.randn(2, 6, 9, 11, dtype=torch.float64)
    mapped = layer.depthwise(nn.functional.gelu(layer.expand(x)))
    mapped = layer.project(nn.functional.gelu(mapped))
    if squeezed_channels:
        mapped = mapped * layer.excitation.gate(mapped.mean((2, 3)))[..., None, None]
    assert_same([layer(x)], [mapped], 1e-10)
    assert layer.depthwise.conv.weight.shape == (6 * expansion, 1, 3, 3)
