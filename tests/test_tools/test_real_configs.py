# Copyright (c) mmvisionmix authors. All rights reserved.
"""configs/real trains and evaluates on files laid out as the public repositories have them."""
import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from common import build_model
from inspection import Inspection
from mmcv.cnn.bricks import DropPath
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from mmpretrain.datasets.categories import CIFAR10_CATEGORIES
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
RNG = np.random.default_rng(0)
CELL = """<annotation><size><width>64</width><height>48</height><depth>3</depth></size><object>
<name>RBC</name><bndbox><xmin>9</xmin><ymin>9</ymin><xmax>30</xmax><ymax>31</ymax></bndbox>
</object><object><name>RBC</name><bndbox>
<xmin>40</xmin><ymin>9</ymin><xmax>40</xmax><ymax>9</ymax></bndbox></object></annotation>"""


def save(path, values=None, size=(48, 64, 3)):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = RNG.integers(0, 256, size) if values is None else values
    Image.fromarray(values.astype(np.uint8)).save(path)


def write_camvid(root):
    for part in ('train', 'val', 'test'):
        for number in range(4):
            save(root / f'camvid/CamVid/{part}/{number}.png')
            save(root / f'camvid/CamVid/{part}annot/{number}.png', RNG.integers(0, 12, (48, 64)))


def write_bccd(root):
    folder = root / 'bccd/BCCD'
    for part in ('Annotations', 'ImageSets/Main'):
        (folder / part).mkdir(parents=True)
    for number in range(4):
        save(folder / f'JPEGImages/{number}.jpg')
        (folder / f'Annotations/{number}.xml').write_text(CELL)
    for part in ('train', 'val', 'test'):
        (folder / f'ImageSets/Main/{part}.txt').write_text('0\n1\n2\n3\n')


def write_nuclei(root):
    mask = np.zeros((48, 64))
    mask[9:31, 9:30] = 255
    for number in range(8):
        folder = root / f'nuclei/stage1_train/{number}'
        save(folder / f'images/{number}.png')
        save(folder / 'masks/0.png', mask)


def write_cifar(root):
    for part in ('train', 'test'):
        for name in CIFAR10_CATEGORIES:
            save(root / f'cifar10-images/{part}/{name}/0001.jpg', size=(32, 32, 3))


SHORT = ['train_cfg.max_iters=2', 'train_cfg.val_interval=2']
DETECTOR = ['model.data_preprocessor.pad_size_divisor=32', *SHORT]
# Config, what writes its data, what makes the run short, and the metrics that it ends with.
CASES = {
    'camvid': (
        'linglo-b0_fpn_1xb4-1500_camvid-240x320', write_camvid,
        [*SHORT, 'model.data_preprocessor.size="(32,48)"',
         'train_dataloader.dataset.pipeline.2.scale="(64,48)"',
         'train_dataloader.dataset.pipeline.3.crop_size="(32,48)"'], r'mIoU: [\d.]+'),
    'nuclei': (
        'mcganet_mask-rcnn_1xb4-1000_nuclei-256x256', write_nuclei,
        [*DETECTOR, 'model.test_cfg.rcnn.score_thr=0.', 'model.test_cfg.rcnn.max_per_img=5',
         'val_dataloader.dataset.pipeline.1.scale="(64,64)"'],
        r'coco/bbox_mAP: [\d.]+ .* coco/segm_mAP: [\d.]+'),
    'bccd': (
        'mcganet_retinanet_1xb4-1000_bccd-240x320', write_bccd,
        [*DETECTOR, 'model.test_cfg.score_thr=0.',
         'train_dataloader.dataset.pipeline.2.scale="(64,48)"',
         'val_dataloader.dataset.pipeline.1.scale="(64,48)"'], r'pascal_voc/AP50: [\d.]+'),
    'cifar': ('lkca-0.5m_1xb128-100e_cifar10-images', write_cifar,
              ['train_cfg.max_epochs=1', 'train_dataloader.batch_size=10'],
              r'accuracy/top1: [\d.]+'),
}
STOCK = dict(camvid='mmseg', nuclei='mmdet', bccd='mmdet', cifar='mmpretrain')


@pytest.mark.parametrize('tools', ('ours', 'stock'))
@pytest.mark.parametrize('case', CASES)
def test_training_evaluates(run_tool, tmp_path, case, tools):
    name, write, options, metrics = CASES[case]
    write(tmp_path / 'data')
    if case == 'nuclei':
        run_tool(ROOT / 'tools/dataset_tools/nuclei_to_coco.py', 'data/nuclei', cwd=tmp_path)
    folder = ROOT / 'tools' if tools == 'ours' else Path(
        importlib.util.find_spec(STOCK[case]).origin).parent / '.mim/tools'
    amp = ['--amp'] if tools == 'ours' and case != 'nuclei' else []
    out = run_tool(
        folder / 'train.py', ROOT / f'configs/real/{name}.py', *amp, '--cfg-options',
        'train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False',
        'val_dataloader.num_workers=0', 'val_dataloader.persistent_workers=False', *options,
        cwd=tmp_path)
    assert re.search(rf'\(val\) .*{metrics}', out)
    assert not re.search('loss.*: (inf|nan)', out)


@pytest.mark.parametrize(
    'file', sorted((ROOT / 'configs/real').glob('*.py')), ids=lambda file: file.stem)
def test_networks_are_trained_alike(file):
    """By one recipe per data set. Stock ones by themselves leave norms untrained, or drop paths."""
    data = file.stem.rpartition('_')[2]
    cfg, first = (Config.fromfile(path).to_dict() for path in (
        file, sorted(file.parent.glob(f'*_{data}.py'))[0]))
    for key in ('train_dataloader', 'val_dataloader', 'test_dataloader', 'optim_wrapper',
                'param_scheduler', 'train_cfg'):
        assert cfg[key] == first[key]
    parts = list(build_model(Config(cfg)).train().modules())
    assert all(part.training for part in parts)
    rates = {float(part.drop_prob or 0) for part in parts if isinstance(part, DropPath)}
    assert rates <= {0.1 if 'cifar' in file.name else 0.}


def test_empty_boxes_that_train_are_found(tmp_path):
    write_bccd(tmp_path)
    cfg = Config.fromfile(ROOT / 'configs/real/mcganet_retinanet_1xb4-1000_bccd-240x320.py')
    init_default_scope('mmdet')
    dataset = {**cfg.train_dataloader.dataset, 'data_root': str(tmp_path / 'bccd/BCCD')}
    assert Inspection(DATASETS.build(dataset), cfg.model)[0].fault is None
    del dataset['filter_cfg']
    found = Inspection(DATASETS.build(dataset), cfg.model)[0].fault
    assert found.startswith('the box from (39, 8) to (39, 8) is empty')
