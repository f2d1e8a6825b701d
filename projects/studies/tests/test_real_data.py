# Copyright (c) mmvisionmix authors. All rights reserved.
"""What is kept of trainings on real data, and the page that is made of it."""
import json
import re

import pytest
import real_data
from mmengine.config import Config

from mmvisionmix import config_path

NAME = 'r18_fpn_1xb4-1500_camvid-240x320'
LOG = '''
    Python: 3.11.7 (main)
    PyTorch: 2.11.0+cpu
    TorchVision: 0.26.0
    MMEngine: 0.10.7
'''


@pytest.fixture
def work_dir(tmp_path, monkeypatch):
    """Of a training that stopped after 700 iterations and was resumed from 600, and of a test."""
    monkeypatch.setattr(real_data, 'RUNS', tmp_path / 'runs')
    folder = tmp_path / 'work'
    for start, stop, loss in ((0, 700, 3.), (600, 1500, 1.)):
        data = folder / f'20261126_{start:06}/vis_data'
        data.mkdir(parents=True)
        data.with_name('a.log').write_text(LOG)
        entries = [dict(loss=loss, step=step) for step in range(start + 50, stop + 1, 50)]
        entries += [dict(mIoU=step / 100, aAcc=50., step=step)
                    for step in range(start + 300, stop + 1, 300)]
        (data / 'scalars.json').write_text('\n'.join(map(json.dumps, entries)))
    cfg = Config.fromfile(config_path(NAME))
    cfg.optim_wrapper.type = 'mmvisionmix.BFloat16OptimWrapper'
    cfg.dump(folder / f'{NAME}.py')
    (folder / 'test/20261127').mkdir(parents=True)
    (folder / 'test/20261127/a.json').write_text(json.dumps(dict(mIoU=12.3456789, aAcc=61, a=1)))
    return folder


def test_a_resumed_training_is_kept_once_with_its_result(work_dir):
    kept = json.loads(real_data.record(work_dir).read_text())
    assert kept['result'] == dict(mIoU=12.3457, aAcc=61)
    assert kept['validation']['mIoU'] == [[step, step / 100] for step in range(300, 1501, 300)]
    assert len(kept['loss']) == 30 and [loss for step, loss in kept['loss'] if step == 650] == [1]
    assert kept['precision'] == 'bfloat16' and kept['environment']['PyTorch'] == '2.11.0+cpu'
    assert (kept['config'], kept['seed'], kept['started']) == (NAME, 0, '20261126')
    assert 11e6 < kept['parameters'] < 12e6


def forget_the_end(work_dir):
    file = max(work_dir.glob('2*/vis_data/scalars.json'))
    file.write_text('\n'.join(
        line for line in file.read_text().splitlines() if '"step": 1500' not in line))


def change(old, new):
    """A change to the config that a training used."""
    def spoil(work_dir):
        file = work_dir / f'{NAME}.py'
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))
    return spoil


@pytest.mark.parametrize('spoil, message', (
    (forget_the_end, 'the training has not ended'),
    (change('max_iters=1500', 'max_iters=2000'), 'train_cfg.max_iters is not that of the config'),
    (change('prob=0.5', 'prob=0.4'), 'train_dataloader.dataset.pipeline is not that of the'),
    (lambda work_dir: (work_dir / 'test/20261127').rename(work_dir / 'test/20261125'),
     'test is older than the training'),
    (lambda work_dir: (work_dir / 'test/20261127/a.json').unlink(), 'no result of tools/test.py'),
    (lambda work_dir: (work_dir / f'{NAME}.py').rename(work_dir / 'other.py'),
     'other is no config of configs/real')))
def test_what_must_not_be_kept_is_refused(work_dir, spoil, message):
    spoil(work_dir)
    with pytest.raises(ValueError, match=message):
        real_data.record(work_dir)
    assert not list(work_dir.parent.glob('runs/*'))


def test_long_losses_are_averaged():
    points = real_data.thinned({step: float(step) for step in range(1, 1001)})
    assert len(points) <= 60 and points[0] == (17, 9.) and points[-1][0] == 1000


def test_the_page_is_made_of_what_is_kept(work_dir, tmp_path, monkeypatch):
    kept = real_data.record(work_dir)
    changed = NAME.replace('r18', 'r18-wide')
    kept.with_name(f'{changed}-s0.json').write_text(kept.read_text().replace(NAME, changed))
    page = tmp_path / 'page.md'
    page.write_text(''.join(
        f'<!-- begin {marks}: real_data.py write -->old<!-- end {marks} -->\n'
        for marks in ('camvid', 'changed camvid')))
    monkeypatch.setattr(real_data, 'PAGE', page)
    monkeypatch.setattr(real_data, 'CURVES', tmp_path / 'curves.png')
    real_data.main(['write'])
    assert 'old' not in page.read_text() and page.read_text().endswith('camvid -->\n')
    assert re.search(r'\[r18, fpn\].* 11.6\dM .* bfloat16 *\| 12.3 *\| 61.0', page.read_text())
    networks = re.findall(r'^\| \[([\w-]+),', page.read_text(), re.MULTILINE)
    assert networks == ['r18', 'r18', 'r18-wide']  # alone, and beside its change
    assert (tmp_path / 'curves.png').stat().st_size
    page.write_text('no place')
    with pytest.raises(SystemExit, match='the page lacks the marks <!-- begin camvid'):
        real_data.main(['write'])
    assert page.read_text() == 'no place'


def test_tables_of_the_page_are_of_the_runs_that_are_kept():
    page = real_data.PAGE.read_text(encoding='utf-8')
    assert real_data.fill(page) == page
