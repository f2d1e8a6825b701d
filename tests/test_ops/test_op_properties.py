# Copyright (c) mmvisionmix authors. All rights reserved.
"""Promises that hold for all shapes of tokens and weights, and for values of any size."""
import itertools
import math
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_group_attention import convert, leaves
from test_group_attention import make_inputs as group_inputs
from test_key_only_attention import make_inputs as key_only_inputs
from test_large_kernel import make_inputs as large_kernel_inputs
from test_partition_attention import make_inputs as partition_inputs

from mmvisionmix.ops import (
    group_attention,
    key_only_attention,
    kmeans_partition,
    large_kernel_mix,
    partition_attention,
)

SETTINGS = dict(deadline=None, derandomize=True, database=None)
examples = pytest.mark.parametrize('examples', (
    pytest.param(settings(max_examples=20, **SETTINGS), id='few'),
    pytest.param(settings(max_examples=300, **SETTINGS), id='many', marks=pytest.mark.slow)))
GRIDS = st.one_of(
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.tuples(st.integers(1, 2), st.integers(12, 40)))
BATCHES = st.integers(1, 4)


class Drawn(NamedTuple):
    """Tokens with images first, weights, and ``mix(x, weights, impl)``."""
    x: torch.Tensor
    weights: tuple
    mix: object


@st.composite
def large_kernels(draw):
    grid = draw(GRIDS)
    value, kernel = large_kernel_inputs(grid, draw(BATCHES), draw(st.integers(1, 5)))
    return Drawn(value, (kernel, ), lambda x, weights, impl: large_kernel_mix(
        x, weights[0], grid, impl))


@st.composite
def key_only(draw):
    heads = draw(st.integers(1, 4))
    x, weights = key_only_inputs(
        heads, draw(st.integers(1, 90)), heads * draw(st.integers(1, 5)), draw(BATCHES))
    return Drawn(x, weights, key_only_attention)


@st.composite
def groups(draw):
    heads = draw(st.integers(1, 4))
    x, weights = group_inputs(
        heads, heads * draw(st.integers(1, 5)), draw(st.integers(1, 9)), draw(GRIDS),
        draw(BATCHES), biases=draw(st.booleans()), single=draw(st.booleans()),
        kernels=draw(st.sampled_from(((3, 5), (1, ), (7, 3, 1)))), shared=draw(st.booleans()))
    return Drawn(x, weights, lambda x, weights, impl: group_attention(x, weights, heads, impl))


@st.composite
def partitions(draw):
    heads = draw(st.integers(1, 4))
    intra, inter = draw(st.sampled_from(((True, True), (True, False), (False, True))))
    x, codes, weights, *rest = partition_inputs(
        heads, heads * draw(st.integers(1, 5)), draw(GRIDS), draw(BATCHES),
        num_partitions=draw(st.sampled_from((2, 4, 8))), codes=draw(st.sampled_from(
            ('hash', 'k-means', 'one'))), intra=intra, inter=inter,
        rescale=draw(st.booleans()), shared=draw(st.booleans()))

    def mix(x, weights, impl):  # those of the first images where there are fewer
        return partition_attention(x, codes[:len(x)], weights, *rest, impl)

    return Drawn(x, weights, mix)


OPS = dict(
    large_kernel=(large_kernels(), ('literal', 'conv', 'gemm', 'spectral', 'fft', 'auto')),
    key_only=(key_only(), ('literal', 'merged', 'collapsed', 'auto')),
    group=(groups(), ('literal', 'folded', 'auto')),
    partition=(partitions(), ('literal', 'packed', 'auto')))
ops = pytest.mark.parametrize('op', OPS)


def fixed(inputs, mix):
    x, *rest = inputs
    return Drawn(x, rest[0] if isinstance(rest[0], tuple) else tuple(rest[:1]), mix)


FIXED = dict(
    large_kernel=fixed(large_kernel_inputs((17, 12)), lambda x, weights, impl: large_kernel_mix(
        x, weights[0], (17, 12), impl)),
    key_only=fixed(key_only_inputs(2, 49, 32, 4), key_only_attention),
    group=fixed(group_inputs(2, 16, 8, (11, 13), 2), lambda x, weights, impl: group_attention(
        x, weights, 2, impl)))


def close(out, expected):
    return torch.testing.assert_close(out, expected, rtol=1e-8, atol=1e-8)


@ops
@examples
def test_forms_are_equal_in_value_and_gradient_for_any_shape(op, examples):
    strategy, impls = OPS[op]

    @examples
    @given(strategy)
    def check(drawn):
        inputs = [drawn.x, *leaves(drawn.weights)]
        probe = torch.linspace(-1, 2, drawn.x.numel(), dtype=torch.float64).view_as(drawn.x)
        expected = None
        for impl in impls:
            out = drawn.mix(drawn.x, drawn.weights, impl)
            grads = torch.autograd.grad((out * probe).sum(), inputs)
            expected = expected or (out, *grads)
            for one, want in zip((out, *grads), expected):
                close(one, want)
    check()


@pytest.mark.parametrize('op', FIXED)
def test_every_name_stands_for_a_form_of_its_own(op):
    """Fast forms round differently; ``'auto'`` is one of them, bit by bit."""
    x, weights, mix = FIXED[op]
    x, weights = x.detach().float(), convert(weights, torch.float32)
    names = [impl for impl in OPS[op][1] if impl not in ('literal', 'conv', 'auto')]
    outs = [mix(x, weights, impl) for impl in names]
    assert not any(torch.equal(one, other) for one, other in itertools.combinations(outs, 2))
    assert sum(torch.equal(mix(x, weights, 'auto'), out) for out in outs) == 1


@ops
@examples
def test_images_are_mixed_by_themselves_whatever_the_others_hold(op, examples):
    strategy, impls = OPS[op]

    @examples
    @given(strategy, st.sampled_from((float('nan'), float('inf'), -float('inf'))))
    def check(drawn, value):
        x, weights = drawn.x.detach(), convert(drawn.weights, torch.float64)
        spoilt = torch.cat((x, torch.full_like(x[:1], value)))[:len(x) + 1]
        for impl in impls:
            expected = drawn.mix(x, weights, impl)
            close(drawn.mix(x[:1], weights, impl), expected[:1])
            if op != 'partition':  # whose partition is given for each image
                close(drawn.mix(spoilt, weights, impl)[:-1], expected)
            elif len(x) > 1:
                close(drawn.mix(torch.cat((x[:-1], spoilt[-1:])), weights, impl)[:-1],
                      expected[:-1])
    check()


@ops
@examples
def test_strided_tokens_are_mixed_alike(op, examples):
    strategy, impls = OPS[op]

    @examples
    @given(strategy)
    def check(drawn):
        x, weights = drawn.x.detach(), convert(drawn.weights, torch.float64)
        wide = torch.zeros(len(x), *(2 * side for side in x.shape[1:]), dtype=torch.float64)
        inner = wide[(slice(None), *(slice(1, None, 2) for _ in x.shape[1:]))]
        inner.copy_(x)
        for impl in impls:
            expected = drawn.mix(x, weights, impl)
            close(drawn.mix(inner, weights, impl), expected)
            close(drawn.mix(x.transpose(1, -1).contiguous().transpose(1, -1), weights, impl),
                  expected)
    check()


@ops
@examples
@pytest.mark.parametrize('dtype', (torch.float32, torch.bfloat16), ids=str)
@pytest.mark.parametrize('scale', (1e4, 1e-30))
def test_tokens_of_any_size_give_finite_values_and_gradients(op, examples, dtype, scale):
    strategy, impls = OPS[op]

    @examples
    @given(strategy)
    def check(drawn):
        x = (scale * drawn.x.detach()).to(dtype).requires_grad_()
        weights = convert(drawn.weights, dtype)
        inputs = [x, *(leaf.requires_grad_() for leaf in leaves(weights))]
        for impl in impls:
            out = drawn.mix(x, weights, impl)
            assert out.dtype == dtype and out.isfinite().all()
            grads = torch.autograd.grad(out.float().mean(), inputs)
            assert all(grad.isfinite().all() for grad in grads)
    check()


@examples
def test_kmeans_moves_no_token_away_from_its_nearest_centre(examples):
    """After enough steps nothing moves, and every token is nearest to its own centre."""
    @examples
    @given(st.integers(1, 3), st.integers(1, 4), GRIDS, st.sampled_from((2, 4)), st.integers(0, 99))
    def check(heads, size, grid, count, seed):
        torch.manual_seed(seed)
        x = torch.randn(2, heads * size, *grid, dtype=torch.float64)
        start = torch.randint(count, (2, heads, math.prod(grid)))
        codes = kmeans_partition(x, start, count, 100)
        assert torch.equal(kmeans_partition(x, codes, count, 1), codes)
        tokens = x.flatten(2).unflatten(1, (heads, size))
        for own, code in zip(tokens.flatten(0, 1), codes.flatten(0, 1)):
            found = code.unique()
            centres = torch.stack([own[:, code == k].mean(1) for k in found])
            distances = torch.cdist(own.T, centres)
            chosen = distances.gather(1, torch.searchsorted(found, code)[:, None])[:, 0]
            torch.testing.assert_close(chosen, distances.min(1).values)
    check()
