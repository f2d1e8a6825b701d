# Copyright (c) mmvisionmix authors. All rights reserved.
import pytest
import torch
import torch.nn.functional as F

from mmvisionmix.ops import (
    BatchNormStatistics,
    Convolution,
    add_parallel,
    depthwise_identity,
    fold_batch_norm,
)


def draw(*shape):
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize('biased', (False, True))
@pytest.mark.parametrize('groups', (1, 6))
def test_folded_norm_computes_the_same(biased, groups):
    torch.manual_seed(0)
    x, weight, bias = draw(2, 6, 7, 5), draw(6, 6 // groups, 3, 3), draw(6) if biased else None
    norm = BatchNormStatistics(draw(6), draw(6).square() + 0.1, draw(6), draw(6), 1e-3)
    expected = F.batch_norm(
        F.conv2d(x, weight, bias, padding=1, groups=groups), norm.mean, norm.var, norm.weight,
        norm.bias, eps=norm.eps)
    folded = fold_batch_norm(weight, bias, norm)
    torch.testing.assert_close(
        F.conv2d(x, folded.weight, folded.bias, padding=1, groups=groups), expected,
        rtol=1e-12, atol=1e-12)


def test_sum_of_branches_is_one_convolution():
    torch.manual_seed(0)
    x = draw(2, 4, 6, 3)
    branches = [Convolution(draw(5, 4, 3, 3), draw(5)) for _ in range(3)]
    expected = sum(F.conv2d(x, *branch, padding=1) for branch in branches)
    torch.testing.assert_close(F.conv2d(x, *add_parallel(branches), padding=1), expected)


@pytest.mark.parametrize('size', ((3, 3), (5, 5), (1, 7)))
def test_identity_changes_nothing(size):
    x = draw(2, 4, 9, 8)
    kernel = depthwise_identity(draw(4, 1, *size))
    padding = (size[0] // 2, size[1] // 2)
    assert torch.equal(F.conv2d(x, kernel, padding=padding, groups=4), x)


@pytest.mark.parametrize('shape', ((4, 1, 2, 2), (4, 1, 2, 3), (4, 1, 3, 2), (4, 2, 3, 3)))
def test_kernels_without_a_depthwise_identity_are_refused(shape):
    with pytest.raises(ValueError, match='must be depthwise and odd'):
        depthwise_identity(draw(*shape))
