# Copyright (c) mmvisionmix authors. All rights reserved.
from pathlib import Path

import pytest
import torch

from mmvisionmix.ops import choose_large_kernel_impl, fit_kernel, large_kernel_mix, toeplitz_matrix

FAST_FORMS = ('gemm', 'spectral', 'fft', 'auto')
FORMS = ('literal', 'conv', *FAST_FORMS)
ROOT = Path(__file__).resolve().parents[2]
GRIDS = ((1, 1), (1, 7), (6, 1), (2, 2), (3, 5), (8, 8), (9, 16), (17, 17))


def make_inputs(grid, batch=2, channels=3, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    height, width = grid
    value = torch.randn(batch, height * width, channels, generator=generator, dtype=dtype)
    kernel = torch.randn(2 * height - 1, 2 * width - 1, generator=generator, dtype=dtype)
    return value.requires_grad_(), kernel.requires_grad_()


def mix_by_definition(value, kernel, grid):
    """The header's formula, one weight at a time."""
    height, width = grid
    out = torch.zeros_like(value)
    for i in range(height):
        for j in range(width):
            for p in range(height):
                for q in range(width):
                    weight = kernel[p - i + height - 1, q - j + width - 1]
                    out[:, i * width + j] += weight * value[:, p * width + q]
    return out


@pytest.mark.parametrize('grid', ((1, 3), (2, 2), (3, 4)))
@pytest.mark.parametrize('impl', FORMS)
def test_forms_follow_the_definition(impl, grid):
    value, kernel = make_inputs(grid)
    with torch.no_grad():
        expected = mix_by_definition(value, kernel, grid)
        torch.testing.assert_close(
            large_kernel_mix(value, kernel, grid, impl), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('grid', GRIDS)
@pytest.mark.parametrize('impl', ('conv', *FAST_FORMS))
def test_forms_equal_the_literal_form(impl, grid):
    value, kernel = make_inputs(grid)
    weight = torch.randn_like(value)  # of a weighted sum, so that all gradients differ
    results = []
    for form in ('literal', impl):
        out = large_kernel_mix(value, kernel, grid, form)
        results.append((out, *torch.autograd.grad((out * weight).sum(), (value, kernel))))
    for fast, literal in zip(results[1], results[0]):
        torch.testing.assert_close(fast, literal, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('dtype, tolerance', ((torch.float32, 1e-5), (torch.bfloat16, 2e-2)))
@pytest.mark.parametrize('impl', FAST_FORMS)
def test_lower_precisions_stay_close(impl, dtype, tolerance):
    grid = (17, 12)
    value, kernel = make_inputs(grid)
    expected = large_kernel_mix(value, kernel, grid, 'literal')
    out = large_kernel_mix(value.to(dtype), kernel.to(dtype), grid, impl)
    assert out.dtype == dtype
    assert (out.double() - expected).norm() <= tolerance * expected.norm()


def test_spectral_form_keeps_full_precision_under_autocast():
    grid = (12, 12)
    value, kernel = (t.detach().float() for t in make_inputs(grid))
    expected = large_kernel_mix(value, kernel, grid, 'spectral')
    with torch.autocast('cpu', dtype=torch.bfloat16):
        torch.testing.assert_close(large_kernel_mix(value, kernel, grid, 'spectral'), expected)


@pytest.mark.parametrize('impl', ('gemm', 'spectral'))
def test_runs_on_devices_without_autocast(impl):
    value, kernel = (t.detach().float().to('meta') for t in make_inputs((6, 7)))
    assert large_kernel_mix(value, kernel, (6, 7), impl).shape == value.shape


@pytest.mark.parametrize('impl', ('gemm', 'spectral'))
def test_compiles_without_graph_breaks(impl):
    grid = (5, 6)
    value, kernel = make_inputs(grid, dtype=torch.float32)

    def loss(value, kernel):
        return large_kernel_mix(value, kernel, grid, impl).square().sum()

    torch.compiler.reset()  # or earlier tests count as recompilations
    compiled = torch.compile(loss, fullgraph=True, backend='aot_eager')
    expected = torch.autograd.grad(loss(value, kernel), (value, kernel))
    for got, want in zip(torch.autograd.grad(compiled(value, kernel), (value, kernel)), expected):
        torch.testing.assert_close(got, want)


def test_takes_tokens_in_any_memory_order():
    grid = (6, 7)
    value, kernel = make_inputs(grid)
    strided = value.detach().transpose(1, 2).contiguous().transpose(1, 2)
    for impl in FORMS:
        torch.testing.assert_close(
            large_kernel_mix(strided, kernel, grid, impl),
            large_kernel_mix(value, kernel, grid, 'literal'))


def test_toeplitz_matrix_is_the_literal_matrix():
    grid = (3, 5)
    _, kernel = make_inputs(grid)
    identity = torch.eye(15, dtype=torch.float64)[None]
    torch.testing.assert_close(
        toeplitz_matrix(kernel, grid), large_kernel_mix(identity, kernel, grid, 'literal')[0])


def test_auto_picks_by_shape_and_device():
    cpu, cuda = torch.device('cpu'), torch.device('cuda')
    assert choose_large_kernel_impl((8, 8), cpu) == 'gemm'
    assert choose_large_kernel_impl((32, 32), cpu) == 'spectral'
    assert choose_large_kernel_impl((1, 4096), cpu) == 'gemm'
    assert choose_large_kernel_impl((4, 1024), cpu) == 'gemm'  # 4 (H + W) >= HW: nothing saved
    assert choose_large_kernel_impl((5, 1024), cpu) == 'spectral'
    assert choose_large_kernel_impl((32, 32), cuda) == 'gemm'
    assert choose_large_kernel_impl((64, 64), cuda) == 'spectral'


@pytest.mark.parametrize('small', ((4, 3), (1, 1), (8, 2)))
def test_cropped_kernel_acts_as_on_a_corner_of_the_large_grid(small):
    """Tokens that fill one corner of a large grid see each other as on a grid of their own."""
    large = (8, 6)
    value, kernel = make_inputs(small)
    padded = torch.zeros(2, *large, 3, dtype=torch.float64)
    padded[:, :small[0], :small[1]] = value.detach().view(2, *small, 3)
    _, large_kernel = make_inputs(large, seed=1)
    on_large = large_kernel_mix(padded.flatten(1, 2), large_kernel, large).view(2, *large, 3)
    on_small = large_kernel_mix(value, fit_kernel(large_kernel, small), small)
    torch.testing.assert_close(
        on_small.view(2, *small, 3), on_large[:, :small[0], :small[1]], rtol=1e-10, atol=1e-10)


def test_padded_kernel_keeps_the_weight_of_every_offset():
    _, kernel = make_inputs((4, 6))
    padded = fit_kernel(kernel, (7, 6))
    assert padded.shape == (13, 11)
    torch.testing.assert_close(padded[3:10], kernel)
    assert not padded[:3].any() and not padded[10:].any()
    torch.testing.assert_close(fit_kernel(padded, (4, 6)), kernel)
    assert fit_kernel(padded, (3, 9)).shape == (5, 17)  # one axis cropped, the other padded


def bump(grid):
    """A smooth function of offsets in units of the scene, as a kernel for any resolution."""
    rows, cols = (torch.arange(1 - n, n, dtype=torch.float64) / n for n in grid)
    shape = torch.exp(-8 * rows.square())[:, None] * torch.exp(-5 * cols.square())
    return shape / (grid[0] * grid[1])


@pytest.mark.parametrize('source, target, tolerance', (
    ((8, 8), (32, 32), 0.02), ((16, 12), (32, 48), 0.01), ((32, 32), (16, 16), 1e-6),
    ((7, 9), (14, 5), 0.02)))
def test_interpolated_kernel_keeps_its_shape_over_the_scene_and_its_sum(
        source, target, tolerance):
    resized = fit_kernel(bump(source), target, interpolate=True)
    expected = bump(target)
    assert (resized - expected).norm() <= tolerance * expected.norm()
    assert resized.sum() == pytest.approx(expected.sum().item(), rel=tolerance)


def test_interpolated_kernel_of_one_row_is_constant_along_the_new_rows():
    kernel = torch.tensor([[1., 2., 3.]])
    resized = fit_kernel(kernel, (3, 2), interpolate=True)
    torch.testing.assert_close(resized, kernel.expand(5, 3) / 3)


@pytest.mark.parametrize('grid', ((12, 1), (1, 12), (32, 4), (16, 5)))
def test_convolution_trains_on_narrow_grids_in_single_precision(run_tool, grid):
    """In a process of its own: torch's gradient of tall kernels can end it."""
    out = run_tool('-c', f'''
import torch
from mmvisionmix.ops import large_kernel_mix
grid = {grid}
for _ in range(60):
    value = torch.randn(8, grid[0] * grid[1], 1, requires_grad=True)
    kernel = torch.randn(2 * grid[0] - 1, 2 * grid[1] - 1, requires_grad=True)
    out = large_kernel_mix(value, kernel, grid, 'conv')
    grads = torch.autograd.grad(out.square().sum(), (value, kernel))
print(all(grad.isfinite().all() for grad in grads))
''', cwd=ROOT)
    assert out.split()[-1] == 'True'


@pytest.mark.parametrize('target', ((3, 9), (16, 5), (31, 31)))
def test_interpolated_kernel_of_equal_weights_keeps_them_equal_up_to_its_border(target):
    resized = fit_kernel(torch.ones(9, 7, dtype=torch.float64), target, interpolate=True)
    torch.testing.assert_close(
        resized, torch.full_like(resized, 5 * 4 / (target[0] * target[1])))


def test_wrong_arguments_are_named():
    value, kernel = make_inputs((3, 4))
    with pytest.raises(ValueError, match="'auto' or one of .*'spectral'.*got 'ftt'"):
        large_kernel_mix(value, kernel, (3, 4), 'ftt')
    with pytest.raises(ValueError, match=r'value must have shape \(B, 15, C\)'):
        large_kernel_mix(value, kernel, (3, 5))
    with pytest.raises(ValueError, match=r'kernel must have shape \(7, 5\).*fit_kernel'):
        large_kernel_mix(value, kernel, (4, 3))
