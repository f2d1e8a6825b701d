# Copyright (c) mmvisionmix authors. All rights reserved.
"""What all forms of all mixers promise, for all options, shapes and sizes of values."""
import itertools
from contextlib import nullcontext

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mixers import FORMS, Mixer, assert_close, drawn
from torch.utils.flop_counter import FlopCounterMode

from mmvisionmix import ops

FIXED = dict(
    large_kernel=Mixer('large_kernel', 1, 16, (17, 12)), key_only=Mixer('key_only', 2, 32, (7, 7)),
    group=Mixer('group', 2, 16, (11, 13)), partition=Mixer('partition', 2, 16, (11, 13)))
mixers = pytest.mark.parametrize('name', FORMS)
some = settings(max_examples=20, deadline=None, derandomize=True, database=None,
                suppress_health_check=list(HealthCheck))


@mixers
@some
@given(data=st.data())
def test_forms_are_equal_in_value_and_all_gradients(name, data):
    mixer = data.draw(drawn(name))
    expected = mixer.results('literal')
    for one, impl in mixer.all_forms():
        plain = one is mixer
        assert_close(one.results(impl, weights=plain), expected if plain else expected[:2])


@pytest.mark.parametrize('name, auto, deployed', (
    ('large_kernel', 'gemm', 'gemm'), ('key_only', 'literal', 'collapsed'),
    ('group', 'folded', 'folded'), ('partition', 'packed', 'packed')))
def test_every_name_stands_for_a_form_of_its_own(name, auto, deployed):
    """Forms round differently; ``'auto'`` is one of them, bit by bit."""
    mixer = FIXED[name].to(torch.float32)
    outs = {impl: mixer(impl) for impl in FORMS[name]}
    assert torch.equal(outs.pop('auto'), outs[auto])
    if name == 'large_kernel':
        del outs['literal']  # which is the product that 'gemm' is
    assert not any(map(torch.equal, *zip(*itertools.combinations(outs.values(), 2))))
    mixer = mixer.deployed()
    assert torch.equal(mixer('auto'), mixer(deployed))


@mixers
@some
@given(data=st.data(), value=st.sampled_from((float('nan'), float('inf'), -float('inf'))))
def test_images_are_mixed_by_themselves_and_in_any_memory_layout(name, data, value):
    mixer = data.draw(drawn(name))
    x = mixer.x
    spoilt = torch.cat((torch.full_like(x[:1], value), x))
    inner = torch.zeros([2 * side for side in x.shape], dtype=x.dtype)
    inner = inner[(slice(1, None, 2), ) * x.ndim].copy_(x)
    for one, impl in mixer.all_forms():
        expected = one(impl)
        assert_close(one(impl, x[:1]), expected[:1])
        assert_close(one(impl, spoilt)[1:], expected)
        for other in (inner, x.transpose(1, -1).contiguous().transpose(1, -1)):
            assert_close(one(impl, other), expected)


@mixers
@some
@given(data=st.data(), dtype=st.sampled_from((torch.float32, torch.bfloat16)),
       scale=st.sampled_from((1e4, 1e-30)))
def test_tokens_of_any_size_give_finite_values_and_gradients(name, data, dtype, scale):
    mixer = data.draw(drawn(name))
    mixer.x *= scale
    for impl in FORMS[name]:
        results = mixer.to(dtype).results(impl)
        assert results[0].dtype == dtype
        assert all(one.isfinite().all() for one in results)


@mixers
@pytest.mark.parametrize('dtype, tolerance', ((torch.float32, 1e-5), (torch.bfloat16, 4e-2)))
def test_lower_precisions_and_autocast_stay_close(name, dtype, tolerance):
    rounded = FIXED[name].to(dtype)  # numbers that both types can hold, and equal partitions
    expected = rounded.to(torch.float64).results('literal', weights=False)
    for one, impl in rounded.all_forms():
        low = one.results(impl, weights=False)
        assert all(part.dtype == dtype for part in low)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            mixed = one.to(torch.float32).results(impl, weights=False)
        for own, cast, want in zip(low, mixed, expected):
            assert (own.double() - want).norm() <= tolerance * want.norm()
            assert (cast.double() - want).norm() <= 5e-2 * want.norm()


@pytest.mark.parametrize('name, dims, grid, beside, expected', (
    ('large_kernel', 1, (60, 80), 0, dict(  # H, W, N = 60, 80, 4800
        literal=4800**2, gemm=4800**2, conv=4800 * 119 * 159, spectral=4 * 4800 * (60 + 80))),
    ('key_only', 512, (10, 20), 0, dict(
        literal=4 * 200 * 512**2, merged=3 * 200 * 512**2, auto=3 * 200 * 512**2)),
    ('key_only', 512, (10, 30), 0, dict.fromkeys(
        ('collapsed', 'auto'), 300 * 512**2 + 512**3)),  # merged: 3 * 300 * 512**2 are more
    ('group', 64, (80, 75), 6000 * 64 * (3**2 + 5**2), dict(  # 8 groups, 2 heads
        literal=4 * 6000 * 64**2 + 6 * 6000 * 8 * 64, folded=6 * 6000 * 2 * 8 * 64))))
def test_forms_cost_what_the_headers_say(name, dims, grid, beside, expected):
    mixer = Mixer(name, 2, dims, grid, 1)
    for impl, cost in expected.items():
        folded = impl in ('merged', 'collapsed', 'folded', 'auto')
        one = (mixer.deployed() if folded else mixer).to('meta')
        with FlopCounterMode(display=False) as counter:
            one(impl)
        extra = 120 * 119 * 159 if impl == 'spectral' else 0  # DFT of the kernel, once
        macs = counter.get_total_flops() / 2 - beside - extra
        assert macs == pytest.approx(cost, rel=0.02)


@pytest.mark.parametrize('kind', ('cpu', 'meta', 'mps'))
def test_precision_is_full_wherever_there_is_autocast(kind):
    there = getattr(torch.amp, 'is_autocast_available', lambda kind: False)(kind)  # from 2.4 on
    lowered = torch.autocast(kind, torch.bfloat16) if there else nullcontext()
    with lowered, ops.full_precision(torch.device(kind)):
        assert not (there and torch.is_autocast_enabled(kind))


@pytest.mark.parametrize('fail', (
    lambda x: ops.folded_key_only_attention(x, None, impl='literal'),
    lambda x: ops.attend_within(x, x, x, impl='pakced'),
    lambda x: ops.attend_within(x, x, x, normalisation='sofmax'),
    lambda x: ops.attend_between(x, x, x, normalisation='sofmax')))
def test_misspelt_forms_are_refused(fail):
    with pytest.raises(ValueError, match='must be one of .*, got '):
        fail(torch.ones(1, 1, 1, 1))
