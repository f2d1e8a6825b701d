# Copyright (c) mmvisionmix authors. All rights reserved.
import os

import pytest
import torch
from mmengine.config import Config
from train import choose_checkpoint, use_safe_hooks

from mmvisionmix.engine import find_resumable, read_resumable

OURS = dict(type='mmvisionmix.CheckpointHook', interval=1)


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


def replace_by_weights(path):
    torch.save(dict(state_dict={}), path)


@pytest.mark.parametrize('spoil, reason', (
    (truncate, 'is broken'), (lambda path: os.truncate(path, 0), 'is broken'),
    (os.remove, 'does not exist'),
    (replace_by_weights, 'has weights at most, and not meta, message_hub')))
def test_the_noted_checkpoint_is_taken_else_the_newest_whole_one(run, spoil, reason):
    path = str(run / 'iter_6.pth')
    assert find_resumable(str(run)) == (path, 7, f'Going on from {path}')
    assert read_resumable(path).path == path
    spoil(run / 'iter_6.pth')
    with pytest.raises(ValueError, match=f'iter_6.pth {reason}'):
        read_resumable(path)
    found = find_resumable(str(run))
    assert found[:2] == (str(run / 'iter_4.pth'), 7) and '\n' not in found.note
    assert found.note.startswith(f'{run}/iter_6.pth {reason}')
    assert found.note.endswith(f'. Going on from {found.path}')


@pytest.mark.parametrize('note, wanted', (
    ('', '{run}/iter_6.pth'), (None, '{run}/iter_6.pth'),
    ('{run}/iter_4.pth', '{run}/iter_4.pth'), ('/moved/iter_4.pth', '{run}/iter_4.pth'),
    ('s3://bucket/iter_8.pth', 's3://bucket/iter_8.pth')))
def test_notes_are_followed_into_other_folders_and_storage(run, note, wanted):
    (run / 'last_checkpoint').unlink()
    if note is not None:
        (run / 'last_checkpoint').write_text(note.format(run=run))
    assert find_resumable(str(run)).path == wanted.format(run=run)


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


@pytest.mark.parametrize('wanted, own, seed', (
    ('auto', {}, 7), (None, dict(resume=True), 7), ('auto', dict(load_from='weights.pth'), 7),
    ('{run}/iter_6.pth', dict(randomness=dict(seed=None)), 7),
    (None, dict(resume=True, load_from='{run}/iter_6.pth'), 7),
    ('auto', dict(randomness=dict(seed=3)), 3)))
def test_a_config_goes_on_with_the_checkpoint_and_its_seed(run, wanted, own, seed):
    own = {k: v.format(run=run) if isinstance(v, str) else v for k, v in own.items()}
    cfg = Config(dict(work_dir=str(run), **own))
    note = choose_checkpoint(cfg, wanted and wanted.format(run=run))
    assert note == f'Going on from {run}/iter_6.pth'
    assert (cfg.resume, cfg.load_from, cfg.randomness.seed) == (True, f'{run}/iter_6.pth', seed)


def test_a_config_that_does_not_resume_stays_as_it_is(run):
    cfg = Config(dict(work_dir=str(run / 'new'), load_from='weights.pth', resume=True))
    assert 'starts from the beginning' in choose_checkpoint(cfg, 'auto')
    assert not cfg.resume and cfg.load_from == 'weights.pth'
    cfg = Config(dict(work_dir=str(run), load_from='weights.pth', randomness=dict(seed=3)))
    before = cfg.to_dict()
    assert choose_checkpoint(cfg, None) == '' and cfg.to_dict() == before


@pytest.mark.parametrize('hooks, checkpoint', (
    (None, OURS), ({}, OURS), (dict(logger=dict(type='LoggerHook')), OURS),
    (dict(checkpoint=dict(type='mmengine.CheckpointHook', interval=1)), OURS),
    (dict(checkpoint=None), None), (dict(checkpoint=dict(type='Other')), dict(type='Other')),
    (dict(reseed=None), OURS)))
def test_stock_hooks_are_replaced_and_others_stay(hooks, checkpoint):
    cfg = Config({} if hooks is None else dict(default_hooks=hooks))
    use_safe_hooks(cfg)
    assert cfg.default_hooks.checkpoint == checkpoint
    reseeds = checkpoint == OURS and 'reseed' not in (hooks or {})
    assert ('reseed' in cfg.default_hooks) == reseeds
