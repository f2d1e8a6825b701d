# Copyright (c) mmvisionmix authors. All rights reserved.
"""Data sets that name no files in their config, as mmpretrain's do (``split='train'``)."""
import contextlib

import pytest
from mmengine.config import Config

from mmvisionmix.datasets.availability import check_data


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
