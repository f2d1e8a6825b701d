# Copyright (c) mmvisionmix authors. All rights reserved.
"""What runs without mmcv's compiled operators, and what is refused.

Where mmcv has its operators they are hidden; with mmcv-lite there is nothing to hide.
"""
import re
import subprocess
import sys
from pathlib import Path

import pytest

from demo_data import Recipe, write_imagenet

ROOT = Path(__file__).resolve().parent.parent
HIDE = 'import sys; sys.modules["mmcv._ext"] = None; '
RUN = HIDE + (
    'import os, runpy; del sys.argv[0]; sys.path.insert(0, os.path.dirname(sys.argv[0])); '
    'runpy.run_path(sys.argv[0], run_name="__main__")')
LOADERS = ('train', 'val', 'test')


def python(code, *args, cwd=None):
    """Runs code in a fresh interpreter; returns the finished process, with all it wrote."""
    return subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code, *map(str, args)], cwd=cwd, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def run_tool(tool, *args, data, options, cwd):
    options = [*options, *(f'{loader}_dataloader.{option}' for loader in LOADERS for option in (
        'num_workers=0', 'persistent_workers=False', f'dataset.data_root={data}'))]
    result = python(RUN, ROOT / 'tools' / tool, *args, '--cfg-options', *options, cwd=cwd)
    assert result.returncode == 0, result.stdout[-4000:]
    return result.stdout


def test_a_segmentor_is_trained_and_tested(demo_ade20k, tmp_path):
    config = ROOT / 'configs/toy/lkca_upernet_demo-ade20k.py'
    common = dict(data=demo_ade20k, cwd=tmp_path, options=[
        'train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'train_dataloader.batch_size=2'])
    out = run_tool('train.py', config, **common)
    score = re.search(r'Iter\(val\) \[1/1\].* mIoU: (\S+) ', out).group(1)
    checkpoint = tmp_path / f'work_dirs/{config.stem}/iter_2.pth'
    assert f'mIoU: {score} ' in run_tool('test.py', config, checkpoint, **common)


def test_a_classifier_is_trained(tmp_path):
    write_imagenet(tmp_path / 'imagenet', Recipe(train=20, val=10))
    out = run_tool(
        'train.py', ROOT / 'configs/linglo_b0_imagenet.py', data=tmp_path / 'imagenet',
        cwd=tmp_path, options=[
            'train_cfg.max_epochs=1', 'train_dataloader.batch_size=10',
            'train_dataloader.dataset.pipeline.1.scale=64',
            'val_dataloader.dataset.pipeline.2.crop_size=64'])
    assert 'accuracy/top1: ' in out


def test_points_are_sampled_without_operators():
    """The one function of the stand-in that computes: at a pixel's centre, the pixel."""
    out = python(HIDE + """
import mmvisionmix, torch
from mmcv.ops import point_sample
image = torch.arange(6.).reshape(1, 1, 2, 3)
out = point_sample(image, torch.tensor([[[.5 / 3, .25], [2.5 / 3, .75]]]))
print([round(value, 5) for value in out.flatten().tolist()])
""").stdout
    assert out.split('\n')[0] == '[0.0, 5.0]', out


@pytest.mark.parametrize('code, error', [
    ('from mmcv.ops import batched_nms', 'ModuleNotFoundError: mmcv.ops.batched_nms is one of'),
    ('import mmcv; mmcv.ops.sigmoid_focal_loss()', 'ModuleNotFoundError: mmcv.ops.sigmoid_focal'),
    ('import mmdet.models', 'ModuleNotFoundError: .*mmcv._ext')])
def test_what_needs_operators_is_refused(code, error):
    if 'mmdet' in code:
        pytest.importorskip('mmdet', reason='mmdetection is not installed')
    result = python(f'{HIDE}import mmvisionmix; {code}')
    assert result.returncode != 0 and re.search(error, result.stdout), result.stdout


def test_compiled_operators_stay_where_they_are():
    pytest.importorskip('mmcv._ext', reason='mmcv-lite is installed')
    out = python('import mmvisionmix; from mmcv.ops import batched_nms; import mmcv.ops as o; '
                 'print(batched_nms.__name__, bool(o.__file__))').stdout
    assert out.split('\n')[0] == 'batched_nms True', out
