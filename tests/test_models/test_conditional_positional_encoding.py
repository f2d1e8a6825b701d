# Copyright (c) mmvisionmix authors. All rights reserved.
"""RP-CPE and its variants: one convolution computes what the branches compute."""
import copy

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmvisionmix.models import LinGlo
from mmvisionmix.models.layers import ConditionalPositionalEncoding

variants = pytest.mark.parametrize(
    'num_branches, residual', ((1, False), (1, True), (4, False), (4, True)))


def make(num_branches=4, residual=True, impl='literal', dtype=torch.float64, **norm):
    """A layer whose weights and statistics a mistake would not survive."""
    torch.manual_seed(0)
    layer = ConditionalPositionalEncoding(
        6, num_branches, residual, dict(type='BN', **norm), impl)
    for param in layer.parameters():
        nn.init.normal_(param)
    for module in layer.modules():
        if isinstance(module, _BatchNorm) and module.track_running_stats:
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return layer.to(dtype)


def draw(*shape, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype) + 0.3


def step(layer, x):
    """Output of a pass in training, gradients of the maps and all weights, and all statistics."""
    x = x.clone().requires_grad_()
    out = layer.train()(x)
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
    literal = make(num_branches, residual, dtype=dtype)
    merged = make(num_branches, residual, impl='merged', dtype=dtype)
    for _ in range(2):  # statistics move twice
        x = draw(*shape, dtype=dtype)
        assert_same(step(merged, x), step(literal, x), tolerance)


@pytest.mark.parametrize('norm', (dict(momentum=None), dict(momentum=0.5, eps=0.1)), ids=str)
def test_training_heeds_the_settings_of_norms(norm):
    literal, merged = make(**norm), make(impl='merged', **norm)
    for _ in range(3):
        x = draw(2, 6, 5, 4)
        assert_same(step(merged, x), step(literal, x), 1e-10)


@pytest.mark.parametrize('impl, size, convolutions', (
    ('auto', 32, 1), ('auto', 31, 4), ('merged', 5, 1), ('literal', 64, 4)))
def test_large_maps_are_convolved_once_and_not_normalised(impl, size, convolutions):
    with torch.profiler.profile() as profiler:
        make(impl=impl).train()(draw(1, 6, size, size))
    names = [event.name for event in profiler.events()]
    assert names.count('aten::conv2d') == convolutions
    assert ('aten::native_batch_norm' in names) == (convolutions > 1)


@pytest.mark.parametrize('case', ('sync', 'affine', 'untracked', 'mixed', 'bfloat16'))
def test_what_cannot_be_merged_is_computed_branch_by_branch(case, monkeypatch):
    layer = make(impl='merged', dtype=torch.float32, affine=case != 'affine',
                 track_running_stats=case != 'untracked').train()
    x = draw(2, 6, 5, 4, dtype=torch.float32)
    if case == 'sync':
        layer = nn.SyncBatchNorm.convert_sync_batchnorm(layer)
    elif case == 'mixed':
        layer.branches[1].norm.eval()
    elif case == 'bfloat16':
        layer, x = layer.bfloat16(), x.bfloat16()
    assert not layer._may_merge(x)
    if case != 'sync':  # which needs a GPU
        expected = copy.deepcopy(layer)
        expected.impl = 'literal'
        assert torch.equal(layer(x), expected(x))


def test_a_single_value_is_refused_as_by_batch_norm():
    with pytest.raises(ValueError, match='Expected more than 1 value per channel'):
        make(impl='merged').train()(draw(1, 6, 1, 1))


def test_frozen_statistics_are_used_and_kept():
    literal, merged = make(), make(impl='merged')
    x = draw(2, 6, 5, 4)
    results = []
    for layer in (literal, merged):
        layer.train()
        for branch in layer.branches:
            branch.norm.eval()
        out = layer(x)
        results.append([out, *torch.autograd.grad(out.square().sum(), list(layer.parameters()))])
        assert all(torch.equal(own, first) for own, first in zip(layer.buffers(), make().buffers()))
    assert_same(*results, 1e-10)


@variants
def test_merging_is_exact_and_states_load_both_ways(num_branches, residual):
    options = dict(num_branches=num_branches, residual=residual)
    x = draw(2, 6, 7, 5)
    plain, merged = make(**options).eval(), make(**options).eval()
    expected = plain(x)
    torch.testing.assert_close(
        make(**options, impl='auto').eval()(x), expected, rtol=1e-12, atol=1e-12)
    merged.switch_to_deploy()
    torch.testing.assert_close(merged(x), expected, rtol=1e-12, atol=1e-12)

    def fresh():
        return ConditionalPositionalEncoding(6, **options, impl='literal').double().eval()

    split, other = fresh(), fresh()
    split.load_state_dict(merged.state_dict())
    torch.testing.assert_close(split(x), expected, rtol=1e-12, atol=1e-12)
    other.switch_to_deploy()
    other.load_state_dict(plain.state_dict())
    torch.testing.assert_close(other(x), expected, rtol=1e-12, atol=1e-12)


def test_merging_keeps_the_precision_of_the_layer():
    layer = make(dtype=torch.bfloat16)
    layer.switch_to_deploy()
    assert layer.merged.weight.dtype == torch.bfloat16


def test_unknown_forms_are_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"one of \['auto', 'literal', 'merged'\], got 'fast'"):
        make(impl='fast')


@pytest.mark.parametrize('impl, form', (('auto', 'auto'), ('collapsed', 'auto'),
                                        ('literal', 'literal')))
def test_linglo_hands_its_form_down(impl, form):
    forms = {module.impl for module in LinGlo('b0', impl=impl).modules()
             if isinstance(module, ConditionalPositionalEncoding)}
    assert forms == {form}
