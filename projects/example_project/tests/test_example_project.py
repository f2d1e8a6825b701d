# Copyright (c) mmvisionmix authors. All rights reserved.
"""The project that users start from, copied out of the repository and run as its README says."""
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import mmseg
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, DefaultScope
from mmengine.runner import CheckpointLoader
from PIL import Image

from demo_data import CLASSES, SceneRecipe, write_ade20k, write_coco
from demo_data.coco import CATEGORY_IDS
from mmvisionmix._compat import is_installed

ROOT = Path(__file__).resolve().parents[3]
TEMPLATE = ROOT / 'projects/example_project'
OUR_TRAIN = ROOT / 'tools/train.py'
STOCK_TRAIN = Path(mmseg.__file__).parent / '.mim/tools/train.py'
NAMES = ('brick', 'grass', 'gravel')
SCENES = SceneRecipe(size=128, train=8, val=2)
HEADS = dict(path='FPNHead', name='FPNHead', expression='EdgeAwareHead')
LOADERS = [f'{split}_dataloader.{option}' for split in ('train', 'val')
           for option in ('num_workers=0', 'persistent_workers=False')]
SHORT = [*LOADERS, 'default_hooks.checkpoint.save_optimizer=False']
# Numbers in options are those of steps in the pipelines.
SMALL_SEGMENTOR = [
    *SHORT, 'train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'train_dataloader.batch_size=2',
    'default_hooks.logger.interval=1', 'model.data_preprocessor.size="(64,64)"',
    'train_dataloader.dataset.pipeline.2.scale="(256,64)"',
    'train_dataloader.dataset.pipeline.3.crop_size="(64,64)"',
    'val_dataloader.dataset.pipeline.1.scale="(256,64)"']
SMALL_DETECTOR = [
    *SHORT, 'train_cfg.max_epochs=1', 'train_dataloader.dataset.pipeline.2.scale="(64,64)"',
    'val_dataloader.dataset.pipeline.1.scale="(64,64)"', 'model.test_cfg.score_thr=0.']


@pytest.fixture(scope='module')
def project(tmp_path_factory):
    """A copy of the project, with data, beside something that looks like the clone."""
    folder = tmp_path_factory.mktemp('projects') / 'example_project'
    shutil.copytree(TEMPLATE, folder, ignore=shutil.ignore_patterns('__pycache__', 'tests'))
    (folder.parent / 'mmvisionmix').symlink_to(ROOT)
    write_materials(folder / 'data/materials', folder.parent / 'ade20k')
    write_boxes(folder / 'data/boxes', folder.parent / 'coco')
    return folder


@pytest.fixture
def on_path(project, monkeypatch):
    """PYTHONPATH as the README sets it; mmvisionmix stays where it was found."""
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(project), str(ROOT)]))


def write_materials(folder, scratch):
    """Demo scenes under the project's names; what is of another class is not labelled."""
    write_ade20k(scratch, SCENES)
    assert CLASSES[:3] == NAMES
    for ours, theirs in (('train', 'training'), ('val', 'validation')):
        shutil.copytree(scratch / 'images' / theirs, folder / 'images' / ours)
        (folder / 'masks' / ours).mkdir(parents=True)
        for file in (scratch / 'annotations' / theirs).iterdir():
            mask = np.asarray(Image.open(file))
            known = np.where(mask <= len(NAMES), mask, 0).astype(np.uint8)
            Image.fromarray(known).save(folder / 'masks' / ours / file.name)


def write_boxes(folder, scratch):
    """Demo pictures with objects, whose categories are called after their photographs."""
    write_coco(scratch, SCENES)
    (folder / 'annotations').mkdir(parents=True)
    names = dict(zip(CATEGORY_IDS, CLASSES))
    for split in ('train', 'val'):
        shutil.copytree(scratch / f'{split}2017', folder / split)
        truth = json.loads((scratch / f'annotations/instances_{split}2017.json').read_text())
        truth['categories'] = [dict(id=number, name=name) for number, name in names.items()]
        (folder / f'annotations/{split}.json').write_text(json.dumps(truth))


def load_weights(folder):
    """The only checkpoint in a folder: names of the classes, and the weights."""
    file, = folder.glob('*.pth')
    checkpoint = CheckpointLoader.load_checkpoint(str(file), map_location='cpu')
    return checkpoint['meta']['dataset_meta']['classes'], checkpoint['state_dict']


@pytest.mark.parametrize('tool', ('ours', 'stock'))
def test_segmentor_with_a_head_of_its_own_trains(run_tool, project, on_path, tool):
    config = 'configs/segmentor_by_expression.py'
    options = ['--work-dir', f'work/{tool}', '--cfg-options', *SMALL_SEGMENTOR]
    script = STOCK_TRAIN if tool == 'stock' else OUR_TRAIN
    out = run_tool(script, config, *options, cwd=project)
    assert re.search(r'Iter\(train\) \[2/2\].*loss_ce: [\d.]+ .*decode.loss_edge: [\d.]+', out)
    assert re.search(r'Iter\(val\) \[2/2\].*mIoU: [\d.]+', out)
    assert re.findall(r'\| +(\w+) +\| +[\d.na]+ +\|', out) == list(NAMES)
    classes, weights = load_weights(project / 'work' / tool)
    assert classes == NAMES
    assert weights['decode_head.conv_seg.weight'].shape == (3, 128, 1, 1)
    assert weights['decode_head.edge_seg.weight'].shape == (1, 128, 1, 1)
    assert not [name for name in weights if 'scale_heads' in name]  # FPNHead's


def test_detector_trains_by_mim(project, on_path):
    """That is, by the tool of the installed mmdetection."""
    package = 'onedl-mmdetection' if is_installed('onedl-mmdetection') else 'mmdet'
    command = [sys.executable, '-m', 'mim', 'train', package, 'configs/detector.py', '--gpus', '0',
               '--work-dir', 'work/detector', '--cfg-options', *SMALL_DETECTOR]
    result = subprocess.run(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True, timeout=600)
    out = result.stdout
    assert result.returncode == 0, out[-4000:]
    assert 'mmdet/.mim/tools/train.py' in out
    assert re.search(r'Epoch\(val\) \[1\]\[2/2\]    coco/bbox_mAP: [\d.]+', out)
    classes, weights = load_weights(project / 'work/detector')
    assert classes == NAMES
    assert len(weights['bbox_head.retina_cls.weight']) == 9 * 3  # anchors of a place, classes


@pytest.mark.slow
def test_segmentor_trains_and_is_tested_from_the_folder_beside_this_one(run_tool, project, on_path):
    """By the commands of the README."""
    tested = [option.replace('val_', 'test_') for option in SMALL_SEGMENTOR
              if 'val_dataloader' in option]
    options = ['--work-dir', 'work/readme', '--cfg-options', *SMALL_SEGMENTOR, *tested,
               'default_hooks.checkpoint.interval=2']
    config, tools = 'configs/segmentor_by_name.py', '../mmvisionmix/tools'
    run_tool(f'{tools}/train.py', config, *options, cwd=project)
    out = run_tool(f'{tools}/test.py', config, 'work/readme/iter_2.pth', *options, cwd=project)
    assert re.search(r'mIoU: [\d.]+', out)


@pytest.mark.parametrize('way', HEADS)
def test_every_way_to_inherit(project, monkeypatch, way):
    """The package is imported here, so that MMEngine knows its name."""
    monkeypatch.syspath_prepend(str(TEMPLATE))
    monkeypatch.chdir(project)
    cfg = Config.fromfile(f'configs/segmentor_by_{way}.py')
    assert cfg.optim_wrapper.optimizer.type == 'AdamW'
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(cfg.model)
        train, val, test = (DATASETS.build(cfg[f'{split}_dataloader'].dataset)
                            for split in ('train', 'val', 'test'))
    assert type(model.backbone).__module__.startswith('mmvisionmix.')
    assert type(model.decode_head).__name__ == HEADS[way]
    assert model.decode_head.conv_seg.out_channels == model.decode_head.num_classes == 3
    assert (len(train), len(val), len(test)) == (SCENES.train, SCENES.val, SCENES.val)
    assert train.metainfo['classes'] == NAMES
    labels = {label for item in val
              for label in item['data_samples'].gt_sem_seg.data.unique().tolist()}
    assert labels <= {0, 1, 2, 255} and labels & {0, 1, 2}


def test_by_name_is_for_our_tools(run_tool, project, on_path):
    """The stock tool cannot read the config; ours does, and gets as far as to look for the data."""
    config = 'configs/segmentor_by_name.py'
    out = run_tool(STOCK_TRAIN, config, cwd=project, fails=True)
    assert 'mmengine does not support to load mmvisionmix config' in out
    out = run_tool(
        OUR_TRAIN, config, '--cfg-options', 'train_dataloader.dataset.data_root=nowhere',
        cwd=project, fails=True)
    assert 'nowhere/images/train does not exist; train_dataloader reads Materials from there' in out


@pytest.mark.parametrize('name', ('segmentor_by_expression', 'detector'))
def test_pretrained_weights_reach_the_backbone(project, monkeypatch, tmp_path, name):
    """A classifier's checkpoint, given as the README says."""
    monkeypatch.syspath_prepend(str(TEMPLATE))
    cfg = Config.fromfile(project / f'configs/{name}.py')
    cfg.merge_from_dict({'model.backbone.init_cfg.checkpoint': str(tmp_path / 'classifier.pth')})
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
        weights = {f'backbone.{key}': torch.rand(value.shape).to(value)
                   for key, value in model.backbone.state_dict().items()}
        torch.save(dict(state_dict=weights), tmp_path / 'classifier.pth')
        model.init_weights()
    for key, value in model.backbone.state_dict().items():
        assert value.equal(weights[f'backbone.{key}']), key


def test_class_edges(monkeypatch):
    monkeypatch.syspath_prepend(str(TEMPLATE))
    class_edges = importlib.import_module('example_project.heads').class_edges
    labels = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 255, 255, 2]])[None, None]
    assert class_edges(labels, 1).flatten().tolist() == [0, 0, 0, 1, 1, 0, 0, 255, 255, 0]
    assert class_edges(labels, 2).flatten().tolist() == [0, 0, 1, 1, 1, 1, 0, 255, 255, 0]
    assert class_edges(labels.mT, 3).flatten().tolist() == [0, 1, 1, 1, 1, 1, 1, 255, 255, 1]
    assert class_edges(torch.full_like(labels, 255), 1).eq(255).all()
