# Copyright (c) mmvisionmix authors. All rights reserved.
import math

import pytest
import torch

from mmvisionmix.ops import (
    KeyOnlyWeights,
    choose_key_only_impl,
    fold_key_only_weights,
    key_only_attention,
)

FORMS = ('merged', 'collapsed', 'auto')
# Heads, tokens, channels, batch: one token, one head, odd counts, more heads than tokens.
SHAPES = ((1, 1, 4, 1), (2, 1, 6, 3), (1, 7, 5, 2), (3, 13, 12, 2), (8, 5, 16, 1), (2, 49, 32, 4))


def make_inputs(heads, tokens, dims, batch, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_()

    shapes = dict(
        key=(dims, dims), value=(dims, dims), saliency=(heads, dims // heads), inner=(dims, dims),
        outer=(dims, dims))
    weights = KeyOnlyWeights(
        *[draw(*shapes.get(name, (dims, ))) for name in KeyOnlyWeights._fields])
    return draw(batch, tokens, dims), weights


def attend_by_definition(x, weights):
    """Eq. 2-4 in plain numbers, one image and one head at a time."""
    heads, head_dims = weights.saliency.shape
    outs = []
    for image in x:
        key = image @ weights.key.T + weights.key_bias
        value = image @ weights.value.T + weights.value_bias
        context = []
        for head in range(heads):
            part = key[:, head * head_dims:(head + 1) * head_dims]
            scores = torch.stack([row.dot(weights.saliency[head]) for row in part])
            attention = torch.softmax(scores / math.sqrt(head_dims), 0)
            context.append(sum(weight * row for weight, row in zip(attention, part)))
        mixed = (torch.cat(context) * value) @ weights.inner.T + weights.inner_bias + key
        outs.append(mixed @ weights.outer.T + weights.outer_bias)
    return torch.stack(outs)


@pytest.mark.parametrize('shape', SHAPES)
def test_literal_form_follows_the_definition(shape):
    x, weights = make_inputs(*shape)
    torch.testing.assert_close(
        key_only_attention(x, weights, 'literal'), attend_by_definition(x, weights),
        rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('impl', FORMS)
@pytest.mark.parametrize('folded', (False, True))
def test_forms_equal_the_literal_form_in_value_and_all_gradients(impl, shape, folded):
    x, weights = make_inputs(*shape)
    probe = torch.randn_like(x)
    results = []
    for form in ('literal', impl):
        products = fold_key_only_weights(weights) if folded else None
        out = key_only_attention(x, weights, form, products)
        results.append((out, *torch.autograd.grad((out * probe).sum(), (x, *weights))))
    for fast, literal in zip(*results[::-1]):
        torch.testing.assert_close(fast, literal, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('impl', FORMS)
def test_second_derivatives_are_right(impl):
    x, weights = make_inputs(2, 3, 4, 2)
    inputs = (x, *weights)
    assert torch.autograd.gradgradcheck(
        lambda *args: key_only_attention(args[0], KeyOnlyWeights(*args[1:]), impl), inputs)


@pytest.mark.parametrize('impl', ('literal', *FORMS))
@pytest.mark.parametrize('dtype, tolerance', ((torch.float32, 1e-5), (torch.bfloat16, 3e-2)))
@pytest.mark.parametrize('shape', ((2, 49, 32, 4), (5, 196, 40, 2), (1, 3136, 16, 1)))
def test_lower_precisions_stay_close(impl, dtype, tolerance, shape):
    x, weights = make_inputs(*shape)
    weights = KeyOnlyWeights(*[weight.detach() / math.sqrt(shape[2]) for weight in weights])
    expected = key_only_attention(x, weights, 'literal')
    out = key_only_attention(
        x.to(dtype), KeyOnlyWeights(*[weight.to(dtype) for weight in weights]), impl)
    assert out.dtype == dtype
    assert (out.double() - expected).norm() <= tolerance * expected.norm()


@pytest.mark.parametrize('impl', ('literal', *FORMS))
def test_bfloat16_autocast_stays_close(impl):
    x, weights = make_inputs(2, 49, 32, 4, torch.float32)
    weights = KeyOnlyWeights(*[weight.detach() / 6 for weight in weights])
    expected = key_only_attention(x, weights, 'literal')
    with torch.autocast('cpu', dtype=torch.bfloat16):
        out = key_only_attention(x, weights, impl)
    assert (out.float() - expected).norm() <= 3e-2 * expected.norm()


def test_large_saliencies_do_not_overflow():
    x, weights = make_inputs(2, 49, 32, 4, torch.float32)
    weights = weights._replace(saliency=1e4 * weights.saliency)
    expected = key_only_attention(x.double(), KeyOnlyWeights(*map(torch.Tensor.double, weights)))
    for impl in ('literal', *FORMS):
        out = key_only_attention(x, weights, impl)
        assert (out.double() - expected).norm() <= 1e-3 * expected.norm()


def test_auto_picks_the_fewest_multiply_adds():
    def macs(impl, batch, tokens, dims, folded):
        products = 0 if folded else 2 * dims**3
        per_image = dict(
            literal=4 * tokens * dims**2, merged=3 * tokens * dims**2,
            collapsed=tokens * dims**2 + dims**3)
        return batch * per_image[impl] + (products if impl != 'literal' else 0)

    for folded in (False, True):
        for batch in (1, 4, 64):
            for tokens in (1, 49, 100, 196, 784, 3136):
                for dims in (32, 64, 256, 512):
                    case = (batch, tokens, dims, folded)
                    chosen = macs(choose_key_only_impl(*case), *case)
                    others = ('collapsed', 'merged' if folded else 'literal')
                    assert chosen == min(macs(impl, *case) for impl in others)


def test_unknown_impl_is_answered_with_the_known_ones():
    x, weights = make_inputs(1, 2, 4, 1)
    with pytest.raises(ValueError, match="'auto', 'literal', 'merged', 'collapsed'.*'fast'"):
        key_only_attention(x, weights, 'fast')
