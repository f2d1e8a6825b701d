# Copyright (c) mmvisionmix authors. All rights reserved.
"""What all forms of all mixers promise, for all options, shapes and sizes of values."""
import itertools

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mixers import (
    DRAWN,
    FIXED,
    FORMS,
    make_group,
    make_key_only,
    make_large_kernel,
    make_partition,
)
from torch.utils.flop_counter import FlopCounterMode

mixers = pytest.mark.parametrize('name', FORMS)
forms = pytest.mark.parametrize(
    'name, impl', [(name, impl) for name, impls in FORMS.items() for impl in impls])
some = settings(max_examples=20, deadline=None, derandomize=True, database=None,
                suppress_health_check=list(HealthCheck))


def assert_close(out, expected, tolerance=1e-10):
    torch.testing.assert_close(out, expected, rtol=tolerance, atol=tolerance)


@mixers
@some
@given(data=st.data())
def test_forms_are_equal_in_value_and_all_gradients(name, data):
    mixer = data.draw(DRAWN[name])
    expected = mixer.results('literal')
    for impl in FORMS[name]:
        assert_close(mixer.results(impl), expected)
    deployed = mixer.deployed()
    for impl in FORMS[name]:
        assert_close(deployed.results(impl, weights=False), expected[:2])


@pytest.mark.parametrize('name, deployed, expected', (
    ('large_kernel', False, 'gemm'), ('key_only', False, 'literal'),
    ('key_only', True, 'collapsed'), ('group', False, 'folded'), ('group', True, 'folded'),
    ('partition', False, 'packed')))
def test_every_name_stands_for_a_form_of_its_own(name, deployed, expected):
    """Forms round differently; ``'auto'`` is one of them, bit by bit."""
    mixer = FIXED[name].deployed() if deployed else FIXED[name]
    mixer = mixer.to(torch.float32)
    outs = {impl: mixer(impl) for impl in FORMS[name]}
    assert torch.equal(outs.pop('auto'), outs[expected])
    outs.pop('literal' if name == 'large_kernel' else '', None)  # the product of 'gemm'
    if not deployed:
        assert not any(map(torch.equal, *zip(*itertools.combinations(outs.values(), 2))))


@mixers
@some
@given(data=st.data(), value=st.sampled_from((float('nan'), float('inf'), -float('inf'))))
def test_images_are_mixed_by_themselves_whatever_the_others_hold(name, data, value):
    mixer = data.draw(DRAWN[name])
    x = mixer.x
    spoilt = torch.cat((torch.full_like(x[:1], value), x))
    for impl in FORMS[name]:
        expected = mixer(impl)
        assert_close(mixer(impl, x[:1]), expected[:1])
        assert_close(mixer(impl, spoilt)[1:], expected)


@mixers
@some
@given(data=st.data())
def test_any_memory_layout_is_mixed_alike(name, data):
    mixer = data.draw(DRAWN[name])
    x = mixer.x
    inner = torch.zeros([2 * side for side in x.shape], dtype=x.dtype)
    inner = inner[(slice(1, None, 2), ) * x.ndim].copy_(x)
    for impl in FORMS[name]:
        expected = mixer(impl)
        for other in (inner, x.transpose(1, -1).contiguous().transpose(1, -1)):
            assert_close(mixer(impl, other), expected)


@mixers
@some
@given(data=st.data(), dtype=st.sampled_from((torch.float32, torch.bfloat16)),
       scale=st.sampled_from((1e4, 1e-30)))
def test_tokens_of_any_size_give_finite_values_and_gradients(name, data, dtype, scale):
    mixer = data.draw(DRAWN[name])
    mixer.x *= scale
    for impl in FORMS[name]:
        results = mixer.to(dtype).results(impl)
        assert results[0].dtype == dtype
        assert all(one.isfinite().all() for one in results)


@forms
@pytest.mark.parametrize('dtype, tolerance', ((torch.float32, 1e-5), (torch.bfloat16, 4e-2)))
@pytest.mark.parametrize('deployed', (False, True))
def test_lower_precisions_stay_close(name, impl, dtype, tolerance, deployed):
    rounded = FIXED[name].to(dtype)  # numbers that both types can hold, and equal partitions
    expected = rounded.to(torch.float64).results('literal', weights=False)
    low = rounded.deployed().to(dtype) if deployed else rounded
    for own, want in zip(low.results(impl, weights=False), expected):
        assert own.dtype == dtype
        assert (own.double() - want).norm() <= tolerance * want.norm()


@forms
def test_autocast_stays_close(name, impl):
    mixer = FIXED[name].to(torch.float32)
    expected = mixer.results('literal', weights=False)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        results = mixer.results(impl, weights=False)
    for own, want in zip(results, expected):
        assert (own.float() - want).norm() <= 5e-2 * want.norm()


@pytest.mark.parametrize('name, weight', (('group', 'tokens'), ('key_only', 'saliency')))
def test_large_logits_do_not_overflow(name, weight):
    mixer = FIXED[name].to(torch.float64)
    with torch.no_grad():
        getattr(mixer.layer, weight).mul_(1e5)
    expected = mixer('literal')
    for impl in FORMS[name]:
        for one in (mixer, mixer.deployed()):
            out = one.to(torch.float32)(impl)
            assert (out - expected).norm() <= 1e-2 * expected.norm()


def macs(mixer, impl):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        mixer.to('meta')(impl)
    return counter.get_total_flops() / 2


@pytest.mark.parametrize('grid', ((20, 30), (9, 50)))
def test_large_kernels_cost_what_the_header_says(grid):
    (height, width), tokens = grid, grid[0] * grid[1]
    for impl, expected in dict(
            literal=tokens**2, gemm=tokens**2, spectral=4 * tokens * (height + width),
            conv=tokens * (2 * height - 1) * (2 * width - 1)).items():
        one, two = (macs(make_large_kernel(grid, 1, dims), impl) for dims in (8, 16))
        projections = 2 * tokens * (16**2 - 8**2)
        assert two - one - projections == 8 * expected


def test_key_only_attention_costs_what_the_header_says():
    dims = 512
    for tokens in (100, 3000):
        for impl, expected in dict(
                literal=4 * tokens * dims**2, merged=3 * tokens * dims**2,
                collapsed=tokens * dims**2 + dims**3).items():
            mixer = make_key_only(2, dims, (tokens, 1), 1)
            mixer = mixer if impl == 'literal' else mixer.deployed()
            assert macs(mixer, impl) == pytest.approx(expected, rel=0.02)
            if impl != 'literal':
                assert macs(mixer, 'auto') == min(
                    macs(mixer, one) for one in ('merged', 'collapsed'))


def test_group_attention_costs_what_the_header_says():
    dims, groups, heads, more = 64, 8, 2, 300
    for impl, expected in dict(
            literal=4 * more * dims**2 + 6 * more * groups * dims,
            folded=6 * more * heads * groups * dims).items():
        one, two = (macs(make_group(heads, dims, (tokens, 1), 1), impl)
                    for tokens in (more, 2 * more))
        assert two - one - more * dims * (3**2 + 5**2) == expected
