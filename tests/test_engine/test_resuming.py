# Copyright (c) mmvisionmix authors. All rights reserved.
import os
import shutil

import pytest
import torch
from mmengine.config import Config

from mmvisionmix.cli import choose_checkpoint, use_safe_hooks
from mmvisionmix.engine import find_resumable, read_resumable


@pytest.fixture
def run(tmp_path):
    """A work directory with three checkpoints, the last of them noted, and a best one."""
    for age, name in enumerate(('best_iter_6', 'iter_6', 'iter_4', 'iter_2')):
        content = dict(meta=dict(seed=7), state_dict=dict(a=torch.ones(999)), message_hub={})
        torch.save(content, tmp_path / f'{name}.pth')
        os.utime(tmp_path / f'{name}.pth', (1000 - age, 1000 - age))
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_6.pth'))
    return tmp_path


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def empty(path):
    os.truncate(path, 0)


def replace_by_weights(path):
    torch.save(dict(state_dict={}), path)


def test_the_noted_checkpoint_is_taken(run):
    path = str(run / 'iter_6.pth')
    assert find_resumable(str(run)) == (path, 7, f'Going on from {path}')
    (run / 'last_checkpoint').write_text(str(run / 'iter_4.pth'))
    assert find_resumable(str(run)).path == str(run / 'iter_4.pth')


@pytest.mark.parametrize('spoil', (
    truncate, empty, replace_by_weights, os.remove), ids=lambda f: f.__name__)
def test_the_newest_whole_one_is_taken_in_place_of_a_spoilt_one(run, spoil):
    spoil(run / 'iter_6.pth')
    path, seed, note = find_resumable(str(run))
    assert path == str(run / 'iter_4.pth') and seed == 7
    assert note.startswith(f'{run}/iter_6.pth ') and note.endswith(f'. Going on from {path}')
    assert '\n' not in note


@pytest.mark.parametrize('text', ('', None))
def test_the_newest_one_is_taken_where_none_is_noted(run, text):
    (run / 'last_checkpoint').unlink()
    if text is not None:
        (run / 'last_checkpoint').write_text(text)
    assert find_resumable(str(run)).path == str(run / 'iter_6.pth')


def test_a_moved_work_directory_goes_on_from_its_own_checkpoint(run):
    (run / 'last_checkpoint').write_text(str(run / 'iter_4.pth'))
    moved = run.with_name(run.name + '-moved')
    shutil.move(run, moved)
    path, _, note = find_resumable(str(moved))
    assert path == str(moved / 'iter_4.pth')
    assert note == f'{run}/iter_4.pth does not exist. Going on from {path}'


def test_remote_checkpoints_are_left_to_mmengine(run):
    (run / 'last_checkpoint').write_text('s3://bucket/iter_8.pth')
    assert find_resumable(str(run)).path == 's3://bucket/iter_8.pth'


def test_nothing_to_go_on_from_is_told_apart_from_nothing_yet(run, tmp_path):
    path, _, note = find_resumable(str(tmp_path / 'new'))
    assert path is None and note.endswith('no checkpoint yet: training starts from the beginning')
    for file in run.glob('iter*'):
        truncate(file)
    with pytest.raises(ValueError, match='iter_6.pth is broken.*iter_2.pth is broken.*without '
                       '--resume to start anew') as error:
        find_resumable(str(run))
    assert '\n' not in str(error.value)
    for file in run.glob('*.pth'):
        file.unlink()
    (run / 'last_checkpoint').write_text('')
    with pytest.raises(ValueError, match='last_checkpoint is empty'):
        find_resumable(str(run))


@pytest.mark.parametrize('spoil, reason', (
    (truncate, 'is broken'), (os.remove, 'does not exist'),
    (replace_by_weights, 'has weights at most, and not meta, message_hub')))
def test_a_checkpoint_that_is_named_is_taken_or_refused(run, spoil, reason):
    path = run / 'iter_2.pth'
    assert read_resumable(str(path)).path == str(path)
    spoil(path)
    with pytest.raises(ValueError, match=f'iter_2.pth {reason}'):
        read_resumable(str(path))
    with pytest.raises(SystemExit, match=f'error: .*iter_2.pth {reason}'):
        choose_checkpoint(Config(dict(work_dir=str(run))), str(path))


@pytest.mark.parametrize('wanted, own', (
    ('auto', {}), (None, dict(resume=True)), ('auto', dict(load_from='weights.pth')),
    ('{run}/iter_6.pth', dict(randomness=dict(seed=None))),
    (None, dict(resume=True, load_from='{run}/iter_6.pth'))))
def test_a_config_goes_on_with_the_checkpoint_and_its_seed(run, wanted, own):
    own = {k: v.format(run=run) if isinstance(v, str) else v for k, v in own.items()}
    cfg = Config(dict(work_dir=str(run), **own))
    note = choose_checkpoint(cfg, wanted and wanted.format(run=run))
    assert note == f'Going on from {run}/iter_6.pth'
    assert (cfg.resume, cfg.load_from, cfg.randomness.seed) == (True, f'{run}/iter_6.pth', 7)


def test_a_first_start_with_resume_keeps_the_weights_to_start_from(tmp_path):
    cfg = Config(dict(work_dir=str(tmp_path), load_from='weights.pth', resume=True))
    assert 'starts from the beginning' in choose_checkpoint(cfg, 'auto')
    assert not cfg.resume and cfg.load_from == 'weights.pth'


def test_a_config_that_does_not_resume_stays_as_it_is(run):
    cfg = Config(dict(work_dir=str(run), load_from='weights.pth', randomness=dict(seed=3)))
    before = cfg.to_dict()
    assert choose_checkpoint(cfg, None) == '' and cfg.to_dict() == before
    choose_checkpoint(cfg, 'auto')
    assert cfg.randomness.seed == 3


@pytest.mark.parametrize('hooks', (
    None, {}, dict(logger=dict(type='LoggerHook')),
    dict(checkpoint=dict(type='CheckpointHook', interval=1)),
    dict(checkpoint=dict(type='mmengine.CheckpointHook', interval=1))))
def test_stock_hooks_are_replaced(hooks):
    cfg = Config({} if hooks is None else dict(default_hooks=hooks))
    use_safe_hooks(cfg)
    assert cfg.default_hooks.checkpoint == dict(type='mmvisionmix.CheckpointHook', interval=1)
    assert cfg.default_hooks.reseed == dict(type='mmvisionmix.ReseedHook')


@pytest.mark.parametrize('checkpoint', (None, dict(type='OtherHook')))
def test_other_hooks_stay_as_they_are(checkpoint):
    cfg = Config(dict(default_hooks=dict(checkpoint=checkpoint)))
    use_safe_hooks(cfg)
    assert cfg.default_hooks == dict(checkpoint=checkpoint)


def test_seeding_can_be_left_out_alone():
    cfg = Config(dict(default_hooks=dict(reseed=None)))
    use_safe_hooks(cfg)
    assert cfg.default_hooks == dict(
        checkpoint=dict(type='mmvisionmix.CheckpointHook', interval=1))
