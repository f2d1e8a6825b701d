# Copyright (c) mmvisionmix authors. All rights reserved.
"""Bad data ends in an error that names the file, or is skipped and counted in training."""
import multiprocessing
import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import cv2
import mmseg
import numpy as np
import pytest
from damage import DAMAGE, LAYOUTS, Classification, Detection, Segmentation, cut, values
from mmengine.dataset import ConcatDataset, DefaultSampler, RepeatDataset, worker_init_fn
from torch.utils.data import DataLoader

from mmvisionmix.datasets import bad_data
from mmvisionmix.datasets.bad_data import (
    BadDataError,
    Labels,
    install_checks,
    leaves,
    reading,
    require_samples,
)
from mmvisionmix.engine import CheckedRunner

ROOT = Path(__file__).resolve().parents[2]
TOY = ROOT / 'configs/toy/lkca_upernet_demo-ade20k.py'
TRAIN, TEST = ROOT / 'tools/train.py', ROOT / 'tools/test.py'


def table():
    """The rows of the table in docs/reliability.md: (layout, what is wrong, what happens)."""
    section = (ROOT / 'docs/reliability.md').read_text().split('## Bad data')[1].split('\n## ')[0]
    rows = re.findall(r'^\| (.*) \| (.*) \| (.*) \|$', section, re.M)
    every = 'segmentation, detection, classification'
    return [(layout, name, outcome.replace('`', '')) for kinds, name, outcome in rows[1:]
            for layout in kinds.replace('all', every).split(', ')]


def read_first(data, split):
    """The first sample of a data set, read as our tools do."""
    with reading():
        dataset = data.build(split)
    require_samples(dataset)
    install_checks(dataset, data.config().model)
    return dataset.prepare_data(0)


def test_the_table_names_every_damage_that_is_tried():
    listed = [row[:2] for row in table()]
    assert len(listed) == len(set(listed)) and set(listed) == set(DAMAGE)


@pytest.mark.parametrize('split', ('train', 'val'))
@pytest.mark.parametrize('layout, name, outcome', [
    pytest.param(*row, marks=[pytest.mark.slow] if 'huge' in row[1] else []) for row in table()])
def test_what_the_table_says_happens(tmp_path, layout, name, outcome, split):
    data = LAYOUTS[layout](tmp_path)
    DAMAGE[layout, name](data, split)
    if outcome.startswith('loads'):
        assert read_first(data, split)['inputs'].shape[0] == 3
        return
    assert outcome.startswith('error: ')
    with pytest.raises(BadDataError, match=re.escape(outcome[len('error: '):])) as error:
        read_first(data, split)
    assert str(tmp_path) in str(error.value) and '\n' not in str(error.value)
    assert error.value.__cause__ is not None or 'no samples' in str(error.value)


def test_errors_name_the_image_its_label_and_its_annotations(tmp_path):
    for layout, folder in ((Segmentation, 'segmentation'), (Detection, 'detection')):
        data = layout(tmp_path / folder)
        data.image('train').write_bytes(b'')
        with pytest.raises(BadDataError) as error:
            read_first(data, 'train')
        files = ([f'label {data.label("train")}', 'sample 0 of'] if layout is Segmentation
                 else [f'sample 0 of {data.file("train")}'])
        for name in (f'image {data.image("train")}', *files):
            assert name in str(error.value)


def test_cut_images_are_noticed_where_opencv_does_not(tmp_path, monkeypatch):
    """OpenCV up to 4.10 fills what is missing, and says nothing."""
    data = Classification(tmp_path)
    monkeypatch.setattr(cv2, 'imdecode', lambda *args: np.zeros((48, 64, 3), np.uint8))
    assert read_first(data, 'train')
    cut(data.image('train'))
    with pytest.raises(BadDataError, match='the image is damaged or cut short'):
        read_first(data, 'train')
    monkeypatch.undo()
    content = Classification(tmp_path / 'other').image('train').read_bytes()
    data.image('train').write_bytes(content + b'what some cameras append')
    assert read_first(data, 'train')


@pytest.mark.parametrize('model, classes, labels', (
    (dict(decode_head=dict(num_classes=19)), 150, Labels(19)),
    (dict(decode_head=[dict(num_classes=9), dict(num_classes=5, ignore_index=7)]), 0, Labels(5, 7)),
    (dict(type='SegTTAModel', module=dict(decode_head=dict(num_classes=19))), 0, Labels(19)),
    (dict(decode_head=dict(num_classes=1)), 2, Labels(2)),
    (dict(head=dict(num_classes=10)), 0, Labels(10)),
    (dict(bbox_head=dict(num_classes=80)), 0, Labels(None)),
))
def test_labels_that_a_model_takes_are_read_from_its_config(model, classes, labels):
    assert Labels.of(model, dict(classes=('name', ) * classes)) == labels


def test_the_values_0_to_254_are_classes_where_no_class_is_known(tmp_path):
    data = Segmentation(tmp_path)
    values(200).save(data.label('train'))
    dataset = data.build('train')
    dataset._metainfo['classes'] = None
    install_checks(dataset, {})
    assert dataset.prepare_data(0)


def test_checks_reach_into_wrappers_and_leave_classes_alone(tmp_path):
    data = Classification(tmp_path)
    inner = [data.build('train'), data.build('val')]
    kinds = [type(dataset) for dataset in inner]
    wrapper = RepeatDataset(inner[0], 2)
    both = ConcatDataset.__new__(ConcatDataset)
    both.datasets = [wrapper, inner[1]]
    assert list(leaves(both)) == inner == install_checks(both, {})
    assert [type(dataset) for dataset in inner] == kinds
    data.image('train').write_bytes(b'')
    with pytest.raises(BadDataError, match='empty'):
        wrapper[len(inner[0])]


class Paths(list):
    """Takes the place of a pipeline's steps: reads the file, and passes its name on."""

    def __call__(self, info):
        if not Path(info['img_path']).stat().st_size:
            raise OSError('nothing in it')
        return info['img_path'] + f' {np.random.randint(1000)}'


def skipping_loader(tmp_path, bad, workers=2, max_share=0.5):
    data = Classification(tmp_path)
    for index in bad:
        data.image('train', index).write_bytes(b'')
    dataset = data.build('train')
    dataset.pipeline.transforms = [Paths()]
    install_checks(dataset, {}, max_share)
    return dataset, DataLoader(
        dataset, 1, sampler=DefaultSampler(dataset, seed=0), num_workers=workers,
        collate_fn=list, persistent_workers=workers > 0,
        multiprocessing_context='fork' if workers else None,
        worker_init_fn=lambda number: worker_init_fn(number, 2, 0, 0))


def test_skipped_samples_are_replaced_and_counted_over_workers_and_epochs(tmp_path):
    dataset, loader = skipping_loader(tmp_path, bad=[1])
    for _ in range(2):
        names = [batch[0].split()[0] for batch in loader]
        assert len(names) == 4
        assert not any(name.endswith('1.JPEG') for name in names)
    assert dataset.pipeline.skipped.flags.tolist() == [0, 1, 0, 0]


def test_the_same_seed_draws_the_same_replacements(tmp_path):
    runs = [[batch[0] for batch in skipping_loader(tmp_path, bad=[1, 2])[1]] for _ in range(2)]
    assert runs[0] == runs[1]


@pytest.mark.slow
def test_workers_that_are_spawned_share_the_count_too(tmp_path):
    dataset, loader = skipping_loader(tmp_path, bad=[1], workers=0)
    flags = dataset.pipeline.skipped
    process = multiprocessing.get_context('spawn').Process(target=flags.add, args=(3, 'why'))
    process.start()
    process.join()
    assert process.exitcode == 0 and flags.flags.tolist() == [0, 0, 0, 1]


def test_too_many_bad_samples_are_an_error_that_says_how_many(tmp_path):
    _, loader = skipping_loader(tmp_path, bad=[0, 1, 2, 3], workers=0)
    with pytest.raises(BadDataError, match=r'3 of 4 .* are bad, more than 50%.*image /.*JPEG'):
        list(loader)


def test_a_bad_sample_is_logged_once_with_its_reason(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(bad_data, 'print_log', lambda line, *args: lines.append(line))
    loader = skipping_loader(tmp_path, bad=[1], workers=0)[1]
    for _ in range(3):
        list(loader)
    assert len(lines) == 1
    assert re.match(r'skipped a bad sample: the image is empty .* \[image /.*/1.JPEG, ', lines[0])


@pytest.mark.parametrize('name', ('image of 1 x 1', 'image without instances'))
def test_mmdetection_leaves_out_what_cannot_be_trained_on(tmp_path, name):
    data = Detection(tmp_path)
    for split, count in (('train', 3), ('val', 4)):
        DAMAGE['detection', name](data, split)
        assert len(data.build(split)) == count


def test_an_evaluator_s_own_annotations_are_named(tmp_path):
    data = Detection(tmp_path)
    data.build('val')  # sets the scope
    cut(data.file('val'))
    runner = CheckedRunner.__new__(CheckedRunner)
    metric = dict(type='CocoMetric', ann_file=str(data.file('val')))
    for evaluator in (metric, [metric]):
        with pytest.raises(BadDataError, match=f'cannot read {data.file("val")}: '):
            runner.build_evaluator(evaluator)


def test_other_errors_of_a_config_stay_as_they_are(tmp_path):
    with pytest.raises(KeyError, match='not in'), reading():
        dict(a=1)['not in']


@pytest.fixture
def scenes(demo_ade20k, tmp_path):
    """A copy of the demo data with an image of 0 bytes."""
    shutil.copytree(demo_ade20k, tmp_path / 'scenes')
    bad = tmp_path / 'scenes/images/training/ADE_train_00000003.jpg'
    bad.write_bytes(b'')
    return bad


def options(folder, workers=1):
    root = folder / 'scenes'
    return ['--work-dir', folder / 'work', '--cfg-options', 'train_cfg.max_iters=8',
            'train_cfg.val_interval=8', 'default_hooks.checkpoint.interval=8',
            'train_dataloader.batch_size=2', 'default_hooks.logger.interval=1',
            f'train_dataloader.num_workers={workers}', 'val_dataloader.num_workers=0',
            'val_dataloader.persistent_workers=False', 'test_dataloader.num_workers=0',
            'test_dataloader.persistent_workers=False', 'model.backbone.arch.num_layers=4',
            'model.backbone.out_indices=[0,1,2,3]',
            *(f'{split}_dataloader.dataset.data_root={root}' for split in ('train', 'val', 'test'))]


def test_training_ends_with_a_line_that_names_the_file(run_tool, scenes, tmp_path):
    out = run_tool(TRAIN, TOY, *options(tmp_path), cwd=tmp_path, fails=True)
    last = out.strip().splitlines()[-1]
    assert last.startswith(f'error: the image is empty (0 bytes) [image {scenes}, label ')
    assert 'Traceback' not in out


def test_training_skips_and_counts_on_request_and_tests_do_not(run_tool, scenes, tmp_path):
    out = run_tool(TRAIN, TOY, '--skip-bad-samples', *options(tmp_path), cwd=tmp_path)
    assert out.count(f'skipped a bad sample: the image is empty (0 bytes) [image {scenes}') == 1
    assert f'skipped 1 of 16 training samples of {scenes.parent} so far: {scenes}' in out
    assert 'Iter(train) [8/8]' in out and re.search(r'mIoU: [\d.]+', out)
    log, = tmp_path.glob('work/*/*.log')
    assert log.read_text().count('skipped a bad sample') == 1


@pytest.mark.slow
def test_validation_and_tests_skip_nothing(run_tool, scenes, tmp_path):
    bad = tmp_path / 'scenes/annotations/validation/ADE_val_00000002.png'
    values(99, 128, 128).save(bad)
    out = run_tool(TRAIN, TOY, '--skip-bad-samples', *options(tmp_path), cwd=tmp_path, fails=True)
    message = 'error: the label has the values 99; classes are 1 to 10, and 0 is ignored [image '
    assert message in out.splitlines()[-1] and str(bad) in out.splitlines()[-1]
    out = run_tool(
        TEST, TOY, tmp_path / 'work/iter_8.pth', *options(tmp_path), cwd=tmp_path, fails=True)
    assert message in out.splitlines()[-1] and str(bad) in out.splitlines()[-1]


def free_port():
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        return sock.getsockname()[1]


@pytest.mark.slow
def test_two_processes_count_together(scenes, tmp_path):
    (tmp_path / 'scenes/images/training/ADE_train_00000011.jpg').write_bytes(b'')
    result = subprocess.run(
        ['bash', str(ROOT / 'tools/dist_train.sh'), str(TOY), '2', '--skip-bad-samples',
         *map(str, options(tmp_path)), 'bad_samples.max_share=0.3'], cwd=tmp_path, text=True,
        env={**os.environ, 'PORT': str(free_port()), 'OMP_NUM_THREADS': '1'}, timeout=600,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert result.returncode == 0, result.stdout[-4000:]
    reports = re.findall(r'skipped (\d) of 16 training samples', result.stdout)
    assert reports[-1] == '2' and len(reports) <= 2  # the first process alone speaks


@pytest.mark.slow
def test_stock_tools_check_with_a_line_in_the_config(run_tool, scenes, tmp_path):
    stock = Path(mmseg.__file__).parent / '.mim/tools/train.py'
    line = "runner_type='mmvisionmix.CheckedRunner'"
    out = run_tool(stock, TOY, *options(tmp_path), line, cwd=tmp_path, fails=True)
    assert f'BadDataError: the image is empty (0 bytes) [image {scenes}' in out
    out = run_tool(stock, TOY, *options(tmp_path), line, 'bad_samples.skip=True', cwd=tmp_path)
    assert 'skipped 1 of 16 training samples' in out


@pytest.mark.slow
def test_a_damaged_json_file_is_named_in_a_line(run_tool, tmp_path):
    data = Detection(tmp_path / 'coco')
    cut(data.file('val'))
    roots = [f'{split}_dataloader.dataset.data_root={data.root}' for split in ('train', 'val')]
    out = run_tool(
        TRAIN, ROOT / 'configs' / data.recipe, '--work-dir', tmp_path / 'work', '--cfg-options',
        *roots, f'val_evaluator.ann_file={data.file("val")}', cwd=tmp_path, fails=True)
    assert out.splitlines()[-1].startswith(f'error: CocoDataset cannot read {data.file("val")}: ')
    assert 'Traceback' not in out
