# Copyright (c) mmvisionmix authors. All rights reserved.
"""Statistics of depthwise convolutions are those of their outputs."""
import pytest
import torch
import torch.nn.functional as F
from mixers import assert_close, deploy

from mmvisionmix.models.layers import ConditionalPositionalEncoding
from mmvisionmix.ops import depthwise_statistics

SHAPES = ((2, 3, 9, 7), (3, 2, 1, 1), (2, 2, 1, 4), (2, 2, 3, 2), (1, 4, 2, 2), (1, 1, 6, 1))


def draw(shape, dtype=torch.float64, convolutions=3):
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=dtype) + 0.5
    return x.requires_grad_(), torch.randn(
        convolutions, shape[1], 1, 3, 3, dtype=dtype, requires_grad=True)


def reference(x, weights):
    outs = torch.stack([F.conv2d(x, one, padding=1, groups=x.shape[1]) for one in weights])
    return outs.mean((1, 3, 4)), outs.var((1, 3, 4), unbiased=False)


@pytest.mark.parametrize('shape', SHAPES, ids=str)
@pytest.mark.parametrize('channels_last', (False, True))
@pytest.mark.parametrize('dtype, tolerance', ((torch.float64, 1e-10), (torch.float32, 1e-5)))
def test_values_and_gradients_are_those_of_the_outputs(shape, channels_last, dtype, tolerance):
    x, weights = draw(shape, dtype)
    x = x.contiguous(memory_format=torch.channels_last) if channels_last else x
    results = []
    for compute in (depthwise_statistics, reference):
        out = compute(x, weights)
        loss = sum((one * torch.linspace(-1, 2, one.numel(), dtype=dtype).view_as(one)).sum()
                   for one in out)
        results.append((*out, *torch.autograd.grad(loss, (x, weights))))
    for own, expected in zip(*results):
        assert own.dtype == dtype and own.shape == expected.shape
        assert (own - expected).norm() <= tolerance * max(expected.norm(), 1)


@pytest.mark.parametrize('shape', ((1, 2, 4, 3), (1, 2, 1, 1), (1, 2, 1, 4)), ids=str)
def test_gradients_have_gradients_and_derivatives_go_forward(shape):
    inputs = draw(shape, convolutions=2)
    assert torch.autograd.gradcheck(depthwise_statistics, inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(depthwise_statistics, inputs)


def test_variance_is_never_negative():
    x = torch.full((2, 3, 64, 64), 1e3)
    weights = torch.zeros(1, 3, 1, 3, 3)
    weights[..., 1, 1] = 1.  # the outputs are constant: what is left is rounding
    mean, var = depthwise_statistics(x, weights)
    assert torch.allclose(mean, torch.tensor(1e3)) and (var >= 0).all() and (var < 1).all()


def test_autocast_does_not_lower_the_statistics():
    x, weights = draw(SHAPES[0], torch.float32)
    expected = reference(x, weights)
    with torch.autocast('cpu', torch.bfloat16):
        for own, want in zip(depthwise_statistics(x, weights), expected):
            torch.testing.assert_close(own, want)


def test_branches_that_do_not_fold_are_added_to_those_that_do():
    layer = ConditionalPositionalEncoding(6).double().eval()
    layer.branches[1].conv.register_forward_hook(lambda conv, inputs, out: 2 * out)
    x = torch.randn(2, 6, 5, 4).double()
    expected = layer(x)
    deploy(layer)
    assert [branch.folded is None for branch in layer.branches] == [False, True, False, False]
    assert_close(layer(x), expected)
