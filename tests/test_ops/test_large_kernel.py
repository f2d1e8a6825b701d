# Copyright (c) mmvisionmix authors. All rights reserved.
from itertools import product

import pytest
import torch
from mixers import Mixer, assert_close

from mmvisionmix.ops import choose_large_kernel_impl, fit_kernel, large_kernel_mix, toeplitz_matrix


def make_inputs(grid, dtype=torch.float64):
    torch.manual_seed(0)
    sides = [2 * side - 1 for side in grid]
    return torch.randn(2, grid[0] * grid[1], 3, dtype=dtype), torch.randn(*sides, dtype=dtype)


def mix_by_definition(value, kernel, grid):
    """The header's formula, one weight at a time."""
    height, width = grid
    out = torch.zeros_like(value)
    for i, j, p, q in product(*map(range, (*grid, *grid))):
        weight = kernel[p - i + height - 1, q - j + width - 1]
        out[:, i * width + j] += weight * value[:, p * width + q]
    return out


@pytest.mark.parametrize('grid', ((1, 1), (1, 3), (4, 1), (2, 2), (3, 4), (5, 3)))
@torch.no_grad()
def test_forms_follow_the_definition(grid):
    mixer = Mixer('large_kernel', 1, 3, grid)
    layer = mixer.layer
    expected = layer.proj(mix_by_definition(layer.value(mixer.x), layer.kernel, grid))
    for one, impl in mixer.all_forms():
        assert_close(one(impl), expected)
    identity = torch.eye(mixer.x.shape[1], dtype=torch.float64)[None]
    matrix = mix_by_definition(identity, layer.kernel, grid)[0]
    for own in (toeplitz_matrix(layer.kernel, grid), layer.matrix_for(grid)):
        assert torch.equal(own, matrix)


def test_spectral_form_keeps_full_precision_under_autocast():
    value, kernel = make_inputs((12, 12), dtype=torch.float32)
    expected = large_kernel_mix(value, kernel, (12, 12), 'spectral')
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(large_kernel_mix(value, kernel, (12, 12), 'spectral'), expected)


@pytest.mark.parametrize('grid, device, expected', (
    ((16, 16), 'cpu', 'gemm'), ((16, 17), 'cpu', 'spectral'), ((1, 4096), 'cpu', 'gemm'),
    ((4, 1024), 'cpu', 'gemm'),  # 4 (H + W) >= HW: nothing is saved
    ((5, 1024), 'cpu', 'spectral'), ((32, 32), 'cuda', 'gemm'), ((32, 33), 'cuda', 'spectral')))
def test_auto_picks_by_shape_and_device(grid, device, expected):
    assert choose_large_kernel_impl(grid, torch.device(device)) == expected


def test_padded_kernel_keeps_the_weight_of_every_offset():
    _, kernel = make_inputs((4, 6))
    assert fit_kernel(kernel, (4, 6)) is kernel
    padded = fit_kernel(kernel, (7, 6))
    assert padded.shape == (13, 11) and torch.equal(padded[3:10], kernel)
    assert not padded[:3].any() and not padded[10:].any()
    assert torch.equal(fit_kernel(padded, (4, 6)), kernel)
    both = fit_kernel(padded, (3, 9))  # one axis cropped, the other padded
    assert both.shape == (5, 17) and torch.equal(both[:, 3:-3], padded[4:-4])


def bump(grid):
    """A smooth function of offsets in units of the scene, as a kernel for any resolution."""
    rows, cols = (torch.arange(1 - n, n, dtype=torch.float64) / n for n in grid)
    shape = torch.exp(-8 * rows.square())[:, None] * torch.exp(-5 * cols.square())
    return shape / (grid[0] * grid[1])


@pytest.mark.parametrize('source, target, tolerance', (
    ((8, 8), (32, 32), 0.02), ((16, 12), (32, 48), 0.01), ((32, 32), (16, 16), 1e-6),
    ((7, 9), (14, 5), 0.02)))
def test_interpolated_kernel_keeps_its_shape_over_the_scene_and_its_sum(source, target, tolerance):
    resized = fit_kernel(bump(source), target, interpolate=True)
    expected = bump(target)
    assert (resized - expected).norm() <= tolerance * expected.norm()
    assert resized.sum() == pytest.approx(expected.sum().item(), rel=tolerance)


@pytest.mark.parametrize('source', ((5, 4), (1, 4)))
@pytest.mark.parametrize('target', ((3, 9), (16, 5), (31, 31)))
def test_interpolated_kernel_of_equal_weights_keeps_them_equal_up_to_its_border(source, target):
    kernel = torch.ones(2 * source[0] - 1, 2 * source[1] - 1, dtype=torch.bfloat16)
    resized = fit_kernel(kernel, target, interpolate=True)
    share = source[0] * source[1] / (target[0] * target[1])
    torch.testing.assert_close(resized, torch.full_like(resized, share))


def test_wrong_arguments_are_named():
    value, kernel = make_inputs((3, 4))
    with pytest.raises(ValueError, match="impl must be one of .*'auto'.*'spectral'.*got 'ftt'"):
        large_kernel_mix(value, kernel, (3, 4), 'ftt')
    with pytest.raises(ValueError, match=r'value must have shape \(B, 15, C\)'):
        large_kernel_mix(value, kernel, (3, 5))
    with pytest.raises(ValueError, match=r'kernel must have shape \(7, 5\).*fit_kernel'):
        large_kernel_mix(value, kernel, (4, 3))
