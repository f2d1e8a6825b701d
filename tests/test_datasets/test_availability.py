# Copyright (c) mmvisionmix authors. All rights reserved.
"""What a config reads is there, or its absence is told before training starts."""
from contextlib import nullcontext

import pytest
from mmengine.config import Config
from mmengine.utils import get_installed_path

from demo_data import SceneRecipe, write_coco
from mmvisionmix.datasets.availability import check_data

LOADERS = ('train_dataloader', 'val_dataloader')


class SVHN:
    """A type may be a class."""


@pytest.mark.parametrize('kind, layout', (
    ('mmvisionmix.SVHN', 'svhn'), (SVHN, 'svhn'), ('mmvisionmix.TinyImageNet', 'tiny-imagenet'),
    ('mmvisionmix.DemoCIFAR10', 'cifar10'), ('ImageNet', 'imagenet')))
def test_the_root_of_a_data_set_that_names_no_files_is_wanted(tmp_path, kind, layout):
    root = tmp_path / 'root'
    cfg = dict(loader=dict(dataset=dict(type=kind, data_root=str(root), split='train')))
    with pytest.raises(FileNotFoundError, match=f'make_demo_data.py {layout} --out {root}'):
        check_data(cfg, ('loader', ))
    root.mkdir()
    check_data(cfg, ('loader', ))


@pytest.mark.parametrize('options, error', ((dict(), False), (dict(download=False), True)))
def test_what_is_downloaded_is_left_to_mmpretrain(tmp_path, options, error):
    dataset = dict(type='CIFAR10', data_root=str(tmp_path / 'cifar10'), split='train', **options)
    with pytest.raises(FileNotFoundError) if error else nullcontext():
        check_data(dict(loader=dict(dataset=dataset)), ('loader', ))


def test_wrappers_are_looked_into(tmp_path):
    inner = dict(type='CocoDataset', data_root=str(tmp_path), ann_file='instances.json',
                 data_prefix=dict(img=''))
    cfg = dict(train_dataloader=dict(dataset=dict(
        type='RepeatDataset', dataset=dict(type='ConcatDataset', datasets=[inner]))))
    with pytest.raises(FileNotFoundError, match='instances.json does not exist; train_dataloader'):
        check_data(cfg, LOADERS)
    (tmp_path / 'instances.json').touch()
    check_data(cfg, LOADERS)


@pytest.mark.parametrize('cfg', (
    *(dict(val_dataloader=dict(dataset=dict(
        dict(type='CocoDataset', data_prefix=dict(img=''), ann_file='a.json'), **where)))
      for where in (dict(data_root='s3://bucket/coco'), dict(ann_file='https://host/a.json'),
                    dict(data_root='coco', backend_args=dict(backend='petrel')))),
    *(dict(val_evaluator=evaluator) for evaluator in (
        dict(ann_file='s3://bucket/truth.json'), dict(ann_file='t.json', backend_args=dict(a=1)),
        dict(ann_file=None), dict()))))
def test_what_lies_elsewhere_is_left_alone(cfg):
    check_data(cfg, LOADERS)


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


def test_ways_to_get_coco_are_told(tmp_path, coco_cfg):
    with pytest.raises(FileNotFoundError, match=f'make_demo_data.py coco --out {tmp_path}/coco$'):
        check_data(coco_cfg, LOADERS)
    with pytest.raises(FileNotFoundError, match=(
            'point val_dataloader.dataset.data_root and val_evaluator.ann_file at it')):
        check_data(coco_cfg, LOADERS[1:])
    write_coco(tmp_path / 'coco', SceneRecipe(size=32, train=1, val=1))
    check_data(coco_cfg, LOADERS)


def test_demo_data_are_offered_in_place_of_coco_alone(tmp_path):
    data = dict(type='CocoDataset', data_root=str(tmp_path), ann_file='annotations/train.json')
    with pytest.raises(FileNotFoundError, match='train.json does not exist') as error:
        check_data(dict(loader=dict(dataset=data)), ('loader', ))
    assert 'make_demo_data' not in str(error.value)


@pytest.mark.parametrize('several', (False, True))
def test_an_evaluator_that_looks_elsewhere_is_found(tmp_path, coco_cfg, several):
    write_coco(tmp_path / 'there', SceneRecipe(size=32, train=1, val=1))
    place_coco(coco_cfg, tmp_path / 'there')
    if several:
        coco_cfg.val_evaluator = [dict(type='Other'), coco_cfg.val_evaluator]
    check_data(coco_cfg, LOADERS[:1])
    option = 'val_evaluator.1.ann_file' if several else 'val_evaluator.ann_file'
    with pytest.raises(FileNotFoundError, match=(
            f'coco/annotations/instances_val2017.json does not exist; .*Point {option} at')):
        check_data(coco_cfg, LOADERS)
