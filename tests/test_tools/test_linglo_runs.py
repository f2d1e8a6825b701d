# Copyright (c) mmvisionmix authors. All rights reserved.
"""LinGlo's entry recipes on demo data, through our tool and the stock one of each codebase."""
import re
from importlib import import_module
from pathlib import Path

import pytest

from mmvisionmix.datasets.demo_data import (
    Recipe,
    SceneRecipe,
    write_ade20k,
    write_coco,
    write_imagenet,
)

ROOT = Path(__file__).resolve().parents[2]
SCENES = SceneRecipe(size=128, train=8, val=4)
# Codebase, what writes the data, what makes a run short, and the metric it ends with. Numbers in
# options are those of steps in the pipelines.
RECIPES = {
    'linglo_b0_imagenet': (
        'mmpretrain', lambda out: write_imagenet(out, Recipe(train=20, val=10)),
        ['train_cfg.max_epochs=1', 'train_dataloader.batch_size=10',
         'train_dataloader.dataset.pipeline.1.scale=64',
         'val_dataloader.dataset.pipeline.2.crop_size=64'],
        r'Epoch\(val\) \[1\]\[1/1\]    accuracy/top1: [\d.]+'),
    'retinanet_linglo_b0_coco': (
        'mmdet', lambda out: write_coco(out, SCENES),
        ['train_cfg.max_epochs=1', 'model.test_cfg.score_thr=0.',
         'train_dataloader.dataset.pipeline.2.scale="(64,64)"',
         'val_dataloader.dataset.pipeline.1.scale="(64,64)"',
         'val_evaluator.ann_file={data}/annotations/instances_val2017.json'],
        r'Epoch\(val\) \[1\]\[4/4\]    coco/bbox_mAP: [\d.]+'),
    'fpn_linglo_b0_ade20k': (
        'mmseg', lambda out: write_ade20k(out, SCENES),
        ['train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'train_dataloader.batch_size=2',
         'model.data_preprocessor.size="(64,64)"',
         'train_dataloader.dataset.pipeline.2.scale="(256,64)"',
         'train_dataloader.dataset.pipeline.3.crop_size="(64,64)"',
         'val_dataloader.dataset.pipeline.1.scale="(256,64)"'],
        r'Iter\(val\) \[4/4\] .*mIoU: [\d.]+'),
}


@pytest.mark.parametrize('tool', ('ours', 'stock'))
@pytest.mark.parametrize('recipe', RECIPES)
def test_trains_and_validates(run_tool, tmp_path, recipe, tool):
    codebase, write, options, metric = RECIPES[recipe]
    script = ROOT / 'tools/train.py'
    if tool == 'stock':
        script = Path(import_module(codebase).__file__).parent / '.mim/tools/train.py'
    write(tmp_path / 'data')
    options = [option.format(data=tmp_path / 'data') for option in options]
    for loader in ('train', 'val'):
        options += [f'{loader}_dataloader.num_workers=0',
                    f'{loader}_dataloader.persistent_workers=False',
                    f'{loader}_dataloader.dataset.data_root={tmp_path}/data']
    out = run_tool(
        script, ROOT / f'configs/{recipe}.py', '--work-dir', tmp_path / 'work', '--cfg-options',
        *options, cwd=tmp_path)
    assert re.search(metric, out)
    assert list((tmp_path / 'work').glob('*.pth'))
    assert ('LinGlo starts from scratch' in out) == (codebase != 'mmpretrain')
