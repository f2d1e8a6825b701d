# Copyright (c) mmvisionmix authors. All rights reserved.
"""Training and evaluation as users run them: our tools and the stock ones, on demo data."""
import json
import re
import runpy
from argparse import Namespace
from pathlib import Path

import mmseg
import pytest
from mmengine.config import Config

from mmvisionmix.cli import load_config
from mmvisionmix.datasets.availability import check_data

ROOT = Path(__file__).resolve().parents[2]
TRAIN, TEST = ROOT / 'tools/train.py', ROOT / 'tools/test.py'
STOCK_TRAIN = Path(mmseg.__file__).parent / '.mim/tools/train.py'
STOCK_TEST = Path(mmseg.__file__).parent / '.mim/tools/test.py'
TOY = ROOT / 'configs/toy/lkca_upernet_demo-ade20k.py'
ENTRY = ROOT / 'configs/upernet_lkca_s_ade20k.py'
COMPARISON = ROOT / 'configs/lkca/vit-s_fpn_1xb16-10k_ade20k-512x512.py'


def toy_options(data, iterations):
    """Options that make the demo config a matter of seconds."""
    return ['--cfg-options', f'train_cfg.max_iters={iterations}', 'train_cfg.val_interval=2',
            'default_hooks.checkpoint.interval=2', 'default_hooks.logger.interval=1',
            'train_dataloader.batch_size=2', 'train_dataloader.num_workers=0',
            'train_dataloader.persistent_workers=False',
            f'train_dataloader.dataset.data_root={data}', *loader_options('val', data),
            *loader_options('test', data)]


def loader_options(split, data):
    return [f'{split}_dataloader.dataset.data_root={data}', f'{split}_dataloader.num_workers=0',
            f'{split}_dataloader.persistent_workers=False']


def logged_metrics(work_dir):
    """Values of mIoU in the logs, in order of time."""
    lines = [line for file in sorted(work_dir.glob('*/vis_data/scalars.json'))
             for line in file.read_text().splitlines()]
    return [entry['mIoU'] for entry in map(json.loads, lines) if 'mIoU' in entry]


def test_training_resumes_and_its_checkpoint_tests_the_same(run_tool, demo_ade20k, tmp_path):
    work_dir = tmp_path / 'work'
    out = run_tool(TRAIN, TOY, '--work-dir', work_dir, *toy_options(demo_ade20k, 2), cwd=tmp_path)
    assert 'Iter(train) [2/2]' in out and 'eta:' in out
    out = run_tool(
        TRAIN, TOY, '--work-dir', work_dir, '--resume', *toy_options(demo_ade20k, 4), cwd=tmp_path)
    assert 'resumed epoch: 0, iter: 2' in out
    assert 'Iter(train) [3/4]' in out and 'Iter(train) [2/4]' not in out
    checkpoint = Path((work_dir / 'last_checkpoint').read_text())
    assert checkpoint.name == 'iter_4.pth'

    predictions = tmp_path / 'predictions.pkl'
    out = run_tool(
        TEST, TOY, checkpoint, '--work-dir', tmp_path / 'test', '--out', predictions,
        *toy_options(demo_ade20k, 4), cwd=tmp_path)
    assert predictions.stat().st_size
    tested = float(re.findall(r'mIoU: ([\d.]+)', out)[-1])
    assert tested == pytest.approx(logged_metrics(work_dir)[-1], abs=0.011)
    out = run_tool(
        STOCK_TEST, TOY, checkpoint, '--work-dir', tmp_path / 'stock',
        *toy_options(demo_ade20k, 4), cwd=tmp_path)
    assert float(re.findall(r'mIoU: ([\d.]+)', out)[-1]) == tested


@pytest.mark.parametrize('script', (TRAIN, STOCK_TRAIN), ids=('ours', 'stock'))
def test_entry_recipe_trains_from_another_folder(run_tool, demo_ade20k, tmp_path, script):
    """The paper's 512x512 network, two iterations, on data where ADE20K is expected."""
    data = tmp_path / 'data/ade'
    data.mkdir(parents=True)
    (data / 'ADEChallengeData2016').symlink_to(demo_ade20k)
    out = run_tool(
        script, ENTRY, '--cfg-options', 'train_cfg.max_iters=2', 'train_cfg.val_interval=2',
        'train_dataloader.batch_size=2', cwd=tmp_path)
    assert 'Iter(val) [4/4]' in out and re.search(r'mIoU: [\d.]+', out)
    assert (tmp_path / 'work_dirs/upernet_lkca_s_ade20k/iter_2.pth').exists()


def test_comparison_trains_and_the_metric_names_its_best_classes(run_tool, demo_ade20k, tmp_path):
    """A network that the paper compares with, shrunk, under the paper's metric."""
    out = run_tool(
        TRAIN, COMPARISON, *toy_options(demo_ade20k, 2), 'model.backbone.num_layers=4',
        'model.backbone.out_indices=[0,1,2,3]', 'model.decode_head.channels=32', cwd=tmp_path)
    best = re.search(r'mIoU_top10 is the mean of 10 classes: (.*)', out).group(1).split(', ')
    assert len(best) == 10 and all(re.fullmatch(r'\D+ \d+\.\d\d', entry) for entry in best)
    assert re.search(r'mIoU: [\d.]+ .*mIoU_top10: [\d.]+', out)


def test_missing_data_names_the_path_and_both_ways_to_get_it(run_tool, tmp_path):
    out = run_tool(TRAIN, ENTRY, cwd=tmp_path, fails=True)
    assert 'Traceback' not in out
    assert f'{tmp_path}/data/ade/ADEChallengeData2016/images/training does not exist' in out
    assert 'docs/datasets.md' in out
    assert ('python tools/dataset_tools/make_demo_data.py ade20k '
            '--out data/ade/ADEChallengeData2016') in out


def test_check_data_looks_into_wrappers_and_at_annotation_files(tmp_path):
    inner = dict(type='CocoDataset', data_root=str(tmp_path), ann_file='instances.json',
                 data_prefix=dict(img=''))
    cfg = Config(dict(train_dataloader=dict(dataset=dict(
        type='RepeatDataset', dataset=dict(type='ConcatDataset', datasets=[inner])))))
    with pytest.raises(FileNotFoundError, match='instances.json does not exist; train_dataloader'):
        check_data(cfg, ('train_dataloader', 'val_dataloader'))
    (tmp_path / 'instances.json').touch()
    check_data(cfg, ('train_dataloader', 'val_dataloader'))


@pytest.mark.parametrize('where', (
    dict(data_root='s3://bucket/coco'), dict(data_root='coco', backend_args=dict(backend='petrel')),
    dict(ann_file='https://host/instances.json')))
def test_check_data_leaves_remote_data_alone(where):
    dataset = dict(type='CocoDataset', data_prefix=dict(img=''), ann_file='a.json')
    check_data(Config(dict(loader=dict(dataset={**dataset, **where}))), ('loader', ))


def test_missing_files_are_named(run_tool, demo_ade20k, tmp_path):
    out = run_tool(TEST, TOY, 'nowhere.pth', *toy_options(demo_ade20k, 1), cwd=tmp_path, fails=True)
    assert out.strip().endswith('checkpoint nowhere.pth does not exist')
    out = run_tool(TRAIN, 'nowhere.py', cwd=tmp_path, fails=True)
    assert 'nowhere.py' in out and 'Traceback' not in out


def test_options_change_the_config(monkeypatch):
    monkeypatch.syspath_prepend(str(TRAIN.parent))
    from train import apply_train_options
    args = Namespace(
        config=str(ENTRY), work_dir=None, cfg_options={'model.backbone.arch': 'b'},
        launcher='none', local_rank=0, resume=None, amp=True, auto_scale_lr=True,
        skip_bad_samples=True)
    cfg = load_config(args, loaders=())
    apply_train_options(cfg, args)
    assert cfg.model.backbone.arch == 'b'
    assert cfg.work_dir == 'work_dirs/upernet_lkca_s_ade20k'
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    assert cfg.optim_wrapper.loss_scale == 'dynamic'
    assert cfg.auto_scale_lr.enable
    assert cfg.bad_samples.skip
    cfg.pop('auto_scale_lr')
    with pytest.raises(SystemExit, match='base_batch_size'):
        apply_train_options(cfg, args)


def show(folder, tta=False, **cfg):
    """A config as tools/test.py changes it to draw predictions."""
    cfg = Config(dict(model=dict(), test_dataloader=dict(dataset=dict()), **cfg))
    args = Namespace(checkpoint=str(TEST), out=None, show_dir=folder, tta=tta)
    runpy.run_path(str(TEST))['apply_test_options'](cfg, args)
    return cfg


def test_drawing_is_turned_on_for_every_image_where_the_hook_is_known(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # mmdetection's hook would start from the work directory
    folder, visualizer = str(tmp_path / 'out'), dict(type='Visualizer')
    for kind, switch, key in (('mmdet.DetVisualizationHook', 'draw', 'test_out_dir'),
                              ('VisualizationHook', 'enable', 'out_dir')):
        hook = dict(type=kind)
        cfg = show('out', default_hooks=dict(visualization=hook), visualizer=visualizer)
        assert cfg.default_hooks.visualization == {**hook, switch: True, key: folder, 'interval': 1}
    hook = dict(type='SegVisualizationHook', interval=10)
    cfg = show('out', default_hooks=dict(visualization=hook), visualizer=visualizer)
    assert cfg.default_hooks.visualization == dict(**hook, draw=True)
    assert cfg.visualizer.save_dir == folder


@pytest.mark.parametrize('cfg', (
    dict(), dict(default_hooks=dict(visualization=None)),
    dict(default_hooks=dict(visualization=dict(type='SegVisualizationHook'))),
    dict(default_hooks=dict(visualization=dict(type='OtherHook')), visualizer=dict(type='V'))))
def test_drawing_needs_a_hook_and_a_visualizer(cfg):
    with pytest.raises(SystemExit, match='--show-dir needs in the config a visualizer, and a '
                       'default_hooks.visualization of a type among SegVisualizationHook'):
        show('out', **cfg)


def test_augmented_images_of_a_classifier_are_not_drawn():
    with pytest.raises(SystemExit, match="mmpretrain's hook does not draw images of --tta"):
        show('out', tta=True, default_scope='mmpretrain', tta_model=dict(), tta_pipeline=[])
