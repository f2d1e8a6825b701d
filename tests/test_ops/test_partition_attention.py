# Copyright (c) mmvisionmix authors. All rights reserved.
import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from mmvisionmix.ops import (
    PartitionAttentionWeights,
    draw_hash_vectors,
    hash_partition,
    kmeans_partition,
    partition_attention,
)

# Heads, channels, grid, batch.
SHAPES = ((1, 3, (1, 1), 1), (2, 6, (1, 5), 3), (2, 8, (7, 6), 2), (4, 12, (9, 3), 1))
OPTIONS = (
    dict(), dict(num_partitions=2), dict(num_partitions=8), dict(inter=False),
    dict(intra=False), dict(rescale=False), dict(rescale=False, inter=False, num_partitions=8),
    dict(shared=True), dict(shared=True, num_partitions=2), dict(codes='k-means'),
    dict(codes='k-means', num_partitions=8), dict(codes='sparse', num_partitions=8),
    dict(codes='one'), dict(scale=20.))
IMPLS = ('literal', 'packed')
FORMATS = (torch.contiguous_format, torch.channels_last)
ROOT = Path(__file__).resolve().parents[2]


def make_inputs(heads, dims, grid, batch, num_partitions=4, dtype=torch.float64, codes='hash',
                intra=True, inter=True, rescale=True, shared=False, scale=1.):
    """The arguments of ``partition_attention`` without the last."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape, scale=1.):
        values = scale * torch.randn(*shape, generator=generator, dtype=dtype)
        return values.requires_grad_()

    def matrix():
        return draw(dims, dims, scale=1 / math.sqrt(dims))

    x, size, groups = draw(batch, dims, *grid, scale=scale), dims // heads, 1 if shared else heads
    weights = PartitionAttentionWeights(
        matrix(), draw(dims), *((draw(5, size), draw(5), draw(5)) if inter else (None, ) * 3),
        matrix() if intra else None, matrix() if inter else None, draw(dims))
    hashed = hash_partition(
        x, draw_hash_vectors(groups, num_partitions.bit_length() - 1, dims // groups, 3))
    found = {
        'hash': hashed,
        'k-means': kmeans_partition(x, hashed, num_partitions),
        'sparse': torch.where(hashed % 3 == 0, 2, 5),  # two partitions have all tokens
        'one': torch.full_like(hashed, num_partitions - 1)}[codes]
    return x, found, weights, heads, num_partitions, rescale


def tensors(weights):
    return [weight for weight in weights if weight is not None]


def convert(weights, dtype):
    return type(weights)(*(w if w is None else w.detach().to(dtype) for w in weights))


def attend_by_definition(x, codes, weights, heads, num_partitions, rescale):
    """The header's formulas, one image, head and token at a time."""
    x, codes = x.detach().numpy(), codes.numpy()
    w = type(weights)(*(part if part is None else part.detach().numpy() for part in weights))
    batch, dims, height, width = x.shape
    size, count, out = dims // heads, height * width, np.zeros(x.shape)
    for b in range(batch):
        tokens = [x[b, :, i // width, i % width] for i in range(count)]
        intra, inter = np.zeros((count, dims)), np.zeros((count, dims))
        for head in range(heads):
            own = slice(head * size, (head + 1) * size)
            code = codes[b, head if codes.shape[1] > 1 else 0]
            values = [(w.value @ token + w.value_bias)[own] for token in tokens]
            exps = [np.exp(np.clip(token[own], -15, 15)) for token in tokens]
            means, logits = {}, {}
            for k in range(num_partitions):
                inside = [i for i in range(count) if code[i] == k]
                if inside:
                    means[k] = sum(values[i] for i in inside) / len(inside)
                if inside and w.inter is not None:
                    hidden = np.maximum(w.squeeze @ means[k] + w.squeeze_bias, 0)
                    logits[k] = w.excite @ hidden
            for i in range(count):
                inside = [j for j in range(count) if code[j] == code[i]]
                share = exps[i] / sum(exps[j] for j in inside)
                intra[i, own] = share * (len(inside) if rescale else 1) * values[i]
                if logits:
                    importance = np.exp(logits[code[i]]) / sum(np.exp(z) for z in logits.values())
                    inter[i, own] = means[code[i]] * importance * len(means)
        for i in range(count):
            out[b, :, i // width, i % width] = w.bias
            for part, proj in ((intra, w.intra), (inter, w.inter)):
                if proj is not None:
                    out[b, :, i // width, i % width] += proj @ part[i]
    return torch.from_numpy(out)


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_literal_form_follows_the_definition(shape, options):
    inputs = make_inputs(*shape, **options)
    torch.testing.assert_close(
        partition_attention(*inputs, 'literal'), attend_by_definition(*inputs),
        rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('options', OPTIONS, ids=str)
@pytest.mark.parametrize('memory_format', FORMATS, ids=str)
def test_packed_form_equals_the_literal_form_in_value_and_all_gradients(
        shape, options, memory_format):
    x, codes, weights, *rest = make_inputs(*shape, **options)
    x = x.detach().contiguous(memory_format=memory_format).requires_grad_()
    inputs, probe = [x, *tensors(weights)], torch.randn_like(x)
    results = []
    for form in IMPLS:
        out = partition_attention(x, codes, weights, *rest, form)
        results.append((out, *torch.autograd.grad((out * probe).sum(), inputs)))
    for packed, literal in zip(*results[::-1]):
        torch.testing.assert_close(packed, literal, rtol=1e-10, atol=1e-10)


def test_auto_is_the_packed_form():
    inputs = make_inputs(*SHAPES[2], dtype=torch.float32)
    assert torch.equal(partition_attention(*inputs), partition_attention(*inputs, 'packed'))
    assert not torch.equal(partition_attention(*inputs), partition_attention(*inputs, 'literal'))


@pytest.mark.parametrize('impl', IMPLS)
@pytest.mark.parametrize('memory_format', FORMATS, ids=str)
def test_outputs_keep_the_memory_format(memory_format, impl):
    x, *rest = make_inputs(2, 16, (11, 13), 2)
    out = partition_attention(x.contiguous(memory_format=memory_format), *rest, impl)
    assert out.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize('impl', IMPLS)
@pytest.mark.parametrize('memory_format', FORMATS, ids=str)
def test_outputs_for_a_part_of_the_channels_keep_the_memory_format_of_the_whole(
        memory_format, impl):
    x, *rest = make_inputs(2, 16, (11, 13), 2)
    whole = torch.cat((x, x), 1).contiguous(memory_format=memory_format)
    out = partition_attention(whole.chunk(2, 1)[1], *rest, impl)
    assert out.is_contiguous(memory_format=memory_format)
    torch.testing.assert_close(out, partition_attention(x, *rest, impl))


@pytest.mark.parametrize('impl', IMPLS)
@pytest.mark.parametrize('dtype, tolerance', ((torch.float32, 1e-5), (torch.bfloat16, 4e-2)))
def test_lower_precisions_stay_close(impl, dtype, tolerance):
    x, codes, weights, *rest = make_inputs(2, 16, (11, 13), 2)
    expected = partition_attention(x, codes, weights, *rest, 'literal')
    out = partition_attention(x.to(dtype), codes, convert(weights, dtype), *rest, impl)
    assert out.dtype == dtype
    assert (out.double() - expected).norm() <= tolerance * expected.norm()


@pytest.mark.parametrize('impl', IMPLS)
def test_bfloat16_autocast_stays_close(impl):
    inputs = make_inputs(2, 16, (11, 13), 2, dtype=torch.float32)
    expected = partition_attention(*inputs, 'literal')
    with torch.autocast('cpu', dtype=torch.bfloat16):
        out = partition_attention(*inputs, impl)
        assert torch.equal(hash_partition(inputs[0], draw_hash_vectors(2, 2, 8, 3)), inputs[1])
    assert (out.float() - expected).norm() <= 4e-2 * expected.norm()


@pytest.mark.parametrize('impl', IMPLS)
def test_importance_is_not_lowered_by_autocast(impl):
    x, codes, weights, *rest = make_inputs(2, 16, (11, 13), 2, dtype=torch.float32, intra=False)
    # Nothing else is rounded much; logits share an offset so large that rounding would show.
    x = x.detach().bfloat16().float()
    weights = weights._replace(
        value=torch.eye(16), value_bias=torch.zeros(16),
        squeeze_bias=torch.full((5, ), 100.), inter=torch.eye(16), bias=torch.zeros(16))
    expected = partition_attention(x, codes, weights, *rest, 'literal')
    with torch.autocast('cpu', dtype=torch.bfloat16):
        out = partition_attention(x, codes, weights, *rest, impl)
    assert (out.float() - expected).norm() <= 1e-2 * expected.norm()


def assert_finite(inputs, impl):
    x, codes, weights, *rest = inputs
    out = partition_attention(x, codes, weights, *rest, impl)
    grads = torch.autograd.grad(out.square().mean(), [x, *tensors(weights)])
    assert out.isfinite().all() and all(grad.isfinite().all() for grad in grads)
    return out


@pytest.mark.parametrize('impl', IMPLS)
@pytest.mark.parametrize('dtype', (torch.float32, torch.bfloat16))
def test_large_tokens_do_not_overflow(impl, dtype):
    x, *rest = make_inputs(2, 16, (11, 13), 2, dtype=dtype)
    x = (5e3 * x.detach()).clamp(-1e4, 1e4).requires_grad_()
    assert_finite((x, *rest), impl)


@pytest.mark.parametrize('impl', IMPLS)
@pytest.mark.parametrize('grid', ((1, 1), (11, 13)))
@pytest.mark.parametrize('token', (-1e4, 1e4))
def test_shares_sum_to_one_however_small_or_large_all_tokens_are(impl, grid, token):
    x, codes, weights, *rest = make_inputs(2, 16, grid, 2, dtype=torch.float32)
    value = weights.value_bias
    weights = weights._replace(value=torch.zeros(16, 16))  # the value of all tokens is the bias
    out = partition_attention(torch.full_like(x, token), codes, weights, *rest, impl)
    expected = (weights.intra + weights.inter) @ value + weights.bias
    torch.testing.assert_close(out, expected[:, None, None].expand_as(out), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('impl', IMPLS)
@pytest.mark.parametrize('dtype', (torch.float64, torch.float32))
def test_constant_image_has_one_partition_and_is_only_projected(impl, dtype):
    x, _, weights, *rest = make_inputs(2, 8, (7, 6), 2, dtype=dtype)
    x = x.detach()[:, :, :1, :1].expand(-1, -1, 7, 6).contiguous().requires_grad_()
    codes = hash_partition(x, draw_hash_vectors(2, 2, 4, 0))
    assert (codes == codes[:, :, :1]).all()
    out = assert_finite((x, codes, weights, *rest), impl)
    value = weights.value @ x.flatten(2) + weights.value_bias[:, None]
    expected = (weights.intra + weights.inter) @ value + weights.bias[:, None]
    torch.testing.assert_close(out, expected.view_as(x))


@pytest.mark.parametrize('impl', IMPLS)
@pytest.mark.parametrize('shape', SHAPES)
def test_partitions_without_tokens_change_neither_values_nor_gradients(shape, impl):
    x, codes, weights, heads, *_ = make_inputs(*shape, num_partitions=2)
    results = []
    for num_partitions in (2, 16):
        out = partition_attention(x, codes, weights, heads, num_partitions, impl=impl)
        results.append((out, *torch.autograd.grad(out.square().sum(), [x, *tensors(weights)])))
    for many, few in zip(*results[::-1]):
        assert few.isfinite().all()
        torch.testing.assert_close(many, few, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('impl', IMPLS)
def test_names_of_partitions_do_not_matter(impl):
    x, codes, *rest = make_inputs(*SHAPES[2])
    torch.testing.assert_close(
        partition_attention(x, (codes + 1) % 4, *rest, impl),
        partition_attention(x, codes, *rest, impl), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('impl', IMPLS)
@pytest.mark.parametrize('rescale, factor', ((True, 1), (False, 1 / 4)))
def test_rescaling_keeps_the_scale_at_every_resolution(impl, rescale, factor):
    x, codes, weights, *rest = make_inputs(*SHAPES[2], inter=False, rescale=rescale)
    bias = weights.bias[:, None, None]
    once = partition_attention(x, codes, weights, *rest, impl) - bias
    finer = codes.unflatten(2, x.shape[2:]).repeat_interleave(4, 2).flatten(2)
    out = partition_attention(x.repeat_interleave(4, 2), finer, weights, *rest, impl) - bias
    torch.testing.assert_close(
        out, factor * once.repeat_interleave(4, 2), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('impl', IMPLS)
@pytest.mark.parametrize('options', (dict(), dict(codes='sparse', num_partitions=8)), ids=str)
def test_importance_sums_to_the_number_of_partitions_with_tokens(impl, options):
    x, codes, weights, heads, *rest = make_inputs(2, 8, (7, 6), 2, intra=False, **options)
    # The first channel of the values, and of the means, of every head is 1: it becomes m.
    value, value_bias = weights.value.detach().clone(), weights.value_bias.detach().clone()
    value[::4], value_bias[::4] = 0, 1
    weights = weights._replace(
        value=value, value_bias=value_bias, inter=torch.eye(8).double(),
        bias=torch.zeros(8).double())
    out = partition_attention(x, codes, weights, heads, *rest, impl)[:, ::4].flatten(2)
    for own_out, own_codes in zip(out.flatten(0, 1), codes.flatten(0, 1)):
        found = own_codes.unique()
        importance = [own_out[own_codes == k] for k in found]
        for one in importance:
            torch.testing.assert_close(one, one[:1].expand_as(one))
        firsts = torch.stack([one[0] for one in importance])
        assert len(found) > 1 and firsts.std() > 1e-3
        assert firsts.sum().item() == pytest.approx(len(found))


def test_hash_codes_are_the_signs_of_products():
    torch.manual_seed(0)
    x, vectors = torch.randn(2, 6, 3, 5), draw_hash_vectors(2, 3, 3, 7)
    x[0, :, 1, 2] = 0  # the sign of zero is positive
    codes = hash_partition(x, vectors)
    assert codes.shape == (2, 2, 15) and codes[0, :, 7].tolist() == [7, 7]
    for image in range(2):
        for group in range(2):
            for row in range(3):
                for column in range(5):
                    token = x[image, 3 * group:3 * group + 3, row, column]
                    bits = [float(token @ vectors[group, bit]) >= 0 for bit in range(3)]
                    expected = bits[0] + 2 * bits[1] + 4 * bits[2]
                    assert codes[image, group, 5 * row + column] == expected


@pytest.mark.parametrize('dtype', (torch.float64, torch.float32, torch.bfloat16))
def test_hash_codes_know_no_scale_and_no_gradient(dtype):
    torch.manual_seed(0)
    x = torch.randn(2, 8, 7, 6, dtype=dtype, requires_grad=True)
    vectors = draw_hash_vectors(2, 2, 4, 0).to(dtype)
    codes = hash_partition(x, vectors)
    assert not codes.requires_grad and codes.unique().tolist() == [0, 1, 2, 3]
    for scale in (3, 4., 2**-9):
        assert torch.equal(hash_partition(scale * x, vectors), codes)
    assert torch.equal(hash_partition(-x, vectors), 3 - codes)


def test_hash_codes_are_not_lowered_by_autocast():
    torch.manual_seed(0)
    x, vectors = torch.randn(2, 64, 20, 20), draw_hash_vectors(2, 4, 32, 0)
    expected = hash_partition(x, vectors)
    lowered = hash_partition(x.bfloat16(), vectors.bfloat16())
    assert not torch.equal(lowered, expected)  # there are tokens on the border
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(hash_partition(x, vectors), expected)


def test_hash_vectors_are_unit_vectors_that_follow_from_the_seed():
    state = torch.get_rng_state()
    vectors = draw_hash_vectors(8, 3, 32, 5)
    assert torch.equal(torch.get_rng_state(), state)
    assert vectors.shape == (8, 3, 32) and not vectors.requires_grad
    torch.testing.assert_close(vectors.norm(dim=2), torch.ones(8, 3))
    torch.manual_seed(1)
    assert torch.equal(draw_hash_vectors(8, 3, 32, 5), vectors)
    for seed in (4, 6):
        other = draw_hash_vectors(8, 3, 32, seed)
        assert (other - vectors).norm(dim=2).min() > 0.1
    flat = vectors.flatten(0, 1)
    assert (flat @ flat.T - torch.eye(24)).max() < 0.9  # no two of them are alike


def test_hash_vectors_are_drawn_where_the_default_device_is_meta():
    with torch.device('meta'):
        vectors = draw_hash_vectors(8, 3, 32, 5)
    assert vectors.device.type == 'cpu'
    assert torch.equal(vectors, draw_hash_vectors(8, 3, 32, 5))


def test_hash_vectors_are_the_same_in_another_process(run_tool):
    script = ('import hashlib; from mmvisionmix.ops import draw_hash_vectors; '
              'print(hashlib.sha256(draw_hash_vectors(8, 3, 32, 5).numpy().tobytes()).hexdigest())')
    here = hashlib.sha256(draw_hash_vectors(8, 3, 32, 5).numpy().tobytes()).hexdigest()
    assert run_tool('-c', script, cwd=ROOT).split()[-1] == here


@pytest.mark.parametrize('steps', (2, 3, 6))
def test_kmeans_takes_the_steps_that_scikit_learn_takes(steps):
    torch.manual_seed(0)
    x = torch.randn(2, 8, 20, 15, dtype=torch.float64)
    start = hash_partition(x, draw_hash_vectors(2, 2, 4, 0))
    codes = kmeans_partition(x, start, 4, steps)
    assert not torch.equal(codes, kmeans_partition(x, start, 4, steps - 1))
    assert torch.equal(codes, kmeans_partition(x, start, 4)) == (steps == 3)  # as many by default
    for image in range(2):
        for group in range(2):
            tokens = x[image, 4 * group:4 * group + 4].flatten(1).T.numpy()
            own = start[image, group].numpy()
            centres = np.stack([tokens[own == k].mean(0) for k in range(4)])
            # It assigns tokens once more than it moves centres; here each step does both, centres
            # first, which it is given.
            means = KMeans(4, init=centres, n_init=1, max_iter=steps - 1, algorithm='lloyd', tol=0)
            assert means.fit_predict(tokens).tolist() == codes[image, group].tolist()


def test_kmeans_finds_clusters_that_are_far_apart():
    torch.manual_seed(0)
    truth = torch.arange(4).repeat(15)[torch.randperm(60)]
    corners = 5 * torch.eye(4)[truth].T  # (4, 60)
    x = (corners + 0.3 * torch.randn(4, 60)).view(1, 4, 6, 10)
    start = truth.clone()
    start[:20] = (start[:20] + 1) % 4
    codes = kmeans_partition(x, start.view(1, 1, -1), 4)
    assert torch.equal(codes[0, 0], truth)
    assert torch.equal(kmeans_partition(x, start.view(1, 1, -1), 4, 0)[0, 0], start)


@pytest.mark.parametrize('grid', ((1, 1), (1, 5), (9, 3)))
def test_kmeans_fills_no_partition_that_was_empty(grid):
    torch.manual_seed(0)
    # Tokens between two clusters are closest to zero, where the sums of empty partitions are.
    x = torch.tensor([2., 0., -2.])[torch.arange(2 * 8 * grid[0] * grid[1]) % 3]
    x = (x + 0.1 * torch.randn_like(x)).view(2, 8, *grid)
    start = torch.where(x[:, ::4].flatten(2) > 0, 1, 6)
    codes = kmeans_partition(x, start, 8)
    assert codes.shape == start.shape and codes.dtype == torch.int64
    for own, before in zip(codes.flatten(0, 1), start.flatten(0, 1)):
        assert set(own.tolist()) <= set(before.tolist())


def test_kmeans_has_no_gradient_and_is_not_lowered_by_autocast():
    torch.manual_seed(0)
    x = torch.randn(2, 64, 20, 20, requires_grad=True)
    start = hash_partition(x, draw_hash_vectors(2, 2, 32, 0))
    codes = kmeans_partition(x, start, 4)
    assert not codes.requires_grad and codes.min() >= 0 and codes.max() < 4
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(kmeans_partition(x, start, 4), codes)


def test_unknown_impl_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="'auto', 'literal', 'packed'.*'fast'"):
        partition_attention(*make_inputs(*SHAPES[0]), 'fast')
