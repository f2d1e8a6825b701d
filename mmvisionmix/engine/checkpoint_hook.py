# Copyright (c) mmvisionmix authors. All rights reserved.
"""Checkpoints that are whole or not there, whenever the process is killed or the disk is full."""
import os
from pathlib import Path
from typing import Any, Set, Union

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook
from mmengine.runner import Runner

from mmvisionmix.registry import HOOKS

UNFINISHED = '.unfinished'  # ends the names of files that are being written
BACKEND = 'mmvisionmix_whole_files'


@register_backend(BACKEND)
class WholeFileBackend(LocalBackend):
    """Local files that appear under their name when they are whole, and not before.

    What they replace stays until then. What is to be removed is noted, and goes when
    :meth:`remove_outdated` is called: MMEngine removes old checkpoints before it writes the new
    one. The note is of the class, as MMEngine makes an object for every file.
    """
    outdated: Set[str] = set()

    def put(self, obj: bytes, filepath: Union[str, Path]) -> None:
        """Writes a file beside its place, forces it to the disk, and moves it there.

        Raises:
            OSError: If it cannot be written, of a full disk too; names the file.
        """
        path = Path(filepath)
        unfinished = path.with_name(path.name + UNFINISHED)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(unfinished, 'wb') as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, path)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise OSError(error.errno, error.strerror, str(path)) from error
        self.outdated.discard(str(filepath))

    def remove(self, filepath: Union[str, Path]) -> None:
        """Notes a file that is outdated, unless it is written anew."""
        self.outdated.add(str(filepath))

    @classmethod
    def remove_outdated(cls) -> None:
        """Removes the files that were noted."""
        while cls.outdated:
            Path(cls.outdated.pop()).unlink(missing_ok=True)


@HOOKS.register_module()
class CheckpointHook(MMEngineCheckpointHook):
    """MMEngine's hook, which at no moment is without a whole checkpoint once it wrote one.

    MMEngine's removes the checkpoints that are too many, and the best one so far, before it writes
    the new one, and writes over files in their place. Here files are written by
    :class:`WholeFileBackend`, and what is outdated is removed after that. A disk thus holds one
    checkpoint more for a moment. All arguments are MMEngine's; where they ask for remote storage
    (``backend_args``, ``file_client_args``, an ``out_dir`` with a scheme), nothing is changed.
    """

    def before_train(self, runner: Runner) -> None:
        """Chooses how files are written, and removes what a killed process left unfinished."""
        remote = self.file_client_args or '://' in str(self.out_dir or runner.work_dir)
        if not remote and not self.backend_args:
            self.backend_args = dict(backend=BACKEND)
        WholeFileBackend.outdated.clear()  # of a run of this process that failed
        super().before_train(runner)
        WholeFileBackend.remove_outdated()
        if isinstance(self.file_backend, WholeFileBackend) and is_main_process():
            for file in Path(self.out_dir).glob(f'*{UNFINISHED}'):
                file.unlink()

    def after_train_iter(self, *args: Any, **kwargs: Any) -> None:
        """Saves, by iterations, and removes what is outdated."""
        super().after_train_iter(*args, **kwargs)
        WholeFileBackend.remove_outdated()

    def after_train_epoch(self, runner: Runner) -> None:
        """Saves, by epochs, and removes what is outdated."""
        super().after_train_epoch(runner)
        WholeFileBackend.remove_outdated()

    def after_val_epoch(self, *args: Any, **kwargs: Any) -> None:
        """Saves the best checkpoint so far, and removes what is outdated."""
        super().after_val_epoch(*args, **kwargs)
        WholeFileBackend.remove_outdated()
