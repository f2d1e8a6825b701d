# Copyright (c) mmvisionmix authors. All rights reserved.
import errno
import os
from pathlib import Path

import pytest
from mmengine.fileio import LocalBackend
from toy_runs import KilledError, load, train

from mmvisionmix.engine import DiskFullError, find_resumable
from mmvisionmix.engine.checkpoint_hook import WholeFileBackend

SAFE = dict(type='mmvisionmix.CheckpointHook')


def names(folder):
    return sorted(file.name for file in Path(folder).glob('*.pth*'))


@pytest.fixture
def fail_at(monkeypatch):
    """Makes the n-th file that is written from now on fail, half of it on the disk."""
    real = os.fsync

    def arrange(number, error):
        left = iter(range(number, 0, -1))

        def fsync(descriptor):
            if next(left, 0) == 1:
                os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
                raise error
            real(descriptor)

        monkeypatch.setattr(os, 'fsync', fsync)
    return arrange


@pytest.mark.parametrize('write', range(1, 15))
def test_a_write_that_is_cut_off_leaves_an_earlier_checkpoint_to_go_on_from(
        tmp_path, fail_at, write):
    """Checkpoints, the notes of the last one, and best ones, in turn."""
    hook = dict(**SAFE, interval=2, max_keep_ckpts=1, save_best='mIoU')
    fail_at(write, KilledError())
    with pytest.raises(KilledError):
        train(tmp_path, hook, length=12)
    found = find_resumable(str(tmp_path))
    assert bool(found.path) == (write > 1)
    for name in names(tmp_path):
        load(tmp_path / name)
    if write > 1:
        best = load(found.path)['message_hub']['runtime_info'].get('best_ckpt')
        assert best is None or load(best)
        train(tmp_path, hook, length=12, resume=True)
        assert {'iter_12.pth', 'best_mIoU_iter_12.pth'} <= {*names(tmp_path)}
        assert len([name for name in names(tmp_path) if name.startswith('iter')]) == 1


@pytest.mark.parametrize('by_epoch', (False, True))
def test_as_many_checkpoints_are_kept_as_asked_for_and_the_last_is_noted(tmp_path, by_epoch):
    train(tmp_path, dict(**SAFE, interval=1, max_keep_ckpts=2, save_best='mIoU'), length=16,
          by_epoch=by_epoch, scores=[dict(mIoU=score) for score in (1, 3, 2, 0)])
    unit, numbers = ('epoch', (2, 3, 4)) if by_epoch else ('iter', (8, 15, 16))
    best, *kept = (f'{unit}_{number}.pth' for number in numbers)
    assert names(tmp_path) == sorted([f'best_mIoU_{best}', *kept])
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / kept[-1])
    assert load(tmp_path / kept[-1])['message_hub']['runtime_info']['best_score'] == 3


def test_what_an_interrupted_run_left_is_removed_when_it_is_resumed(tmp_path, monkeypatch):
    """Its unfinished file, and a checkpoint that was about to be removed."""
    def killed(self, *args, **kwargs):
        raise KilledError

    hook = dict(**SAFE, interval=2, max_keep_ckpts=2)
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(Path, 'unlink', killed)
        patch.setattr(WholeFileBackend, 'put', LocalBackend.put)
        train(tmp_path, hook, length=12)
    (tmp_path / 'iter_7.pth.unfinished').touch()
    assert names(tmp_path) == ['iter_2.pth', 'iter_4.pth', 'iter_6.pth', 'iter_7.pth.unfinished']
    train(tmp_path, hook, length=12, resume=True)
    assert names(tmp_path) == ['iter_10.pth', 'iter_12.pth']


def test_checkpoints_of_one_name_replace_each_other(tmp_path):
    train(tmp_path, dict(
        **SAFE, interval=2, max_keep_ckpts=1, save_best='mIoU', filename_tmpl='model.pth'))
    assert names(tmp_path) == ['best_mIoU_model.pth', 'model.pth']
    assert load(tmp_path / 'model.pth')['meta']['iter'] == 8


def test_several_best_ones_are_kept_and_published(tmp_path):
    train(tmp_path, dict(
        **SAFE, interval=4, save_best=['mIoU', 'mAcc'], max_keep_ckpts=1,
        published_keys=['meta', 'state_dict']), scores=(dict(mIoU=1, mAcc=2), dict(mIoU=2, mAcc=1)))
    kept = names(tmp_path)
    published = [name for name in kept if '-' in name]
    assert sorted(set(kept) - set(published)) == [
        'best_mAcc_iter_4.pth', 'best_mIoU_iter_8.pth', 'iter_8.pth']
    assert len(published) == 3
    assert all(set(load(tmp_path / name)) == {'meta', 'state_dict'} for name in published)


def test_another_folder_holds_the_checkpoints(tmp_path):
    train(tmp_path / 'run', dict(**SAFE, interval=8, out_dir=str(tmp_path / 'elsewhere')))
    assert names(tmp_path / 'run') == [] and names(tmp_path / 'elsewhere/run') == ['iter_8.pth']
    assert find_resumable(str(tmp_path / 'run')).path == str(tmp_path / 'elsewhere/run/iter_8.pth')


@pytest.mark.parametrize('code', (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
@pytest.mark.parametrize('write, last', ((1, None), (3, 2), (7, 4)), ids=str)
def test_a_full_disk_is_one_line_that_tells_how_to_go_on(tmp_path, fail_at, code, write, last):
    fail_at(write, OSError(code, os.strerror(code)))
    with pytest.raises(DiskFullError) as error:
        train(tmp_path, dict(**SAFE, interval=2, max_keep_ckpts=1, save_best='mIoU'))
    said = str(error.value)
    assert '\n' not in said and os.strerror(code) in said and f'MB free in {tmp_path}' in said
    assert error.value.errno == code
    if last:
        kept = tmp_path / f'iter_{last}.pth'
        assert f'{kept} is whole' in said and 'go on from it with --resume' in said
        assert load(kept)['meta']['iter'] == last
    else:
        assert 'there is no earlier one; make room, and start again' in said
    assert not list(tmp_path.glob('*.unfinished'))


def test_other_errors_of_writing_stay_what_they_are(tmp_path, fail_at):
    fail_at(1, OSError(errno.EIO, 'broken'))
    with pytest.raises(OSError, match='broken') as error:
        train(tmp_path, dict(**SAFE, interval=2))
    assert not isinstance(error.value, DiskFullError)


def test_storage_that_is_asked_for_is_used_as_mmengine_does(tmp_path, fail_at):
    fail_at(1, AssertionError('our way of writing'))
    runner = train(tmp_path, dict(
        **SAFE, interval=2, max_keep_ckpts=1, save_best='mIoU',
        backend_args=dict(backend='local')))
    hook = next(hook for hook in runner.hooks if hasattr(hook, 'file_backend'))
    assert type(hook.file_backend) is LocalBackend
    assert names(tmp_path) == ['best_mIoU_iter_8.pth', 'iter_8.pth']
