# Copyright (c) mmvisionmix authors. All rights reserved.
import math

import pytest
import torch

from mmvisionmix.ops import (
    GroupAttentionWeights,
    PropagationWeights,
    fold_group_weights,
    group_attention,
)

# Heads, channels, groups, grid, batch.
SHAPES = ((1, 4, 3, (1, 1), 1), (2, 6, 2, (1, 5), 3), (2, 8, 8, (7, 6), 2), (4, 12, 5, (9, 3), 1))
OPTIONS = (dict(), dict(biases=False), dict(single=True), dict(kernels=(3, )),
           dict(kernels=(1, 3, 5)), dict(shared=True))
FORMATS = (torch.contiguous_format, torch.channels_last)


def make_inputs(heads, dims, groups, grid, batch, dtype=torch.float64, biases=True, single=False,
                kernels=(3, 5), shared=False):
    generator = torch.Generator().manual_seed(0)

    def draw(*shape, scale=1.):
        values = scale * torch.randn(*shape, generator=generator, dtype=dtype)
        return values.requires_grad_()

    def matrix():
        return draw(dims, dims, scale=1 / math.sqrt(dims))

    def bias():
        return draw(dims) if biases else None

    key, value = matrix(), matrix()
    branches = tuple(
        PropagationWeights(
            draw(dims, 1, size, size), draw(dims), key if shared else matrix(),
            value if shared else matrix(), bias(), None if single else matrix())
        for size in kernels)
    weights = GroupAttentionWeights(
        draw(groups, dims), matrix(), bias(), matrix(), matrix(), bias(),
        matrix() if single else None, draw(dims), draw(dims), draw(6, groups), draw(6),
        draw(groups, 6), draw(groups), branches, matrix() if single else None,
        tuple(draw(dims) for _ in range(1 if single else len(kernels))))
    return draw(batch, dims, *grid), weights


def leaves(weights):
    """All tensors of nested weights, each once."""
    found = {}
    for part in weights:
        if isinstance(part, torch.Tensor):
            found[id(part)] = part
        elif part is not None:
            found.update({id(leaf): leaf for leaf in leaves(part)})
    return list(found.values())


def convert(part, dtype):
    if isinstance(part, torch.Tensor) or part is None:
        return part if part is None else part.detach().to(dtype)
    parts = [convert(one, dtype) for one in part]
    return type(part)(*parts) if hasattr(part, '_fields') else tuple(parts)


def attend_by_definition(x, weights, heads):
    """The header's formulas, one image, head and query at a time."""
    outs = []
    size = x.shape[1] // heads
    for image in x:
        dims, height, width = image.shape
        tokens = image.flatten(1).T

        def linear(inputs, weight, bias=None):
            return inputs @ weight.T + (0 if bias is None else bias)

        def attend(query, key, value):
            rows = []
            for row in range(len(query)):
                parts = []
                for head in range(heads):
                    own = slice(head * size, (head + 1) * size)
                    logits = key[:, own] @ query[row, own] / math.sqrt(size)
                    parts.append(torch.softmax(logits, 0) @ value[:, own])
                rows.append(torch.cat(parts))
            return torch.stack(rows)

        groups = attend(
            linear(weights.tokens, weights.query, weights.query_bias), linear(tokens, weights.key),
            linear(tokens, weights.value, weights.value_bias))
        if weights.pooled is not None:
            groups = linear(groups, weights.pooled)
        normed = (groups - groups.mean(1, keepdim=True)) / (
            groups.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        normed = normed * weights.norm + weights.norm_bias
        hidden = torch.nn.functional.gelu(weights.expand @ normed + weights.expand_bias[:, None])
        groups = groups + weights.reduce @ hidden + weights.reduce_bias[:, None]
        out = sum(weights.biases).expand(height * width, dims)
        for branch in weights.branches:
            pad = branch.conv.shape[2] // 2
            padded = torch.nn.functional.pad(image, (pad, ) * 4)
            query = torch.stack([
                (padded[:, i:i + 2 * pad + 1, j:j + 2 * pad + 1] * branch.conv[:, 0]).sum((1, 2))
                for i in range(height) for j in range(width)]) + branch.conv_bias
            value = linear(groups, branch.value, branch.value_bias)
            proj = weights.proj if branch.proj is None else branch.proj
            out = out + linear(attend(query, linear(groups, branch.key), value), proj)
        outs.append(out.T.reshape(dims, height, width))
    return torch.stack(outs)


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_literal_form_follows_the_definition(shape, options):
    x, weights = make_inputs(*shape, **options)
    torch.testing.assert_close(
        group_attention(x, weights, shape[0], 'literal'),
        attend_by_definition(x, weights, shape[0]), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('options', OPTIONS, ids=str)
@pytest.mark.parametrize('at_hand', (False, True))
@pytest.mark.parametrize('memory_format', FORMATS, ids=str)
def test_folded_form_equals_the_literal_form_in_value_and_all_gradients(
        shape, options, at_hand, memory_format):
    x, weights = make_inputs(*shape, **options)
    x = x.detach().contiguous(memory_format=memory_format).requires_grad_()
    inputs, probe = [x, *leaves(weights)], torch.randn_like(x)
    results = []
    for form in ('literal', 'folded'):
        folded = fold_group_weights(weights, shape[0]) if at_hand else None
        out = group_attention(x, weights, shape[0], form, folded)
        results.append((out, *torch.autograd.grad((out * probe).sum(), inputs)))
    for folded, literal in zip(*results[::-1]):
        torch.testing.assert_close(folded, literal, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('memory_format', FORMATS, ids=str)
def test_folded_form_keeps_the_memory_format(memory_format):
    x, weights = make_inputs(2, 16, 8, (11, 13), 2)
    out = group_attention(x.contiguous(memory_format=memory_format), weights, 2, 'folded')
    assert out.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize('impl', ('literal', 'folded', 'auto'))
@pytest.mark.parametrize('dtype, tolerance', ((torch.float32, 1e-5), (torch.bfloat16, 4e-2)))
def test_lower_precisions_stay_close(impl, dtype, tolerance):
    x, weights = make_inputs(2, 16, 8, (11, 13), 2)
    expected = group_attention(x, weights, 2, 'literal')
    out = group_attention(x.to(dtype), convert(weights, dtype), 2, impl)
    assert out.dtype == dtype
    assert (out.double() - expected).norm() <= tolerance * expected.norm()


@pytest.mark.parametrize('impl', ('literal', 'folded'))
def test_bfloat16_autocast_stays_close(impl):
    x, weights = make_inputs(2, 16, 8, (11, 13), 2, torch.float32)
    expected = group_attention(x, weights, 2, 'literal')
    with torch.autocast('cpu', dtype=torch.bfloat16):
        out = group_attention(x, weights, 2, impl)
    assert (out.float() - expected).norm() <= 4e-2 * expected.norm()


def test_a_bias_of_the_keys_would_change_nothing():
    """Why there is none: it adds the same to all logits of a query."""
    logits, query, bias = torch.randn(3, 7), torch.randn(3, 4), torch.randn(4)
    shifted = logits + (query @ bias)[:, None]
    torch.testing.assert_close(shifted.softmax(1), logits.softmax(1))


@pytest.mark.parametrize('impl', ('literal', 'folded'))
def test_large_logits_do_not_overflow(impl):
    x, weights = make_inputs(2, 16, 8, (5, 5), 2, torch.float32)
    weights = weights._replace(tokens=1e4 * weights.tokens)
    assert group_attention(x, weights, 2, impl).isfinite().all()


def test_unknown_impl_is_answered_with_the_known_ones():
    x, weights = make_inputs(*SHAPES[0])
    with pytest.raises(ValueError, match="'auto', 'literal', 'folded'.*'fast'"):
        group_attention(x, weights, 1, 'fast')
