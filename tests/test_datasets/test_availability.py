# Copyright (c) mmvisionmix authors. All rights reserved.
"""Data sets that name no files in their config, as mmpretrain's do, and evaluators that do."""
import contextlib

import pytest
from mmengine.config import Config
from mmengine.utils import get_installed_path

from demo_data import SceneRecipe, write_coco
from mmvisionmix.datasets.availability import check_data

LOADERS = ('train_dataloader', 'val_dataloader')


@pytest.mark.parametrize('kind, layout', (
    ('mmvisionmix.SVHN', 'svhn'), ('mmvisionmix.TinyImageNet', 'tiny-imagenet'),
    ('mmvisionmix.DemoCIFAR10', 'cifar10'), ('ImageNet', 'imagenet')))
def test_check_data_wants_the_root_of_a_data_set_that_names_no_files(tmp_path, kind, layout):
    root = tmp_path / 'root'
    cfg = Config(dict(loader=dict(dataset=dict(type=kind, data_root=str(root), split='train'))))
    with pytest.raises(FileNotFoundError, match=f'make_demo_data.py {layout} --out {root}'):
        check_data(cfg, ('loader', ))
    root.mkdir()
    check_data(cfg, ('loader', ))


@pytest.mark.parametrize('options, error', ((dict(), False), (dict(download=False), True)))
def test_check_data_leaves_what_is_downloaded_to_mmpretrain(tmp_path, options, error):
    dataset = dict(type='CIFAR10', data_root=str(tmp_path / 'cifar10'), split='train', **options)
    cfg = Config(dict(loader=dict(dataset=dataset)))
    with pytest.raises(FileNotFoundError) if error else contextlib.nullcontext():
        check_data(cfg, ('loader', ))


@pytest.fixture
def coco_cfg(tmp_path):
    """mmdetection's own settings for COCO, below a folder that does not exist."""
    cfg = Config.fromfile(get_installed_path('mmdet') + '/.mim/configs/_base_/datasets/'
                          'coco_instance.py')
    place_coco(cfg, tmp_path / 'coco')
    cfg.val_evaluator.ann_file = f'{tmp_path}/coco/annotations/instances_val2017.json'
    return cfg


def place_coco(cfg, root):
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.data_root = f'{root}/'


def test_check_data_tells_how_to_get_coco(tmp_path, coco_cfg):
    with pytest.raises(FileNotFoundError, match=f'make_demo_data.py coco --out {tmp_path}/coco$'):
        check_data(coco_cfg, LOADERS)
    with pytest.raises(FileNotFoundError, match=(
            'point val_dataloader.dataset.data_root and val_evaluator.ann_file at it')):
        check_data(coco_cfg, LOADERS[1:])
    write_coco(tmp_path / 'coco', SceneRecipe(size=32, train=1, val=1))
    check_data(coco_cfg, LOADERS)


@pytest.mark.parametrize('several', (False, True))
def test_check_data_finds_an_evaluator_that_looks_elsewhere(tmp_path, coco_cfg, several):
    write_coco(tmp_path / 'there', SceneRecipe(size=32, train=1, val=1))
    place_coco(coco_cfg, tmp_path / 'there')
    if several:
        coco_cfg.val_evaluator = [dict(type='Other'), coco_cfg.val_evaluator]
    check_data(coco_cfg, LOADERS[:1])
    option = 'val_evaluator.1.ann_file' if several else 'val_evaluator.ann_file'
    with pytest.raises(FileNotFoundError, match=(
            f'coco/annotations/instances_val2017.json does not exist; .*Point {option} at')):
        check_data(coco_cfg, LOADERS)


@pytest.mark.parametrize('evaluator', (
    dict(ann_file='s3://bucket/truth.json'), dict(ann_file='truth.json', backend_args=dict(a=1)),
    dict(ann_file=None), dict()))
def test_check_data_leaves_evaluators_without_local_files_alone(evaluator):
    check_data(Config(dict(val_evaluator=evaluator)), LOADERS)
