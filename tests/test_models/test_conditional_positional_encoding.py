# Copyright (c) mmvisionmix authors. All rights reserved.
"""RP-CPE and its variants: one convolution computes what the branches compute."""
import copy

import pytest
import torch
from small_backbones import randomise
from torch import nn

from mmvisionmix.models.layers import ConditionalPositionalEncoding
from mmvisionmix.ops.depthwise_statistics import _reach_of_taps

variants = pytest.mark.parametrize(
    'num_branches, residual', ((1, False), (1, True), (4, False), (4, True)))


def make(num_branches=4, residual=True, impl='literal', dtype=torch.float64, **norm):
    torch.manual_seed(0)
    layer = ConditionalPositionalEncoding(
        6, num_branches, residual, dict(type='BN', **norm), impl)
    return randomise(layer, std=1.).to(dtype)


def draw(*shape, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype) + 0.3


def step(layer, x):
    """Output of a pass in training, gradients of the maps and all weights, and all statistics."""
    x = x.clone().requires_grad_()
    out = layer(x)
    (out * torch.linspace(-1, 2, out.numel(), dtype=out.dtype).view_as(out)).sum().backward()
    return [out, x.grad, *(param.grad for param in layer.parameters()), *layer.buffers()]


def assert_same(own, expected, tolerance):
    assert len(own) == len(expected)
    for one, want in zip(own, expected):
        assert one.dtype == want.dtype
        one, want = one.double(), want.double()  # counts of batches are whole numbers
        assert (one - want).norm() <= tolerance * max(want.norm(), 1)


@variants
@pytest.mark.parametrize('shape', ((2, 6, 7, 5), (1, 6, 1, 4), (3, 6, 2, 1), (5, 6, 1, 1)), ids=str)
@pytest.mark.parametrize('dtype, tolerance', ((torch.float64, 1e-10), (torch.float32, 2e-4)))
def test_training_is_that_of_the_branches(num_branches, residual, shape, dtype, tolerance):
    literal = make(num_branches, residual, dtype=dtype).train()
    merged = make(num_branches, residual, impl='merged', dtype=dtype).train()
    for _ in range(2):  # statistics move twice
        x = draw(*shape, dtype=dtype)
        assert_same(step(merged, x), step(literal, x), tolerance)


@pytest.mark.parametrize('norm', (dict(momentum=None), dict(momentum=0.5, eps=0.1)), ids=str)
@pytest.mark.parametrize('frozen', (False, True))
def test_training_heeds_the_settings_of_norms_and_frozen_statistics(norm, frozen):
    literal, merged = make(**norm).train(), make(impl='merged', **norm).train()
    for layer in (literal, merged):
        for branch in layer.branches:
            branch.norm.train(not frozen)
    for _ in range(3):
        x = draw(2, 6, 5, 4)
        assert_same(step(merged, x), step(literal, x), 1e-10)
    kept = [torch.equal(own, first) for own, first in zip(merged.buffers(), make(**norm).buffers())]
    assert all(kept) if frozen else not any(kept)


@pytest.mark.parametrize('impl, size, convolutions', (
    ('auto', 23, 1), ('auto', 22, 4), ('merged', 5, 1), ('literal', 64, 4)))
def test_large_maps_are_convolved_once_and_not_normalised(impl, size, convolutions):
    with torch.profiler.profile() as profiler:
        make(impl=impl).train()(draw(1, 6, size, size))
    names = [event.name for event in profiler.events()]
    assert names.count('aten::conv2d') == convolutions
    assert ('aten::native_batch_norm' in names) == (convolutions > 1)


@pytest.mark.parametrize('case', ('affine', 'untracked', 'mixed', 'bfloat16', 'hooked', 'group'))
def test_what_cannot_be_merged_is_computed_branch_by_branch(case):
    layer = make(impl='merged', dtype=torch.float32, affine=case != 'affine',
                 track_running_stats=case != 'untracked').train()
    x, calls = draw(2, 6, 5, 4, dtype=torch.float32), []
    if case == 'mixed':
        layer.branches[1].norm.eval()
    elif case == 'bfloat16':
        layer, x = layer.bfloat16(), x.bfloat16()
    elif case == 'hooked':
        layer.branches[2].register_forward_hook(lambda module, args, out: calls.append(1))
    elif case == 'group':
        for branch in layer.branches:
            branch.norm = nn.GroupNorm(2, 6)
    expected = copy.deepcopy(layer)
    expected.impl = 'literal'
    assert torch.equal(layer(x), expected(x))
    assert len(calls) == 2 * (case == 'hooked')


def test_what_an_inference_computed_does_not_stay_for_training():
    x = draw(2, 6, 5, 4)
    _reach_of_taps.cache_clear()
    with torch.inference_mode():
        make(impl='merged').train()(x)
    make(impl='merged').train()(x).sum().backward()


def test_a_single_value_is_refused_as_by_batch_norm():
    with pytest.raises(ValueError, match='Expected more than 1 value per channel'):
        make(impl='merged').train()(draw(1, 6, 1, 1))


@variants
@pytest.mark.parametrize('dtype, tolerance', ((torch.float64, 1e-12), (torch.bfloat16, 0.03)))
def test_inference_and_deployment_are_those_of_the_branches(
        num_branches, residual, dtype, tolerance):
    options, x = dict(num_branches=num_branches, residual=residual, dtype=dtype), draw(2, 6, 7, 5)
    expected = make(**{**options, 'dtype': torch.float64}).eval()(x)
    layer = make(**options, impl='auto').eval()
    assert_same([layer(x.to(dtype)).double()], [expected], tolerance)
    layer.switch_to_deploy()
    assert layer.folded.weight.dtype == dtype
    assert_same([layer(x.to(dtype)).double()], [expected], tolerance)
