# Copyright (c) mmvisionmix authors. All rights reserved.
"""Entry recipes on demo data: all through our tool, and one per codebase through the stock one."""
import re
from importlib import import_module
from pathlib import Path

import pytest

import demo_data
from demo_data import Recipe, SceneRecipe

ROOT = Path(__file__).resolve().parents[2]
SCENES = SceneRecipe(size=128, train=4, val=2)
SMALL_DETECTOR = [
    'train_cfg.max_epochs=1', 'train_dataloader.dataset.pipeline.2.scale="(64,64)"',
    'val_dataloader.dataset.pipeline.1.scale="(64,64)"',
    'val_evaluator.ann_file={data}/annotations/instances_val2017.json']
# Codebase, what writes the data and how much of them, what makes a run short, and the metrics it
# ends with. Numbers in options are those of steps in the pipelines.
TASKS = {
    'imagenet': (
        'mmpretrain', demo_data.write_imagenet, Recipe(train=20, val=10),
        ['train_cfg.max_epochs=1', 'train_dataloader.batch_size=10',
         'train_dataloader.dataset.pipeline.1.scale=64',
         'val_dataloader.dataset.pipeline.2.crop_size=64'],
        r'Epoch\(val\) \[1\]\[1/1\]    accuracy/top1: [\d.]+'),
    'retinanet': (
        'mmdet', demo_data.write_coco, SCENES, [*SMALL_DETECTOR, 'model.test_cfg.score_thr=0.'],
        r'Epoch\(val\) \[1\]\[2/2\]    coco/bbox_mAP: [\d.]+'),
    'mask-rcnn': (
        'mmdet', demo_data.write_coco, SCENES,
        [*SMALL_DETECTOR, 'model.test_cfg.rcnn.score_thr=0.', 'model.test_cfg.rcnn.max_per_img=10',
         'model.train_cfg.rcnn.sampler.num=32'],
        r'Epoch\(val\) \[1\]\[2/2\]    coco/bbox_mAP: [\d.]+ .* coco/segm_mAP: [\d.]+'),
    'panoptic-fpn': (
        'mmdet', demo_data.write_coco, SCENES,
        [*SMALL_DETECTOR[:3], 'val_evaluator.ann_file={data}/annotations/panoptic_val2017.json',
         'val_evaluator.seg_prefix={data}/annotations/panoptic_val2017/'],
        r'Epoch\(val\) \[1\]\[2/2\]    coco_panoptic/PQ: [\d.]+'),
    'mask2former': (
        'mmdet', demo_data.write_coco, SCENES,
        ['train_cfg.max_iters=2', 'train_cfg.val_interval=2', SMALL_DETECTOR[2], SMALL_DETECTOR[3],
         'model.data_preprocessor.batch_augments.0.size="(64,64)"',
         'model.panoptic_head.transformer_decoder.num_layers=1',
         'train_dataloader.dataset.pipeline.3.scale="(64,64)"',
         'train_dataloader.dataset.pipeline.4.crop_size="(64,64)"'],
        r'Iter\(val\) \[2/2\] .*coco/segm_mAP: [\d.]+'),
    'rtmdet': (
        'mmdet', demo_data.write_coco, SCENES,
        # After one step all boxes may be of width 0.
        ['train_cfg.max_epochs=1', SMALL_DETECTOR[3], 'model.test_cfg.min_bbox_size=-1',
         *(f'train_dataloader.dataset.pipeline.{option}="(64,64)"' for option in (
             '2.img_scale', '3.scale', '4.crop_size', '7.size', '8.img_scale')),
         *(f'val_dataloader.dataset.pipeline.{option}="(64,64)"' for option in (
             '1.scale', '2.size'))],
        r'Epoch\(val\) \[1\]\[1/1\]    coco/bbox_mAP: [\d.]+'),
    'segmentation': (
        'mmseg', demo_data.write_ade20k, SCENES,
        ['train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'train_dataloader.batch_size=2',
         'model.data_preprocessor.size="(64,64)"',
         'train_dataloader.dataset.pipeline.2.scale="(256,64)"',
         'train_dataloader.dataset.pipeline.3.crop_size="(64,64)"',
         'val_dataloader.dataset.pipeline.1.scale="(256,64)"'],
        r'Iter\(val\) \[2/2\] .*mIoU: [\d.]+'),
}
# Of LinGlo's own recipes, test_stock_tools.py trains the others.
OURS, STOCK, BOTH = ('ours', ), ('stock', ), ('ours', 'stock')
# Backbone, task, and the tools to run with.
RECIPES = {
    'linglo_b0_imagenet': ('LinGlo', 'imagenet', OURS),
    'retinanet_linglo_b0_coco': ('LinGlo', 'retinanet', OURS),
    'fpn_linglo_b0_ade20k': ('LinGlo', 'segmentation', OURS),
    'mcganet_imagenet': ('MCGANet', 'imagenet', OURS),
    'retinanet_mcganet_coco': ('MCGANet', 'retinanet', OURS),
    'mask_rcnn_mcganet_coco': ('MCGANet', 'mask-rcnn', BOTH),
    'fpn_mcganet_ade20k': ('MCGANet', 'segmentation', OURS),
    'dualformer_xs_imagenet': ('DualFormer', 'imagenet', BOTH),
    'mask_rcnn_dualformer_xs_coco': ('DualFormer', 'mask-rcnn', OURS),
    'upernet_dualformer_s_ade20k': ('DualFormer', 'segmentation', BOTH),
    'panoptic_fpn_linglo_b2_coco': ('LinGlo', 'panoptic-fpn', BOTH),
    'mask2former_linglo_b2_coco': ('LinGlo', 'mask2former', STOCK),
    'rtmdet_mcganet_coco': ('MCGANet', 'rtmdet', OURS),
    'segformer_dualformer_s_ade20k': ('DualFormer', 'segmentation', STOCK),
    'mask_rcnn_lkca_s_coco': ('LKCAViT', 'mask-rcnn', OURS),
}
RUNS = [(recipe, tool) for recipe, (_, _, tools) in RECIPES.items() for tool in tools]


def script(codebase, tool):
    folder = ROOT if tool == 'ours' else Path(import_module(codebase).__file__).parent / '.mim'
    return folder / 'tools/train.py'


@pytest.mark.parametrize('recipe, tool', RUNS)
def test_trains_and_validates(run_tool, tmp_path, tmp_path_factory, recipe, tool):
    backbone, task, _ = RECIPES[recipe]
    codebase, write, amount, options, metrics = TASKS[task]
    if task == 'panoptic-fpn':
        pytest.importorskip('panopticapi', reason='PyPI does not have it: docs/works_with.md')
    data = tmp_path_factory.getbasetemp() / codebase
    write(data, amount)
    options = [option.format(data=data) for option in options]
    for loader in ('train', 'val'):
        options += [f'{loader}_dataloader.num_workers=0',
                    f'{loader}_dataloader.persistent_workers=False',
                    f'{loader}_dataloader.dataset.data_root={data}']
    out = run_tool(
        script(codebase, tool), ROOT / f'configs/{recipe}.py', '--work-dir', 'work',
        '--cfg-options', *options, cwd=tmp_path)
    assert re.search(metrics, out)
    assert list((tmp_path / 'work').glob('*.pth'))
    waits = codebase != 'mmpretrain' and backbone != 'LKCAViT'
    assert (f'{backbone} starts from scratch' in out) == waits


@pytest.mark.parametrize('data, network, write, kind, tool', (
    ('cifar10', 'lkca', demo_data.write_cifar10, 'DemoCIFAR10', 'ours'),
    ('cifar100', 'lkca', demo_data.write_cifar100, 'DemoCIFAR100', 'stock'),
    ('svhn', 'vit', demo_data.write_svhn, '', 'ours'),
    ('svhn', 'vit', demo_data.write_svhn, '', 'stock'),
    ('tiny-imagenet', 'lkca', demo_data.write_tiny_imagenet, '', 'ours')))
def test_classifiers_of_small_images_train(run_tool, tmp_path, data, network, write, kind, tool):
    write(tmp_path / 'data', Recipe(train=20, val=10))
    options = ['train_cfg.max_epochs=1']
    for loader in ('train', 'val', 'test'):
        options += [f'{loader}_dataloader.{option}' for option in (
            'batch_size=10', 'num_workers=0', 'persistent_workers=False', 'dataset.data_root=data')]
        if kind:
            options.append(f'{loader}_dataloader.dataset.type=mmvisionmix.{kind}')
    out = run_tool(
        script('mmpretrain', tool), ROOT / f'configs/lkca/{network}-1m_1xb128-100e_{data}.py',
        '--work-dir', 'work', '--cfg-options', *options, cwd=tmp_path)
    assert re.search(r'Epoch\(val\) \[1\]\[1/1\]    accuracy/top1: [\d.]+', out)
    assert (tmp_path / 'work/epoch_1.pth').exists()
