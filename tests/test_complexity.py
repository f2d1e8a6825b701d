# Copyright (c) mmvisionmix authors. All rights reserved.
"""Parameters and multiply-adds, beside what can be computed by hand or is published."""
import pytest
from mmengine.config import Config
from mmengine.hub import get_config

from mmvisionmix import config_path
from mmvisionmix.complexity import COUNTINGS, count_complexity, image_size
from mmvisionmix.models import LinGlo

WIDTH, DEPTH, SIDE, CLASSES = 16, 2, 32, 10
TOKENS = (SIDE // 4)**2
PYRAMID = dict(embed_dims=(WIDTH, ), depths=(DEPTH, ), mlp_ratios=(4, ))
BACKBONES = dict(
    LinGlo=dict(arch=dict(PYRAMID, num_heads=(2, )), layout='h', patch_sizes=(4, )),
    MCGANet=dict(arch=dict(PYRAMID, num_heads=(2, ))),
    DualFormer=dict(arch=dict(PYRAMID, reductions=(1, )), num_heads=2),
    LKCAViT=dict(img_size=SIDE, patch_size=4,
                 arch=dict(embed_dims=WIDTH, num_layers=DEPTH, mlp_ratio=2)))


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


def own(name, **options):
    return classifier(
        type=f'mmvisionmix.{name}', out_indices=-1, **{**BACKBONES[name], **options})


def resnet():
    cfg = classifier(type='ResNet', depth=18)
    cfg.model.head.in_channels = 512
    return cfg


def macs(name, counting='literal', **options):
    return count_complexity(own(name, **options), counting).macs


# What an option adds in each block.
KERNEL, GROUPS, PARTITIONS, HALF, HEADS, SQUEEZED = 5, 8, 4, WIDTH // 2, 2, 4
ADDED = [
    # Products of tokens by tokens, with keys and with values; there are four projections in either.
    ('LinGlo', dict(), dict(attention='dot-product'), 2 * TOKENS**2 * WIDTH),
    # A branch: its convolution, both products with groups, the projection of tokens, and those of
    # keys and values.
    ('MCGANet', dict(kernel_sizes=(3, )), dict(kernel_sizes=(3, KERNEL)),
     TOKENS * WIDTH * (KERNEL**2 + 2 * GROUPS + WIDTH) + 2 * GROUPS * WIDTH**2),
    # What goes between partitions: averages, what they weigh at the tokens, their importance, and
    # the projection of tokens.
    ('DualFormer', dict(paths=('intra', )), dict(paths=('intra', 'inter')),
     PARTITIONS * (2 * TOKENS * HALF + (HALF + HEADS) * SQUEEZED) + TOKENS * HALF**2),
]


@pytest.mark.parametrize('name, before, after, added', ADDED)
def test_mixers_are_counted_by_their_formula_whatever_the_config_says(name, before, after, added):
    less, more = macs(name, **before), macs(name, **after)
    assert more - less == DEPTH * added
    assert macs(name, impl='literal', **after) == more
    assert macs(name, 'modules', **after) == (less if name == 'LinGlo' else more)


def test_mixing_product_of_lkca_is_counted_in_three_ways():
    literal, convolution, modules = (
        macs('LKCAViT', counting) for counting in ('literal', 'convolution', 'modules'))
    assert literal - modules == DEPTH * TOKENS**2 * WIDTH
    assert convolution - modules == DEPTH * TOKENS * (2 * (SIDE // 4) - 1)**2 * WIDTH


@pytest.mark.parametrize('name', BACKBONES)
def test_deployed_counts_fold_convolutions_and_norms_and_no_formula(name):
    """LinGlo has one convolution for four branches, LKCA no value projections, MCGANet the same."""
    plain, deployed = (count_complexity(own(name), deployed=flag) for flag in (False, True))
    hidden = 4 * WIDTH
    branches, merged = 4 * (9 + 2) * hidden, (9 + 1) * hidden  # kernels and norms, kernel and bias
    fewer = dict(LinGlo=branches - merged, MCGANet=0, LKCAViT=WIDTH**2)
    least = dict(LinGlo=3 * 9 * hidden * TOKENS, MCGANet=0, LKCAViT=TOKENS * WIDTH**2)
    saved = plain.parameters - deployed.parameters
    assert saved == DEPTH * fewer[name] if name in fewer else saved > 0
    assert plain.macs - deployed.macs >= DEPTH * least.get(name, 1)
    assert (plain.macs == deployed.macs) == (name == 'MCGANet')


@pytest.mark.parametrize('name, megas, gigas', (
    ('mmdet::retinanet/retinanet_r50_fpn_1x_coco.py', 37.7, 239),
    ('mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py', 44.2, 260)))
def test_stock_detectors_have_their_published_counts(name, megas, gigas):
    """At 800 x 1280, as in the paper of PVT, whose parameters leave frozen layers out."""
    counts = count_complexity(get_config(name))
    assert counts.parameters / 1e6 == pytest.approx(megas, rel=1e-2)
    assert counts.macs / 1e9 == pytest.approx(gigas, rel=2e-3)


def test_semantic_heads_count_and_products_of_other_heads_stay():
    panoptic, mask2former = (Config.fromfile(config_path(f'{name}_linglo_b2_coco'))
                             for name in ('panoptic_fpn', 'mask2former'))
    before = count_complexity(panoptic, size=(64, 64)).macs
    panoptic.model.semantic_head.inner_channels *= 2
    assert count_complexity(panoptic, size=(64, 64)).macs > before
    assert len({count_complexity(mask2former, how, size=(64, 64)) for how in COUNTINGS}) == 1


def test_size_is_that_of_the_training_crop_or_given():
    for crop in ('RandomCrop', 'RandomResizedCrop'):
        assert image_size(classifier(224, crop)) == (224, 224)
        assert image_size(classifier((64, 48), crop)) == (64, 48)
    once, twice = (count_complexity(resnet(), size=(64, side)).macs - 512 * CLASSES
                   for side in (64, 128))
    assert twice == 2 * once
    assert count_complexity(resnet(), deployed=True) == count_complexity(resnet())
    named, classed = own('LinGlo'), own('LinGlo')
    classed.model.backbone.type = LinGlo
    assert count_complexity(classed) == count_complexity(named)
    with pytest.raises(ValueError, match=r"none of .* size from: \['LoadImageFromFile', 'Resize'"):
        image_size(classifier(crop='Resize'))
    with pytest.raises(ValueError, match="one of .*'literal'.* got 'fast'"):
        count_complexity(own('LKCAViT'), 'fast')
