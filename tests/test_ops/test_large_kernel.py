# Copyright (c) mmvisionmix authors. All rights reserved.
import pytest
import torch
from mixers import FORMS, make_large_kernel

from mmvisionmix.ops import choose_large_kernel_impl, fit_kernel, large_kernel_mix, toeplitz_matrix

forms = pytest.mark.parametrize('impl', FORMS['large_kernel'])


def make_inputs(grid, batch=2, channels=3, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    height, width = grid
    return (torch.randn(batch, height * width, channels, generator=generator, dtype=dtype),
            torch.randn(2 * height - 1, 2 * width - 1, generator=generator, dtype=dtype))


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


@pytest.mark.parametrize('grid', ((1, 1), (1, 3), (4, 1), (2, 2), (3, 4), (5, 3)))
@torch.no_grad()
def test_forms_follow_the_definition(grid):
    mixer = make_large_kernel(grid)
    layer = mixer.layer
    mixed = mix_by_definition(mixer.x @ layer.value.weight.T, layer.kernel, grid)
    expected = mixed @ layer.proj.weight.T + layer.proj.bias
    for one in (mixer, mixer.deployed()):
        for impl in FORMS['large_kernel']:
            torch.testing.assert_close(one(impl), expected, rtol=1e-10, atol=1e-10)
    identity = torch.eye(grid[0] * grid[1], dtype=torch.float64)
    matrix = mix_by_definition(identity[None], layer.kernel, grid)[0]
    for own in (toeplitz_matrix(layer.kernel, grid), layer.matrix_for(grid)):
        assert torch.equal(own, matrix)


@forms
@pytest.mark.parametrize('grid', ((32, 4), (1, 12)))
def test_narrow_grids_train_in_single_precision(impl, grid):
    """Of which torch 2.1's gradient of tall kernels made a segmentation fault."""
    expected = make_large_kernel(grid, 8, 1).results('literal')
    for own, want in zip(make_large_kernel(grid, 8, 1).to(torch.float32).results(impl), expected):
        assert (own - want).norm() <= 1e-5 * want.norm()


def test_spectral_form_keeps_full_precision_under_autocast():
    value, kernel = make_inputs((12, 12), dtype=torch.float32)
    expected = large_kernel_mix(value, kernel, (12, 12), 'spectral')
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(large_kernel_mix(value, kernel, (12, 12), 'spectral'), expected)


@pytest.mark.parametrize('impl', ('gemm', 'spectral'))
def test_compiles_without_graph_breaks(impl):
    inputs = [tensor.requires_grad_() for tensor in make_inputs((5, 6), dtype=torch.float32)]

    def loss(value, kernel):
        return large_kernel_mix(value, kernel, (5, 6), impl).square().sum()

    torch.compiler.reset()  # or earlier tests count as recompilations
    compiled = torch.compile(loss, fullgraph=True, backend='aot_eager')
    for own, want in zip(*(torch.autograd.grad(f(*inputs), inputs) for f in (compiled, loss))):
        torch.testing.assert_close(own, want)


@pytest.mark.parametrize('grid, device, expected', (
    ((16, 16), 'cpu', 'gemm'), ((16, 17), 'cpu', 'spectral'), ((1, 4096), 'cpu', 'gemm'),
    ((4, 1024), 'cpu', 'gemm'),  # 4 (H + W) >= HW: nothing is saved
    ((5, 1024), 'cpu', 'spectral'), ((32, 32), 'cuda', 'gemm'), ((32, 33), 'cuda', 'spectral')))
def test_auto_picks_by_shape_and_device(grid, device, expected):
    assert choose_large_kernel_impl(grid, torch.device(device)) == expected


@pytest.mark.parametrize('small', ((4, 3), (1, 1), (8, 2)))
def test_cropped_kernel_acts_as_on_a_corner_of_the_large_grid(small):
    """Tokens that fill one corner of a large grid see each other as on a grid of their own."""
    large = (8, 6)
    value, _ = make_inputs(small)
    padded = torch.zeros(2, *large, 3, dtype=torch.float64)
    padded[:, :small[0], :small[1]] = value.view(2, *small, 3)
    _, large_kernel = make_inputs(large, seed=1)
    on_large = large_kernel_mix(padded.flatten(1, 2), large_kernel, large).view(2, *large, 3)
    on_small = large_kernel_mix(value, fit_kernel(large_kernel, small), small)
    torch.testing.assert_close(
        on_small.view(2, *small, 3), on_large[:, :small[0], :small[1]], rtol=1e-10, atol=1e-10)


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
def test_interpolated_kernel_keeps_its_shape_over_the_scene_and_its_sum(
        source, target, tolerance):
    resized = fit_kernel(bump(source), target, interpolate=True)
    expected = bump(target)
    assert (resized - expected).norm() <= tolerance * expected.norm()
    assert resized.sum() == pytest.approx(expected.sum().item(), rel=tolerance)


@pytest.mark.parametrize('target', ((3, 9), (16, 5), (31, 31)))
@pytest.mark.parametrize('dtype', (torch.float64, torch.bfloat16))
def test_interpolated_kernel_of_equal_weights_keeps_them_equal_up_to_its_border(target, dtype):
    resized = fit_kernel(torch.ones(9, 7, dtype=dtype), target, interpolate=True)
    torch.testing.assert_close(
        resized, torch.full_like(resized, 5 * 4 / (target[0] * target[1])))


def test_interpolated_kernel_of_one_row_is_constant_along_the_new_rows():
    kernel = torch.tensor([[1., 2., 3.]])
    resized = fit_kernel(kernel, (3, 2), interpolate=True)
    torch.testing.assert_close(resized, kernel.expand(5, 3) / 3)


def test_wrong_arguments_are_named():
    value, kernel = make_inputs((3, 4))
    with pytest.raises(ValueError, match="impl must be one of .*'auto'.*'spectral'.*got 'ftt'"):
        large_kernel_mix(value, kernel, (3, 4), 'ftt')
    with pytest.raises(ValueError, match=r'value must have shape \(B, 15, C\)'):
        large_kernel_mix(value, kernel, (3, 5))
    with pytest.raises(ValueError, match=r'kernel must have shape \(7, 5\).*fit_kernel'):
        large_kernel_mix(value, kernel, (4, 3))
