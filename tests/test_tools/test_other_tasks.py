# Copyright (c) mmvisionmix authors. All rights reserved.
"""Our train and test tools serve classification and detection too, on configs made here."""
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

TOOLS = Path(__file__).resolve().parents[2] / 'tools'

CLASSIFIER = """
_base_ = 'mmpretrain::_base_/default_runtime.py'
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmvisionmix.LKCAViT', img_size=32, patch_size=8,
        arch=dict(embed_dims=16, num_layers=2, mlp_ratio=2)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=2, in_channels=16, topk=(1, )))
pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
loader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='CustomDataset', data_root='images', pipeline=pipeline))
train_dataloader = val_dataloader = test_dataloader = loader
val_evaluator = test_evaluator = dict(type='Accuracy', topk=(1, ))
train_cfg = dict(by_epoch=True, max_epochs=8, val_interval=8)
val_cfg = test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=0.01))
data_preprocessor = dict(num_classes=2, mean=[127.] * 3, std=[127.] * 3)
randomness = dict(seed=0)
"""

DETECTOR = """
_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py', 'mmdet::_base_/default_runtime.py']
model = dict(
    data_preprocessor=dict(pad_size_divisor=8),
    backbone=dict(
        _delete_=True, type='mmvisionmix.LKCAViT', img_size=64, patch_size=8,
        arch=dict(embed_dims=16, num_layers=4, mlp_ratio=2), out_indices=(0, 1, 2, 3)),
    neck=dict(in_channels=[16] * 4, out_channels=16),
    bbox_head=dict(num_classes=1, in_channels=16, feat_channels=16, stacked_convs=1),
    test_cfg=dict(score_thr=0.))
pipeline = [
    dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=(
        'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]
test_pipeline = [pipeline[0], dict(type='Resize', scale=(64, 64)), *pipeline[1:]]
dataset = dict(
    type='CocoDataset', data_root='.', ann_file='instances.json', data_prefix=dict(img='images/a/'),
    metainfo=dict(classes=('thing', )))
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(**dataset, pipeline=pipeline))
val_dataloader = test_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**dataset, test_mode=True, pipeline=test_pipeline))
val_evaluator = test_evaluator = dict(
    type='CocoMetric', ann_file='instances.json', metric='bbox')
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.001))
"""


@pytest.fixture
def pictures(tmp_path):
    """Dark images (class a) and bright ones (class b), and a box in each of the dark ones."""
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for name, low in (('a', 0), ('b', 200)):
        folder = tmp_path / 'images' / name
        folder.mkdir(parents=True)
        for index in range(4):
            pixels = rng.integers(low, low + 50, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f'{index}.png')
    for index in range(4):
        images.append(dict(id=index, file_name=f'{index}.png', width=32, height=32))
        annotations.append(dict(id=index + 1, image_id=index, category_id=1, iscrowd=0, area=144,
                                bbox=[8, 8, 12, 12]))
    (tmp_path / 'instances.json').write_text(json.dumps(dict(
        images=images, annotations=annotations, categories=[dict(id=1, name='thing')])))
    return tmp_path


def train_and_test(run_tool, folder, config, metric):
    (folder / 'config.py').write_text(config)
    run_tool(TOOLS / 'train.py', 'config.py', '--work-dir', 'work', cwd=folder)
    checkpoint = (folder / 'work/last_checkpoint').read_text()
    out = run_tool(TOOLS / 'test.py', 'config.py', checkpoint, '--work-dir', 'work', cwd=folder)
    return float(re.findall(metric + r': (-?[\d.]+)', out)[-1])


def test_classifier_learns_to_tell_dark_from_bright(run_tool, pictures):
    assert train_and_test(run_tool, pictures, CLASSIFIER, 'accuracy/top1') == 100


def test_detector_trains_and_is_evaluated(run_tool, pictures):
    assert 0 <= train_and_test(run_tool, pictures, DETECTOR, 'coco/bbox_mAP') <= 1
