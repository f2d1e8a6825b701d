# Copyright (c) mmvisionmix authors. All rights reserved.
"""Checkpoints that are whole or not there, whenever the process is killed or the disk is full."""
import errno
import os
import shutil
from collections import deque
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, List, Union

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook
from mmengine.runner import Runner

from mmvisionmix.registry import HOOKS

LAST = 'last_checkpoint'  # the file in which MMEngine notes the last checkpoint's path
UNFINISHED = '.unfinished'  # ends the names of files that are being written
BACKEND = 'mmvisionmix_whole_files'
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""No space on the device, over the quota, over the limit of a file's size."""


class DiskFullError(OSError):
    """A checkpoint could not be written for lack of space; says what is left and how to go on."""

    def __str__(self) -> str:
        return self.strerror


@register_backend(BACKEND)
class WholeFileBackend(LocalBackend):
    """Local files that appear under their name when they are whole, and not before.

    What they replace stays until then. What is to be removed is noted in ``outdated``, for the
    owner to remove when nothing needs it any more.
    """

    def __init__(self) -> None:
        self.outdated: List[str] = []

    def put(self, obj: bytes, filepath: Union[str, Path]) -> None:
        """Writes a file beside its place, forces it to the disk, and moves it there."""
        path = Path(filepath)
        unfinished = path.with_name(path.name + UNFINISHED)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(unfinished, 'wb') as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)

    def remove(self, filepath: Union[str, Path]) -> None:
        """Notes a file that is outdated."""
        self.outdated.append(str(filepath))


@HOOKS.register_module()
class CheckpointHook(MMEngineCheckpointHook):
    """MMEngine's hook, which at no moment is without a whole checkpoint once it wrote one.

    MMEngine's removes the checkpoints that are too many, and the best one so far, before it writes
    the new one, and writes over files in their place. Here the new one is written first, under a
    name of its own, and an old one is removed when the new one is whole and noted in
    ``last_checkpoint``. A disk thus holds one checkpoint more for a moment. All arguments are
    MMEngine's; where they ask for remote storage (``backend_args``, ``file_client_args``, an
    ``out_dir`` with a scheme), nothing is changed.
    """

    def before_train(self, runner: Runner) -> None:
        """Removes what a killed process left unfinished, beside what MMEngine's hook does."""
        remote = self.file_client_args or '://' in str(self.out_dir or '')
        self._is_local = not remote and self.backend_args in (None, {}, dict(backend=BACKEND))
        if self._is_local:
            self.backend_args = dict(backend=BACKEND)
        super().before_train(runner)
        if not self._is_local:
            return
        if self.max_keep_ckpts > 0:
            self.keep_ckpt_ids = deque(self.keep_ckpt_ids)  # one more while it is being written
        self._remove_outdated()
        if is_main_process():
            for folder in {str(self.out_dir), runner.work_dir}:
                for file in Path(folder).glob(f'*{UNFINISHED}'):
                    file.unlink()
                    runner.logger.info(f'{file}, left by an interrupted run, is removed')

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        if not self._is_local:
            super()._save_checkpoint_with_step(runner, step, meta)
            return
        if self.max_keep_ckpts > 0:
            if not self.keep_ckpt_ids or self.keep_ckpt_ids[-1] != step:
                self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        self.last_ckpt = self._path_of(step)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        with _explaining_a_full_disk(self.last_ckpt, runner.work_dir):
            runner.save_checkpoint(
                self.out_dir, self.filename_tmpl.format(step), meta=meta, by_epoch=self.by_epoch,
                save_optimizer=self.save_optimizer, save_param_scheduler=self.save_param_scheduler,
                backend_args=self.backend_args, **self.args)
            if is_main_process():
                self.file_backend.put(self.last_ckpt.encode(), Path(runner.work_dir) / LAST)
        while 0 < self.max_keep_ckpts < len(self.keep_ckpt_ids):
            self.file_backend.remove(self._path_of(self.keep_ckpt_ids.popleft()))
        self._remove_outdated()

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if not self._is_local:
            super()._save_best_checkpoint(runner, metrics)
            return
        with _explaining_a_full_disk('the best checkpoint', runner.work_dir):
            super()._save_best_checkpoint(runner, metrics)
        self._remove_outdated()

    def _path_of(self, step: int) -> str:
        return self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(step))

    def _remove_outdated(self) -> None:
        """Removes what was noted, but not what was written anew under the same name."""
        best = getattr(self, 'best_ckpt_path_dict', {None: getattr(self, 'best_ckpt_path', None)})
        if is_main_process():
            for path in {*self.file_backend.outdated} - {self.last_ckpt, *best.values()}:
                Path(path).unlink(missing_ok=True)
        self.file_backend.outdated.clear()


@contextmanager
def _explaining_a_full_disk(what: str, work_dir: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in FULL_DISK or isinstance(error, DiskFullError):
            raise
        raise DiskFullError(
            error.errno, f'{what} could not be written: {explain_full_disk(error, work_dir)}'
        ) from error


def explain_full_disk(error: OSError, work_dir: str) -> str:
    """Returns one line: what the system says, the space left, what is usable, and how to go on."""
    folder = Path(work_dir).absolute()
    existing = next(path for path in (folder, *folder.parents) if path.is_dir())
    free = shutil.disk_usage(existing).free / 2**20
    last = folder / LAST
    usable = (f'{last.read_text()} is whole; make room, and go on from it with --resume'
              if last.is_file() else 'there is no earlier one; make room, and start again')
    return f'{error.strerror}, with {free:,.0f} MB free in {work_dir}. {usable}'
