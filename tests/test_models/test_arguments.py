# Copyright (c) mmvisionmix authors. All rights reserved.
"""Arguments that no network can be built from are named, with the valid ones."""
import numpy as np
import pytest
from mmengine.config import ConfigDict
from small_backbones import SMALL, backbones, build

from mmvisionmix.models import layers

WHOLE, RATE, SIZE = 'must be whole, and at least', 'at least 0 and below 1', 'height and width'
INDICES, ATTENTION = 'out_indices must be distinct and between -4 and 3', 'attention_layers must be'
COMMON = dict(
    in_channels={WHOLE: (0, -1, '3', 2.5, None)},
    out_indices={INDICES: ('a', None, 1.5, (0.5, ), True, (), (1, -3), 4, -5)},
    frozen_stages={'whole number between -1 and 4': (-2, 1.5, 'a', None, (1, ), 5)},
    drop_rate={RATE: (-0.1, 1., 'a', float('nan'), None)},
    drop_path_rate={RATE: (-0.1, 1., 'a', float('nan'), None)},
    arch={'knows the archs': (None, 3, '', []), 'has the keys': (dict(), {3: 4})},
    init_cfg={'dict with a type': ('a', dict(), 3, [dict(std=1.)])},
    impl={'must be .*auto': ('fast', None)})
OWN = dict(
    LKCAViT=dict(
        img_size={WHOLE: (0, -3, 'a', (0, 8)), SIZE: ((3, ), (1, 2, 3))},
        patch_size={WHOLE: (0, -1, 2.5, 'a'), SIZE: ((4, 4, 4), )},
        attention_layers={ATTENTION: ((4, ), (-5, ), 3, 'a', (0.5, ))},
        kernel_init={"one of .*'conv'": ('x', None)}),
    LinGlo=dict(
        layout={'must have 4 letters': ('hh', 'hxhh', '', None)},
        attention={"one of .*'dot-product'": ('lsh', None)},
        encoding={"one of .*'rp-cpe'": ('x', 3)},
        patch_sizes={'must have 4 values': ((4, ), 3), WHOLE: ((0, 2, 2, 2), 'a', (2, 2, 2, .5))},
        img_size={WHOLE: (0, 'a'), SIZE: ((3, ), )}),
    MCGANet=dict(
        num_groups={WHOLE: (0, -1, 1.5, 'a')},
        kernel_sizes={'must be odd': ((), (2, ), 3, (3, 4)), WHOLE: ((-1, ), ('a', ), 0)},
        fusion={"one of .*'single'": ('x', None)},
        encoding={"one of .*'rp-cpe'": ('x', 3)}),
    DualFormer=dict(
        num_heads={WHOLE: (0, -1, 'a'), 'multiple of num_heads': (3, )},
        num_partitions={WHOLE: (0, -4, 2.5, 'a'), 'power of two': (3, 6)},
        partition={"one of .*'lsh'": ('x', None)},
        paths={"one or both of .*'intra'": ((), ('x', ), 'intra', ('intra', 'x'))},
        mixing={"one of .*'serial'": ('x', None)},
        normalisation={"one of .*'softmax'": ('x', None)},
        hash_seed={WHOLE: (-1, 1.5, 'a')}, encoding={"one of .*'rp-cpe'": ('x', 3)}))
STAGES = 'one value per stage'
ARCHS = dict(
    LKCAViT=dict(
        embed_dims={WHOLE: (0, -1, 2.5), 'one number for each key': ((8, 8), )},
        num_layers={WHOLE: (0, -1, 2.5)}, mlp_ratio={'above 0': (0, -1, 'a')}),
    LinGlo=dict(
        embed_dims={STAGES: ((8, 12, 16), 8, ()), WHOLE: ((0, 12, 16, 24), (8, -12, 16, 24))},
        depths={WHOLE: ((1, 0, 1, 1), (1, 1.5, 1, 1))},
        num_heads={WHOLE: ((1, 2, 4, 0), ), 'multiple of num_heads': ((3, 2, 4, 3), )},
        mlp_ratios={WHOLE: ((0, 2, 2, 2), (0.5, 2, 2, 2))}),
    MCGANet=dict(
        embed_dims={'multiples of those of the stage before': ((8, 12, 16, 24), (8, 16, 16, 8))},
        depths={WHOLE: ((1, 0, 1, 1), )}, num_heads={WHOLE: ((1, 2, 4, 0), )},
        mlp_ratios={WHOLE: ((0.5, 2, 2, 2), )}),
    DualFormer=dict(
        embed_dims={'must be even': ((7, 16, 24, 16), ), 'at least 2': ((1, 2, 2, 2), )},
        depths={WHOLE: ((1, 0, 1, 1), )}, reductions={WHOLE: ((0, 2, 1, 1), (1, 1.5, 1, 1))},
        mlp_ratios={WHOLE: ((2, 2, 2, 0), )}))


def listed(table):
    return [(name, message, value) for name, messages in table.items()
            for message, values in messages.items() for value in values]


def assert_refused(name, argument, message, **changed):
    with pytest.raises(ValueError, match=message) as error:
        build(name, **changed)
    assert argument in str(error.value)
    return str(error.value)


@backbones
def test_wrong_arguments_are_answered_with_the_valid_ones(name):
    own = OWN[name]
    for argument, message, value in listed({**COMMON, **own}):
        assert_refused(name, argument, message, **{argument: value})


@backbones
def test_wrong_arch_dicts_are_answered_with_the_valid_ones(name):
    for key, message, value in listed(ARCHS[name]):
        assert_refused(name, key, message, arch=dict(SMALL[name]['arch'], **{key: value}))


@backbones
def test_arguments_of_configs_and_of_numpy_are_taken(name):
    arch = ConfigDict({key: list(value) if isinstance(value, tuple) else value
                       for key, value in SMALL[name]['arch'].items()})
    model = build(name, arch=arch, out_indices=list(np.array([0, 2])), in_channels=np.int64(3),
                  frozen_stages=np.int32(1), drop_rate=np.float32(0.5), drop_path_rate=0)
    assert model.out_indices == (0, 2)


@pytest.mark.parametrize('layer', ('GroupAttention', 'KeyOnlyAttention', 'SelfAttention',
                                   'PartitionAttention'))
@pytest.mark.parametrize('heads, message', (
    (0, 'num_heads must be whole'), (1.5, 'num_heads must be whole'),
    (5, 'embed_dims must be a multiple of num_heads, got 12 and 5')))
def test_layers_refuse_heads_that_do_not_divide_their_channels(layer, heads, message):
    with pytest.raises(ValueError, match=message):
        getattr(layers, layer)(12, heads)
