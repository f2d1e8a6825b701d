# Copyright (c) mmvisionmix authors. All rights reserved.
"""Parameters and multiply-adds, beside what can be computed by hand or is published."""
import pytest
from mmengine.config import Config
from mmengine.hub import get_config

from mmvisionmix.complexity import count_complexity, image_size

WIDTH, DEPTH, SIDE, CLASSES = 16, 2, 32, 10


def classifier(size=SIDE, crop='RandomResizedCrop', **backbone):
    """A classifier on a backbone with one emitted stage of WIDTH channels."""
    scale = {'RandomResizedCrop': 'scale', 'RandomCrop': 'crop_size'}.get(crop, 'size')
    return Config(dict(
        default_scope='mmpretrain',
        model=dict(
            type='ImageClassifier', backbone=backbone, neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=CLASSES, in_channels=WIDTH)),
        train_dataloader=dict(dataset=dict(
            pipeline=[dict(type='LoadImageFromFile'), {'type': crop, scale: size}]))))


def linglo(**options):
    arch = dict(embed_dims=(WIDTH, ), depths=(DEPTH, ), num_heads=(2, ), mlp_ratios=(4, ))
    return classifier(
        type='mmvisionmix.LinGlo', arch=arch, layout='h', out_indices=-1, patch_sizes=(4, ),
        **options)


def mcganet(**options):
    arch = dict(embed_dims=(WIDTH, ), depths=(DEPTH, ), num_heads=(2, ), mlp_ratios=(4, ))
    return classifier(type='mmvisionmix.MCGANet', arch=arch, out_indices=-1, **options)


def dualformer(**options):
    arch = dict(embed_dims=(WIDTH, ), depths=(DEPTH, ), reductions=(1, ), mlp_ratios=(4, ))
    return classifier(
        type='mmvisionmix.DualFormer', arch=arch, out_indices=-1, num_heads=2, **options)


def lkca(**options):
    return classifier(
        type='mmvisionmix.LKCAViT', img_size=SIDE, patch_size=4,
        arch=dict(embed_dims=WIDTH, num_layers=DEPTH, mlp_ratio=2), **options)


def test_key_only_attention_is_counted_on_its_literal_form_whatever_the_config_says():
    tokens = (SIDE // 4)**2
    key_only, dot_product = (
        count_complexity(linglo(attention=attention)).macs
        for attention in ('key-only', 'dot-product'))
    assert count_complexity(linglo(impl='collapsed')).macs == key_only
    # Four projections in either. Products of tokens by tokens, with keys and with values, come on
    # top; what is linear in tokens and channels is not counted.
    assert dot_product - key_only == DEPTH * 2 * tokens**2 * WIDTH
    assert count_complexity(linglo(attention='dot-product'), 'modules').macs == key_only


def test_group_attention_is_counted_on_its_literal_form_whatever_the_config_says():
    tokens, groups, kernel = (SIDE // 4)**2, 8, 5
    one, two = (
        count_complexity(mcganet(kernel_sizes=sizes)).macs for sizes in ((3, ), (3, kernel)))
    # A branch more: its convolution, both products with groups, the projection of tokens, and
    # those of keys and values.
    assert two - one == DEPTH * (
        tokens * WIDTH * (kernel**2 + 2 * groups + WIDTH) + 2 * groups * WIDTH**2)
    assert count_complexity(mcganet(impl='folded')).macs == two
    assert count_complexity(mcganet(), 'modules').macs == two


def test_partition_attention_is_counted_on_its_packed_form_whatever_the_config_says():
    tokens, partitions, half, heads, squeezed = (SIDE // 4)**2, 4, WIDTH // 2, 2, 4
    intra, both = (
        count_complexity(dualformer(paths=paths)).macs
        for paths in (('intra', ), ('intra', 'inter')))
    # What goes between partitions: averages, their importance, their projection, and its sums over
    # heads at the tokens.
    assert both - intra == DEPTH * partitions * (
        tokens * half + half * squeezed + half**2 + heads * tokens * half)
    assert count_complexity(dualformer(impl='literal')).macs == both
    assert count_complexity(dualformer(), 'modules').macs == both


def test_mixing_product_of_lkca_is_counted_in_three_ways():
    tokens, kernel = (SIDE // 4)**2, 2 * (SIDE // 4) - 1
    literal, convolution, modules = (
        count_complexity(lkca(), counting).macs
        for counting in ('literal', 'convolution', 'modules'))
    assert literal - modules == DEPTH * tokens**2 * WIDTH
    assert convolution - modules == DEPTH * tokens * kernel**2 * WIDTH


def test_deployed_network_has_one_convolution_for_four_branches():
    trained, deployed = (count_complexity(linglo(), deployed=flag) for flag in (False, True))
    hidden, tokens = 4 * WIDTH, (SIDE // 4)**2
    branches, merged = 4 * (9 + 2) * hidden, (9 + 1) * hidden  # kernels and norms, kernel and bias
    assert trained.parameters - deployed.parameters == DEPTH * (branches - merged)
    assert trained.macs - deployed.macs >= DEPTH * 3 * 9 * hidden * tokens


def test_deployed_lkca_has_no_value_projections():
    plain, deployed = (count_complexity(lkca(), deployed=flag) for flag in (False, True))
    assert plain.parameters - deployed.parameters == DEPTH * WIDTH**2


def test_backbone_of_another_package_stays_as_it_is():
    cfg = classifier(type='ResNet', depth=18)
    cfg.model.head.in_channels = 512
    assert count_complexity(cfg, deployed=True) == count_complexity(cfg)


@pytest.mark.parametrize('name, megas, gigas', (
    ('mmdet::retinanet/retinanet_r50_fpn_1x_coco.py', 37.7, 239),
    ('mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py', 44.2, 260)))
def test_stock_detectors_have_their_published_counts(name, megas, gigas):
    """At 800 x 1280, as in the paper of PVT, whose parameters leave frozen layers out."""
    counts = count_complexity(get_config(name))
    assert counts.parameters / 1e6 == pytest.approx(megas, rel=1e-2)
    assert counts.macs / 1e9 == pytest.approx(gigas, rel=2e-3)


@pytest.mark.parametrize('crop', ('RandomCrop', 'RandomResizedCrop'))
def test_size_is_that_of_the_training_crop(crop):
    assert image_size(classifier(224, crop)) == (224, 224)
    assert image_size(classifier((64, 48), crop)) == (64, 48)


def test_size_may_be_given_instead():
    cfg = classifier(type='ResNet', depth=18)
    cfg.model.head.in_channels = 512
    head = 512 * CLASSES
    once, twice = (count_complexity(cfg, size=(64, side)).macs - head for side in (64, 128))
    assert twice == 2 * once


def test_config_without_a_crop_is_refused():
    with pytest.raises(ValueError, match=r"none of .* size from: \['LoadImageFromFile', 'Resize'"):
        image_size(classifier(crop='Resize'))


def test_unknown_counting_is_refused():
    with pytest.raises(ValueError, match="one of .*'literal'.* got 'fast'"):
        count_complexity(lkca(), 'fast')
