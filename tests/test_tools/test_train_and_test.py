# Copyright (c) mmvisionmix authors. All rights reserved.
"""Training and evaluation as users run them: our tools and the stock ones, on demo data."""
import json
import re
import runpy
import shutil
from argparse import Namespace
from pathlib import Path

import common
import mmseg
import pytest
import torch
import train
from common import errors_in_a_line, load_config
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[2]
TRAIN, TEST = ROOT / 'tools/train.py', ROOT / 'tools/test.py'
STOCK = Path(mmseg.__file__).parent / '.mim/tools'
TOY = ROOT / 'configs/toy/lkca_upernet_demo-ade20k.py'
ENTRY = ROOT / 'configs/upernet_lkca_s_ade20k.py'
# A sixteenth of the pixels, for the recipes of the paper.
SMALL = ['model.backbone.img_size="(128,128)"', 'model.data_preprocessor.size="(128,128)"',
         'train_dataloader.dataset.pipeline.2.scale="(512,128)"',
         'train_dataloader.dataset.pipeline.3.crop_size="(128,128)"',
         'val_dataloader.dataset.pipeline.1.scale="(512,128)"', 'train_dataloader.batch_size=2']


def toy_options(data, iterations, workers=0):
    """Options that make the demo config a matter of seconds."""
    loaders = [
        f'{split}_dataloader.{option}' for split in ('train', 'val', 'test') for option in (
            f'dataset.data_root={data}', f'num_workers={workers}', 'persistent_workers=False')]
    return ['--cfg-options', f'train_cfg.max_iters={iterations}', 'train_cfg.val_interval=2',
            'default_hooks.checkpoint.interval=2', 'default_hooks.logger.interval=1',
            'train_dataloader.batch_size=2', *loaders]


def test_training_resumes_and_its_checkpoint_tests_the_same(run_tool, demo_ade20k, tmp_path):
    work_dir = tmp_path / 'work'
    out = run_tool(TRAIN, TOY, '--work-dir', work_dir, *toy_options(demo_ade20k, 2), cwd=tmp_path)
    assert 'Iter(train) [2/2]' in out and 'eta:' in out
    out = run_tool(
        TRAIN, TOY, '--work-dir', work_dir, '--resume', '--amp', *toy_options(demo_ade20k, 4),
        cwd=tmp_path)
    assert 'resumed epoch: 0, iter: 2' in out
    assert 'Iter(train) [3/4]' in out and 'Iter(train) [2/4]' not in out
    logged = [json.loads(line) for file in sorted(work_dir.glob('*/vis_data/scalars.json'))
              for line in file.read_text().splitlines()]
    validated = [entry['mIoU'] for entry in logged if 'mIoU' in entry][-1]

    checkpoint = Path((work_dir / 'last_checkpoint').read_text())
    assert checkpoint.name == 'iter_4.pth'
    predictions = tmp_path / 'predictions.pkl'
    out = run_tool(
        TEST, TOY, checkpoint, '--work-dir', tmp_path / 'test', '--out', predictions,
        *toy_options(demo_ade20k, 4), cwd=tmp_path)
    tested = float(re.findall(r'mIoU: ([\d.]+)', out)[-1])
    assert predictions.stat().st_size and tested == pytest.approx(validated, abs=0.011)
    out = run_tool(
        STOCK / 'test.py', TOY, checkpoint, '--work-dir', tmp_path / 'stock',
        *toy_options(demo_ade20k, 4), cwd=tmp_path)
    assert float(re.findall(r'mIoU: ([\d.]+)', out)[-1]) == tested


@pytest.mark.parametrize('script', (TRAIN, STOCK / 'train.py'), ids=('ours', 'stock'))
def test_entry_recipe_trains_from_another_folder(run_tool, demo_ade20k, tmp_path, script):
    """The paper's network, an iteration, on data where ADE20K is expected."""
    data = tmp_path / 'data/ade'
    data.mkdir(parents=True)
    (data / 'ADEChallengeData2016').symlink_to(demo_ade20k)
    out = run_tool(
        script, ENTRY, '--cfg-options', 'train_cfg.max_iters=1', 'train_cfg.val_interval=1',
        *SMALL, cwd=tmp_path)
    assert 'Iter(val) [4/4]' in out and re.search(r'mIoU: [\d.]+', out)
    assert (tmp_path / 'work_dirs/upernet_lkca_s_ade20k/iter_1.pth').exists()


@pytest.mark.parametrize('workers', (0, 1))
def test_an_image_that_cannot_be_read_is_named_in_one_line(
        run_tool, demo_ade20k, tmp_path, workers):
    """The error is mmcv's; the runner is MMEngine's."""
    shutil.copytree(demo_ade20k, tmp_path / 'scenes')
    bad = tmp_path / 'scenes/images/training/ADE_train_00000003.jpg'
    bad.write_bytes(bad.read_bytes()[:1000])
    options = toy_options(tmp_path / 'scenes', 8, workers)
    out = run_tool(TRAIN, TOY, *options, cwd=tmp_path, fails=True)
    last = out.strip().splitlines()[-1]
    assert last.startswith(f'error: AssertionError: failed to load image: {bad}')
    assert ('check_data.py names the bad files' in last) == bool(workers)
    assert 'Traceback' not in out
    if not workers:
        out = run_tool(TRAIN, TOY, '--traceback', *options, cwd=tmp_path, fails=True)
        assert 'Traceback' in out and f'AssertionError: failed to load image: {bad}' in out


def test_what_does_not_fit_stops_a_run_before_it_starts(run_tool, demo_ade20k, tmp_path):
    more = toy_options(demo_ade20k, 2)
    out = run_tool(TRAIN, TOY, *more, 'model.decode_head.num_classes=11', cwd=tmp_path, fails=True)
    assert 'has 10 classes, and model.decode_head.num_classes is 11' in out
    torch.save(dict(state_dict={}), tmp_path / 'a.pth')
    out = run_tool(TEST, TOY, 'a.pth', *more, cwd=tmp_path, fails=True)
    assert 'error: the checkpoint lacks' in out and 'Iter(' not in out
    assert 'mIoU:' in run_tool(TEST, TOY, 'a.pth', '--allow-missing', *more, cwd=tmp_path)


def test_missing_files_are_named(run_tool, demo_ade20k, tmp_path):
    out = run_tool(TRAIN, ENTRY, cwd=tmp_path, fails=True)
    assert 'Traceback' not in out
    assert f'{tmp_path}/data/ade/ADEChallengeData2016/images/training does not exist' in out
    assert ('python tools/dataset_tools/make_demo_data.py ade20k '
            '--out data/ade/ADEChallengeData2016') in out
    out = run_tool(TEST, TOY, 'nowhere.pth', *toy_options(demo_ade20k, 1), cwd=tmp_path, fails=True)
    assert out.strip().endswith('nowhere.pth does not exist (--traceback tells where)')
    out = run_tool(TRAIN, 'nowhere.py', cwd=tmp_path, fails=True)
    assert re.search(r"error: .*nowhere\.py", out) and 'Traceback' not in out


@pytest.mark.parametrize('error, line', (
    (KeyError('x'), "error: KeyError: 'x' (--traceback tells where)"),
    (ValueError('two\nlines'), 'error: two lines (--traceback tells where)'),
    (RuntimeError('Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback:\n'
                  '  line\npackage.RuntimeError: reason\nmore\n'),
     'error: RuntimeError: reason more; tools/dataset_tools/check_data.py names the bad files '
     '(--traceback tells where)')))
def test_errors_are_told_in_a_line(monkeypatch, error, line):
    monkeypatch.setattr(common, 'OURS', (*common.OURS, __file__))
    with pytest.raises(SystemExit) as stop, errors_in_a_line():
        raise error
    assert str(stop.value) == line
    with pytest.raises(type(error)), errors_in_a_line(whole=True):
        raise error


@pytest.mark.parametrize('device, wrapper', (
    ('cuda', dict(type='AmpOptimWrapper', loss_scale='dynamic')),
    ('cpu', dict(type='mmvisionmix.BFloat16OptimWrapper'))))
def test_options_change_the_config(monkeypatch, tmp_path, device, wrapper):
    args = Namespace(
        config=str(ENTRY), work_dir=None, cfg_options=['model.backbone.arch=b'],
        launcher='none', local_rank=0, resume=None, amp=True, auto_scale_lr=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train, 'get_device', lambda: device)
    cfg = load_config(args, loaders=())
    train.apply_train_options(cfg, args)
    assert cfg.model.backbone.arch == 'b'
    assert cfg.work_dir == 'work_dirs/upernet_lkca_s_ade20k'
    changed = {key: cfg.optim_wrapper.get(key) for key in ('type', 'loss_scale')}
    assert changed == {'loss_scale': None, **wrapper}
    assert cfg.auto_scale_lr.enable
    cfg.pop('auto_scale_lr')
    args.amp = False
    with pytest.raises(SystemExit, match='base_batch_size'):
        train.apply_train_options(cfg, args)


def test_drawing_needs_a_hook_and_a_visualizer():
    """test_stock_tools.py draws."""
    args = Namespace(checkpoint=str(TEST), out=None, show_dir='out', tta=False)
    with pytest.raises(SystemExit, match='--show-dir needs in the config a visualizer, and a '
                       'default_hooks.visualization of a type among SegVisualizationHook'):
        runpy.run_path(str(TEST))['apply_test_options'](Config(dict(model=dict())), args)
