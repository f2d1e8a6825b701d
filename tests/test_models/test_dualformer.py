# Copyright (c) mmvisionmix authors. All rights reserved.
from functools import partial

import pytest
import torch
from small_backbones import build, randomise, run
from torch import nn

from mmvisionmix.models.backbones.dualformer import DualMixer
from mmvisionmix.models.layers import PartitionAttention
from mmvisionmix.ops import draw_hash_vectors, hash_partition, kmeans_partition

make = partial(build, 'DualFormer')


def hash_vectors(model):
    return [buffer for name, buffer in model.named_buffers() if name.endswith('hash_vectors')]


def all_equal(left, right):
    return len(left) == len(right) and all(map(torch.equal, left, right))


def any_equal(left, right):
    return any(map(torch.equal, left, right))


def test_hash_vectors_are_drawn_at_construction_from_a_seed_per_block():
    vectors = hash_vectors(make())
    assert [tuple(one.shape) for one in vectors] == [
        (2, 2, 2), (2, 2, 4), (2, 2, 4), (2, 2, 6), (2, 2, 4)]
    torch.manual_seed(1)
    assert all_equal(hash_vectors(make()), vectors)
    for left in (1, 2, 4):  # those of the same shape
        assert not any_equal([vectors[left]] * 2, [vectors[i] for i in {1, 2, 4} - {left}])
    changed = hash_vectors(make(hash_seed=1))
    assert not any_equal(changed, vectors)
    assert torch.equal(changed[1], vectors[2])  # the seeds of successive blocks are successive
    shared = hash_vectors(make(share_partition=True, num_partitions=8))
    assert [tuple(one.shape) for one in shared] == [
        (1, 3, 4), (1, 3, 8), (1, 3, 8), (1, 3, 12), (1, 3, 8)]


def test_hash_vectors_outlast_initialisation_and_are_restored_with_the_weights():
    model, other, x = make().eval(), make(hash_seed=9).eval(), torch.randn(1, 3, 96, 128)
    before = [one.clone() for one in hash_vectors(model)]
    weight = model.stem.halve.conv.weight.detach().clone()
    model.init_weights()
    assert not torch.equal(model.stem.halve.conv.weight, weight)
    assert all_equal(hash_vectors(model), before)
    assert not any_equal(hash_vectors(other), before)
    other.load_state_dict(model.state_dict())
    assert all_equal(hash_vectors(other), before)
    assert all_equal(run(other, x), run(model, x))
    assert not any(one.requires_grad for one in hash_vectors(model))


@pytest.mark.parametrize('options', (
    dict(), dict(paths=('intra', )), dict(paths=('inter', )), dict(paths=['inter', 'intra']),
    dict(partition='k-means'), dict(num_partitions=8, rescale=False), dict(share_partition=True)),
                         ids=str)
@pytest.mark.parametrize('reduction', (1, 2, 4))
@pytest.mark.parametrize('size', ((13, 9), (8, 4)))
def test_attention_is_computed_on_smaller_maps_that_are_upsampled(options, reduction, size):
    torch.manual_seed(0)
    layer = randomise(PartitionAttention(8, 2, reduction=reduction, hash_seed=3, **options), 0.4)
    layer, x = layer.double().eval(), torch.randn(2, 8, *size, dtype=torch.float64)
    small = x
    if reduction > 1:
        conv, norm = layer.downsample.conv, layer.downsample.norm
        small = nn.functional.conv2d(
            x, conv.weight, stride=reduction, padding=reduction - 1, groups=8)
        assert conv.kernel_size == (2 * reduction - 1, ) * 2
        small = nn.functional.batch_norm(
            small, norm.running_mean, norm.running_var, norm.weight, norm.bias)
    assert small.shape[2:] == tuple(-(-side // reduction) for side in size)
    num_partitions = options.get('num_partitions', 4)
    groups = 1 if 'share_partition' in options else 2
    vectors = draw_hash_vectors(groups, num_partitions.bit_length() - 1, 8 // groups, 3)
    codes = hash_partition(small, vectors)
    if 'partition' in options:
        codes = kmeans_partition(small, codes, num_partitions)
    assert torch.equal(layer.partitions_of(x).flatten(2), codes)
    plain = PartitionAttention(8, 2, **options).double().eval()
    plain.load_state_dict(layer.state_dict(), strict=False)
    expected = plain(small) - small
    if reduction > 1:
        expected, mixed = torch.zeros_like(x), layer.upsample[0](expected)
        for row in range(size[0]):
            for column in range(size[1]):
                place = row % reduction * reduction + column % reduction
                expected[:, :, row, column] = mixed[
                    :, place::reduction**2, row // reduction, column // reduction]
    torch.testing.assert_close(layer(x), x + expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('mixing, expansion', (('parallel', 4), ('serial', 1), ('attention', 0)))
def test_paths_are_beside_or_after_one_another(mixing, expansion):
    torch.manual_seed(0)
    mixer = DualMixer(8, partial(PartitionAttention, num_heads=2), mixing)
    mixer, x = randomise(mixer).double().eval(), torch.randn(2, 8, 7, 6, dtype=torch.float64)
    if mixing == 'parallel':
        halves = (x[:, :4] + mixer.conv(x[:, :4]), mixer.attention(x[:, 4:]))
        expected = torch.cat(halves, 1)
    else:
        expected = mixer.attention(x + mixer.conv(x) if expansion else x)
    torch.testing.assert_close(mixer(x), mixer.proj(expected))
    if expansion:
        channels = 4 if mixing == 'parallel' else 8
        assert mixer.conv.expand.conv.weight.shape == (expansion * channels, channels, 1, 1)
