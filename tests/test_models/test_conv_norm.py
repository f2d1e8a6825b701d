# Copyright (c) mmvisionmix authors. All rights reserved.
from copy import deepcopy
from functools import partial

import pytest
import torch
from torch import nn

from mmvisionmix.models.layers import (
    ConditionalPositionalEncoding,
    ConvNorm,
    DepthwiseConv2d,
    MBConv,
)

OPTIONS = (
    dict(), dict(kernel_size=3, padding=1), dict(kernel_size=3, stride=2, padding=1),
    dict(kernel_size=3, padding=1, groups=6), dict(kernel_size=7, stride=4, padding=3, groups=6),
    dict(kernel_size=3, stride=2, groups=2),
    dict(kernel_size=3, padding=1, norm_cfg=dict(type='BN', eps=0.1)))
DTYPES = ((torch.float32, 1e-5), (torch.float64, 1e-10))


def randomise(module):
    for param in module.parameters():
        nn.init.normal_(param, std=0.5)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean)
            nn.init.uniform_(part.running_var, 0.5, 2)
    return module


def make(dtype=torch.float64, **options):
    torch.manual_seed(0)
    return randomise(ConvNorm(6, 12, **options)).to(dtype).eval()


def draw(dtype=torch.float64):
    return torch.randn(2, 6, 9, 11, dtype=dtype)


def assert_close(out, expected, tolerance=1e-10):
    assert out.dtype == expected.dtype
    assert (out - expected).norm() <= tolerance * expected.norm()


@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_output_is_the_normalised_convolution(options):
    layer, x = make(**options), draw()
    norm, conv = layer.norm, dict(dict(stride=1, padding=0, groups=1), **options)
    conv.pop('kernel_size', None), conv.pop('norm_cfg', None)
    mean, var, weight, bias = (part[:, None, None] for part in (
        norm.running_mean, norm.running_var, norm.weight, norm.bias))
    mapped = nn.functional.conv2d(x, layer.conv.weight, **conv)
    eps = options.get('norm_cfg', {}).get('eps', 1e-5)
    assert_close(layer(x), (mapped - mean) / (var + eps).sqrt() * weight + bias)


@pytest.mark.parametrize('options', OPTIONS, ids=str)
@pytest.mark.parametrize('dtype, tolerance', DTYPES)
def test_deployed_layer_gives_the_same_outputs(options, dtype, tolerance):
    layer, x = make(dtype, **options), draw(dtype)
    expected, folded = layer(x), layer.fold()
    layer.switch_to_deploy()
    assert_close(layer(x), expected, tolerance)
    assert layer.norm is None
    assert [name for name, _ in layer.named_parameters()] == ['conv.weight', 'conv.bias']
    # Folding gives what deploying leaves, before and after.
    for weight, bias in (folded, layer.fold()):
        assert torch.equal(weight, layer.conv.weight) and torch.equal(bias, layer.conv.bias)


@pytest.mark.parametrize('dtype', (torch.float32, torch.float64, torch.bfloat16))
def test_folding_keeps_the_precision_and_trainability(dtype):
    layer = make(dtype, kernel_size=3)
    layer.switch_to_deploy()
    assert layer.conv.weight.dtype == layer.conv.bias.dtype == dtype
    layer(draw(dtype)).sum().backward()
    assert layer.conv.weight.grad.any() and layer.conv.bias.grad.any()


def test_second_switch_changes_nothing():
    layer = make()
    layer.switch_to_deploy()
    once = {key: value.clone() for key, value in layer.state_dict().items()}
    layer.switch_to_deploy()
    assert list(layer.state_dict()) == list(once)
    assert all(torch.equal(layer.state_dict()[key], value) for key, value in once.items())


@pytest.mark.parametrize('options', OPTIONS, ids=str)
@pytest.mark.parametrize('source', (False, True))
@pytest.mark.parametrize('target', (False, True))
@pytest.mark.parametrize('dtype, tolerance', DTYPES)
def test_checkpoints_load_across_deployment(options, source, target, dtype, tolerance):
    layer, x = make(dtype, **options), draw(dtype)
    expected = layer(x)
    other = randomise(ConvNorm(6, 12, **options)).to(dtype).eval()
    for one, deployed in ((layer, source), (other, target)):
        if deployed:
            one.switch_to_deploy()
    state = layer.state_dict()
    keys = list(state)
    result = other.load_state_dict(state, strict=True)
    assert result.missing_keys == result.unexpected_keys == []
    assert list(state) == keys  # the checkpoint itself is left as it was
    assert_close(other(x), expected, tolerance)


@pytest.mark.parametrize('deployed', (False, True))
def test_incomplete_checkpoints_are_refused(deployed):
    layer, other = make(), make()
    if deployed:
        layer.switch_to_deploy()
        other.switch_to_deploy()
    for key in ('conv.weight', 'conv.bias' if deployed else 'norm.running_mean'):
        state = layer.state_dict()
        del state[key]
        with pytest.raises(RuntimeError, match=f'Missing key.*{key}'):
            other.load_state_dict(state)


def test_loaded_layer_trains_on():
    """The norm that a deployed checkpoint is loaded into is one that training can go on with."""
    deployed, layer = make(), make()
    deployed.switch_to_deploy()
    layer.load_state_dict(deployed.state_dict())
    before = layer.norm.running_mean.clone()
    layer.train()(draw()).square().sum().backward()
    assert not torch.equal(layer.norm.running_mean, before)
    assert all(param.grad.isfinite().all() for param in layer.parameters())


def test_norms_keep_their_statistics_until_deployment():
    layer, x = make().train(), draw()
    layer(x)
    layer.eval()
    expected = layer(x)
    layer.switch_to_deploy()
    assert_close(layer(x), expected)
    assert_close(layer.train()(x), expected)  # there is no norm left to train


@pytest.mark.parametrize('squeezed_channels', (0, 3))
@pytest.mark.parametrize('expansion', (1, 4))
def test_deployed_bottleneck_has_no_norm_and_gives_the_same_outputs(expansion, squeezed_channels):
    torch.manual_seed(0)
    layer = randomise(MBConv(6, expansion, squeezed_channels)).double().eval()
    x = draw()
    expected = layer(x)
    mapped = layer.depthwise(nn.functional.gelu(layer.expand(x)))
    mapped = layer.project(nn.functional.gelu(mapped))
    if squeezed_channels:
        mapped = mapped * layer.excitation.gate(mapped.mean((2, 3)))[..., None, None]
    assert_close(expected, mapped)
    assert layer.depthwise.conv.weight.shape == (6 * expansion, 1, 3, 3)
    for child in layer.children():
        if isinstance(child, ConvNorm):
            child.switch_to_deploy()
    assert not any(isinstance(part, nn.BatchNorm2d) for part in layer.modules())
    assert_close(layer(x), expected)


@pytest.mark.parametrize('layer', (
    ConvNorm(6, 6, 3, padding=1, groups=6), ConditionalPositionalEncoding(6),
    ConditionalPositionalEncoding(6, 1, residual=False)))
def test_depthwise_convolutions_keep_the_memory_format_and_train_as_those_of_torch(layer):
    x = draw(torch.float32).contiguous(memory_format=torch.channels_last).requires_grad_()
    plain = deepcopy(layer)
    for part in plain.modules():
        if isinstance(part, DepthwiseConv2d):
            part.forward = partial(nn.Conv2d.forward, part)
    results = []
    for one in (layer, plain):
        inputs = [x, *one.parameters()]
        out = one.train()(x)
        assert out.is_contiguous(memory_format=torch.channels_last)
        results.append((out, *torch.autograd.grad(out[:, :, ::2].square().sum(), inputs)))
    assert sum(isinstance(part, DepthwiseConv2d) for part in layer.modules())
    for own, expected in zip(*results):
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-4)
