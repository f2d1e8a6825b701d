# Copyright (c) mmvisionmix authors. All rights reserved.
import errno
import os
from pathlib import Path

import pytest
import torch
from mmengine.fileio import LocalBackend
from toy_runs import KilledError, train

from mmvisionmix.engine import find_resumable

SAFE = dict(type='mmvisionmix.CheckpointHook')


def names(folder):
    return sorted(file.name for file in Path(folder).glob('*.pth'))


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


@pytest.mark.parametrize('write', range(1, 11))
def test_a_write_that_is_cut_off_leaves_an_earlier_checkpoint_to_go_on_from(
        tmp_path, fail_at, write):
    """Checkpoints and best ones, in turn."""
    hook = dict(**SAFE, interval=2, max_keep_ckpts=1, save_best='mIoU')
    fail_at(write, KilledError())
    with pytest.raises(KilledError):
        train(tmp_path, hook, length=12)
    found = find_resumable(str(tmp_path)).path
    assert bool(found) == (write > 1)
    for name in names(tmp_path):
        torch.load(tmp_path / name)
    if found:
        best = torch.load(found)['message_hub']['runtime_info'].get('best_ckpt')
        assert best is None or Path(best).is_file()
        train(tmp_path, hook, length=12, resume=True)
        assert {'iter_12.pth', 'best_mIoU_iter_12.pth'} <= {*names(tmp_path)}
        assert len([name for name in names(tmp_path) if name.startswith('iter')]) == 1
        assert not list(tmp_path.glob('*.unfinished'))


@pytest.mark.parametrize('by_epoch', (False, True))
def test_as_many_checkpoints_are_kept_as_asked_for_and_the_last_is_noted(tmp_path, by_epoch):
    train(tmp_path, dict(**SAFE, interval=1, max_keep_ckpts=2, save_best='mIoU'), length=16,
          by_epoch=by_epoch, scores=[dict(mIoU=score) for score in (1, 3, 2, 0)])
    unit, numbers = ('epoch', (2, 3, 4)) if by_epoch else ('iter', (8, 15, 16))
    best, *kept = (f'{unit}_{number}.pth' for number in numbers)
    assert names(tmp_path) == sorted([f'best_mIoU_{best}', *kept])
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / kept[-1])
    assert torch.load(tmp_path / kept[-1])['message_hub']['runtime_info']['best_score'] == 3


def test_a_resumed_run_removes_what_is_too_many(tmp_path):
    """Of a run that kept more, or that noted more in its checkpoints."""
    train(tmp_path, dict(**SAFE, interval=2, max_keep_ckpts=3))
    assert names(tmp_path) == ['iter_4.pth', 'iter_6.pth', 'iter_8.pth']
    train(tmp_path, dict(**SAFE, interval=2, max_keep_ckpts=1), length=12, resume=True)
    assert names(tmp_path) == ['iter_12.pth']


def test_checkpoints_of_one_name_replace_each_other_in_a_folder_of_their_own(tmp_path):
    train(tmp_path / 'run', dict(
        **SAFE, interval=2, max_keep_ckpts=1, save_best='mIoU', filename_tmpl='model.pth',
        out_dir=str(tmp_path / 'other')))
    assert names(tmp_path / 'run') == []
    assert names(tmp_path / 'other/run') == ['best_mIoU_model.pth', 'model.pth']
    last = find_resumable(str(tmp_path / 'run')).path
    assert last == str(tmp_path / 'other/run/model.pth') and torch.load(last)['meta']['iter'] == 8


def test_several_best_ones_are_kept_and_published(tmp_path):
    train(tmp_path, dict(
        **SAFE, interval=4, save_best=['mIoU', 'mAcc'], max_keep_ckpts=1,
        published_keys=['meta', 'state_dict']), scores=(dict(mIoU=1, mAcc=2), dict(mIoU=2, mAcc=1)))
    published = [name for name in names(tmp_path) if '-' in name]
    assert sorted({*names(tmp_path)} - {*published}) == [
        'best_mAcc_iter_4.pth', 'best_mIoU_iter_8.pth', 'iter_8.pth']
    assert [set(torch.load(tmp_path / name)) for name in published] == 3 * [{'meta', 'state_dict'}]


def test_a_full_disk_is_told_with_the_file_and_the_checkpoint_before_is_whole(tmp_path, fail_at):
    fail_at(5, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    with pytest.raises(OSError, match=rf"No space left on device: '{tmp_path}/iter_6.pth'"):
        train(tmp_path, dict(**SAFE, interval=2, max_keep_ckpts=1, save_best='mIoU'), length=12)
    assert names(tmp_path) == ['best_mIoU_iter_4.pth', 'iter_4.pth']
    assert not list(tmp_path.glob('*.unfinished'))
    assert torch.load(find_resumable(str(tmp_path)).path)['meta']['iter'] == 4


def test_storage_that_is_asked_for_is_used_as_mmengine_does(tmp_path, fail_at):
    fail_at(1, AssertionError('our way of writing'))
    runner = train(tmp_path, dict(
        **SAFE, interval=2, max_keep_ckpts=1, save_best='mIoU',
        backend_args=dict(backend='local')))
    hook = next(hook for hook in runner.hooks if hasattr(hook, 'file_backend'))
    assert type(hook.file_backend) is LocalBackend
    assert names(tmp_path) == ['best_mIoU_iter_8.pth', 'iter_8.pth']
