# Copyright (c) mmvisionmix authors. All rights reserved.
import hashlib

import numpy as np
import pytest
import torch
from mixers import SHAPES, Mixer, assert_close
from sklearn.cluster import KMeans

from mmvisionmix.ops import (
    attend_between,
    attend_within,
    draw_hash_vectors,
    hash_partition,
    kmeans_partition,
    one_hot,
    partition_means,
    split_heads,
)

OPTIONS = (
    dict(), *(dict(num_partitions=number) for number in (1, 2, 8)), dict(paths=('intra', )),
    dict(paths=('inter', )), dict(rescale=False), dict(share_partition=True),
    dict(partition='k-means'), dict(partition='k-means', num_partitions=8, share_partition=True),
    dict(reduction=2), dict(normalisation='paper'))


def attend_by_definition(mixer):
    """The header's formulas, or Eq. 6 to 9, one image, head and token at a time."""
    layer, x = mixer.layer, mixer.x
    printed = layer.normalisation == 'paper'
    maps = layer.downsample(x)
    tokens, values = (
        part.flatten(2).unflatten(1, (layer.num_heads, -1)).transpose(2, 3)
        for part in (maps, layer.value(maps)))  # (B, heads, N, d)
    codes = layer.partitions_of(x).flatten(2).expand(tokens.shape[:3])
    paths = dict(intra=torch.zeros_like(tokens), inter=torch.zeros_like(tokens))
    for at in np.ndindex(*tokens.shape[:2]):
        code, exps = codes[at].tolist(), tokens[at] if printed else tokens[at].clamp(-15, 15).exp()
        means = {k: values[at][codes[at] == k].mean(0) for k in set(code)}
        if 'inter' in layer.paths:
            logits = {k: layer.excite(layer.squeeze(means[k]).relu()) for k in means}
        for i, k in enumerate(code):
            inside = [j for j, other in enumerate(code) if other == k]
            share = exps[i] / sum(exps[j] for j in inside)
            scale = len(inside) if layer.rescale and not printed else 1
            paths['intra'][at][i] = share * scale * values[at][i]
            if 'inter' in layer.paths:
                gates = {m: one.sigmoid() if printed else one.exp() for m, one in logits.items()}
                importance = gates[k] / sum(gates.values()) * (1 if printed else len(means))
                paths['inter'][at][i] = means[k] * importance
    mixed = [paths[name].transpose(2, 3).reshape(maps.shape)
             for name in ('intra', 'inter') if name in layer.paths]
    mixed = layer.upsample(layer.proj(torch.cat(mixed, 1)))
    return x + mixed[:, :, :x.shape[2], :x.shape[3]]


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('options', OPTIONS, ids=str)
@pytest.mark.parametrize('special', ('', 'empty', 'large'))
@torch.no_grad()
def test_forms_follow_the_definition(shape, options, special):
    mixer = Mixer('partition', *shape, **options)
    mixer.x *= 20 if special == 'large' else 1  # many exponents are clipped
    if special == 'empty':  # all tokens are in one partition, or in two of eight
        mixer.layer.hash_vectors[:, :2] = 0
        assert mixer.layer.partitions_of(mixer.x).unique().numel() <= 2
    expected = attend_by_definition(mixer)
    for one, impl in mixer.all_forms():
        assert_close(one(impl), expected)


@pytest.mark.parametrize('normalisation', ('softmax', 'paper'))
def test_forms_have_the_gradients_of_the_definition(normalisation):
    mixer = Mixer('partition', 2, 8, (7, 6), normalisation=normalisation)
    inputs = (mixer.x.requires_grad_(), *mixer.layer.parameters())
    expected, *outs = (torch.autograd.grad(out.sin().sum(), inputs) for out in (
        attend_by_definition(mixer), mixer('literal'), mixer('packed')))
    for own in outs:
        for grad, want in zip(own, expected):
            assert_close(grad, want)


def test_weights_as_printed_have_any_sign_and_size():
    """Of Gaussian tokens, as many as in stage 3 of DualFormer-XS."""
    torch.manual_seed(0)
    x = torch.randn(64, 160, 14, 14)
    tokens = split_heads(x, 8)
    members = one_hot(hash_partition(x, draw_hash_vectors(8, 2, 20, 0)), 4, tokens)
    weights = attend_within(tokens, torch.ones_like(tokens), members, normalisation='paper')
    assert (weights < 0).float().mean() == pytest.approx(0.41, abs=0.005)
    assert (weights.abs() > 100).float().mean() == pytest.approx(0.0005, abs=5e-5)


def draw_parts(tokens=30):
    """Tokens and values of every head, their partitions, and logits of these."""
    torch.manual_seed(0)
    x, value = torch.randn(2, 2, 2, 3, tokens).double()
    codes = torch.randint(4, (2, 2, tokens)) | 1  # 0 and 2 are empty
    return x, value, one_hot(codes, 4, x), torch.randn(2, 2, 4).double()


@pytest.mark.parametrize('impl', ('literal', 'packed'))
def test_neither_the_order_of_partitions_nor_empty_ones_matter(impl):
    x, value, members, logits = draw_parts()

    def attend(members, logits):
        inputs = [tensor.clone().requires_grad_() for tensor in (x, value)]
        means = partition_means(inputs[1], members)
        outs = [attend_within(*inputs, members, impl=impl), attend_between(means, logits, members)]
        return (*outs, *torch.autograd.grad(sum(out.square().sum() for out in outs), inputs))

    expected = attend(members, logits)
    more = [torch.cat((part, torch.zeros_like(part)), 2) for part in (members, logits)]
    for changed in ([part.flip(2) for part in (members, logits)], more):
        for own, want in zip(attend(*changed), expected):
            assert_close(own, want)
    assert not partition_means(value, members)[:, :, ::2].any()


def test_autocast_lowers_no_exponentials_and_no_sums():
    x, value, members, logits = (part.float() for part in draw_parts(tokens=500))
    results = []
    for enabled in (False, True):
        with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
            means = partition_means(value, members)
            results.append((means, attend_between(means, 100 + logits, members), *(
                attend_within(x, value, members, impl=impl) for impl in ('literal', 'packed'))))
    assert all(map(torch.equal, *results))


@pytest.mark.parametrize('grid', ((1, 1), (7, 6)))
@pytest.mark.parametrize('scale', (1, 1e-4, 1e4))
@torch.no_grad()
def test_constant_image_has_one_partition_and_is_only_projected(grid, scale):
    mixer = Mixer('partition', 2, 8, grid)
    x, layer = scale * mixer.x[:, :, :1, :1].expand_as(mixer.x), mixer.layer
    codes, value = layer.partitions_of(x), layer.value(x)
    assert (codes == codes[:, :, :1, :1]).all()
    for impl in mixer.forms:
        assert_close(mixer(impl, x), x + layer.proj(torch.cat((value, value), 1)))


def test_hash_codes_are_the_signs_of_products():
    torch.manual_seed(0)
    x, vectors = torch.randn(2, 6, 3, 5), draw_hash_vectors(2, 3, 3, 7)
    x[0, :, 1, 2] = 0  # the sign of zero is positive
    codes = hash_partition(x, vectors)
    assert codes.shape == (2, 2, 15) and codes[0, :, 7].tolist() == [7, 7]
    for image, group, row, column in np.ndindex(2, 2, 3, 5):
        token = x[image, 3 * group:3 * group + 3, row, column]
        bits = [float(token @ vectors[group, bit]) >= 0 for bit in range(3)]
        expected = bits[0] + 2 * bits[1] + 4 * bits[2]
        assert codes[image, group, 5 * row + column] == expected
    assert torch.equal(hash_partition(2**-9 * x, vectors), codes)


def test_partitions_have_no_gradient_and_are_not_lowered_by_autocast():
    torch.manual_seed(0)
    x = torch.randn(2, 64, 20, 20, requires_grad=True)
    vectors = draw_hash_vectors(2, 4, 32, 0)
    codes = hash_partition(x, vectors)
    lowered = hash_partition(x.bfloat16(), vectors.bfloat16())
    assert not torch.equal(lowered, codes)  # there are tokens on the border
    means = kmeans_partition(x, codes, 16)
    assert not codes.requires_grad and not means.requires_grad
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(hash_partition(x, vectors), codes)
        assert torch.equal(kmeans_partition(x, codes, 16), means)


def test_hash_vectors_follow_from_the_seed_in_every_process():
    state = torch.get_rng_state()
    with torch.device('meta'):
        vectors = draw_hash_vectors(8, 3, 32, 5)
    assert torch.equal(torch.get_rng_state(), state)
    assert vectors.shape == (8, 3, 32) and vectors.dtype == torch.float32
    torch.testing.assert_close(vectors.norm(dim=2), torch.ones(8, 3))
    # Signs are the same on processors that round otherwise.
    signs = np.packbits(vectors.numpy() > 0).tobytes()
    assert hashlib.sha256(signs).hexdigest()[:16] == '3df3c8eff36eed60'
    torch.testing.assert_close(vectors[0, 0, :3], torch.tensor([0.2859321, 0.080532, -0.2656925]))
    for seed in (4, 6):
        assert (draw_hash_vectors(8, 3, 32, seed) - vectors).norm(dim=2).min() > 0.1


@pytest.mark.parametrize('steps', (2, 3, 6))
def test_kmeans_takes_the_steps_that_scikit_learn_takes(steps):
    torch.manual_seed(0)
    x = torch.randn(2, 8, 20, 15, dtype=torch.float64)
    start = hash_partition(x, draw_hash_vectors(2, 2, 4, 0))
    codes = kmeans_partition(x, start, 4, steps)
    assert not torch.equal(codes, kmeans_partition(x, start, 4, steps - 1))
    assert torch.equal(codes, kmeans_partition(x, start, 4)) == (steps == 3)  # as many by default
    for image, group in np.ndindex(2, 2):
        tokens = x[image, 4 * group:4 * group + 4].flatten(1).T.numpy()
        own = start[image, group].numpy()
        centres = np.stack([tokens[own == k].mean(0) for k in range(4)])
        # It assigns tokens once more than it moves centres; here each step does both, centres
        # first, which it is given.
        means = KMeans(4, init=centres, n_init=1, max_iter=steps - 1, algorithm='lloyd', tol=0)
        assert means.fit_predict(tokens).tolist() == codes[image, group].tolist()


def test_kmeans_fills_no_partition_that_was_empty():
    torch.manual_seed(0)
    # Tokens between two clusters are closest to zero, where the sums of empty partitions are.
    x = torch.tensor([2., 0., -2.])[torch.arange(2 * 8 * 9 * 3) % 3]
    x = (x + 0.1 * torch.randn_like(x)).view(2, 8, 9, 3)
    start = torch.where(x[:, ::4].flatten(2) > 0, 1, 6)
    codes = kmeans_partition(x, start, 8)
    for own, before in zip(codes.flatten(0, 1), start.flatten(0, 1)):
        assert set(own.tolist()) <= set(before.tolist())
