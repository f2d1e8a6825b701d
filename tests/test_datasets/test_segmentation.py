# Copyright (c) mmvisionmix authors. All rights reserved.
"""Small real data sets: files as their repositories have them, made anew in small."""
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


def save(values, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(path)


def camvid(root, **options):
    init_default_scope('mmseg')
    return DATASETS.build(dict(
        type='mmvisionmix.CamVid', data_root=str(root), **options,
        data_prefix=dict(img_path='val', seg_map_path='valannot'),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]))


@pytest.mark.parametrize('options, labels', (
    (dict(), (0, 10, 255)), (dict(metainfo=dict(classes=('Bicyclist', 'Void'))), (255, 0, 1))))
def test_camvid_learns_the_classes_asked_for_and_ignores_the_rest(tmp_path, options, labels):
    save(np.zeros((2, 3, 3)), tmp_path / 'val/0001TP.png')
    save([[0, 10, 11]] * 2, tmp_path / 'valannot/0001TP.png')
    dataset = camvid(tmp_path, **options)
    assert dataset[0]['gt_seg_map'].tolist() == [list(labels)] * 2
    assert len(dataset.metainfo['classes']) == len(dataset.metainfo['palette'])


def test_nuclei_become_objects_with_masks(tmp_path):
    """One mask file per nucleus, of any shape; empty ones are none. test_real_configs.py trains."""
    for number in range(6):
        folder = tmp_path / f'stage1_train/{number:02}'
        save(np.zeros((40, 50, 3)), folder / f'images/{number:02}.png')
        mask = np.zeros((40, 50))
        save(mask, folder / 'masks/empty.png')
        mask[3:8, 10:14] = 255
        mask[4, 11] = 0  # a hole
        save(mask, folder / 'masks/one.png')
    result = subprocess.run(
        [sys.executable, str(ROOT / 'tools/dataset_tools/nuclei_to_coco.py'), str(tmp_path)],
        text=True, capture_output=True)
    assert result.stdout.splitlines() == [
        f'{tmp_path}/annotations/train.json: 4 pictures, 4 nuclei',
        f'{tmp_path}/annotations/val.json: 2 pictures, 2 nuclei']
    annotation = json.loads((tmp_path / 'annotations/val.json').read_text())['annotations'][0]
    assert (annotation['bbox'], annotation['area']) == ([10, 3, 4, 5], 19)
