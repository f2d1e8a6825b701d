# Copyright (c) mmvisionmix authors. All rights reserved.
"""Which checkpoint an interrupted training goes on from."""
from pathlib import Path
from typing import List, NamedTuple, Optional

from mmengine.runner import CheckpointLoader

LAST = 'last_checkpoint'  # the file in which MMEngine notes the last checkpoint's path
NEEDED = ('meta', 'state_dict', 'message_hub')  # what MMEngine reads on resuming, in any case


class Resumable(NamedTuple):
    """A checkpoint that was read to its end.

    Attributes:
        path: Its path, or None where training has to start from the beginning.
        seed: The seed of the run that wrote it, where known.
        note: What to tell the user about the choice.
    """
    path: Optional[str]
    seed: Optional[int]
    note: str


def read_resumable(path: str) -> Resumable:
    """Reads a checkpoint to its end, and tells whether training can go on from it.

    Raises:
        ValueError: If it is missing, broken, or not the checkpoint of a run; says which.
    """
    if '://' in path:  # for MMEngine to fetch
        return Resumable(path, None, f'Going on from {path}')
    if not Path(path).is_file():
        raise ValueError(f'{path} does not exist')
    try:
        checkpoint = CheckpointLoader.load_checkpoint(path, 'cpu')
    except Exception as error:  # a broken file may raise anything
        reason = f'{type(error).__name__}: {error}'.splitlines()[0][:200]
        raise ValueError(f'{path} is broken or not a checkpoint ({reason})') from error
    missing = [key for key in NEEDED if not isinstance(checkpoint, dict) or key not in checkpoint]
    if missing:
        raise ValueError(f'{path} has weights at most, and not {", ".join(missing)}')
    return Resumable(path, checkpoint['meta'].get('seed'), f'Going on from {path}')


def find_resumable(work_dir: str) -> Resumable:
    """Finds the checkpoint of a work directory to go on from.

    That is the one named in ``last_checkpoint``, in the folder named there or, if the work
    directory was moved, in this one; else the newest whole one, the best ones left aside, for they
    lack the optimizer's state.

    Raises:
        ValueError: If there are files of a run, but none that training can go on from.
    """
    last = Path(work_dir) / LAST
    named = last.read_text().strip() if last.is_file() else ''
    folders = {Path(work_dir)} | ({Path(named).parent} if named and '://' not in named else set())
    files = [file for folder in folders for file in folder.glob('*.pth')
             if not file.name.startswith('best_')]
    newest = sorted(files, key=lambda file: file.stat().st_mtime, reverse=True)
    first = [named, str(Path(work_dir) / Path(named).name)] if named else []
    refused: List[str] = []
    for path in dict.fromkeys([*first, *map(str, newest)]):
        try:
            found = read_resumable(path)
        except ValueError as error:
            refused.append(str(error))
            continue
        return found._replace(note='. '.join([*refused, found.note]))
    if refused or last.is_file():
        raise ValueError('. '.join(
            [*(refused or [f'{last} is empty']), f'No other whole checkpoint is in {work_dir}: '
             'train without --resume to start anew, or name a checkpoint by --resume PATH']))
    return Resumable(
        None, None, f'{work_dir} has no checkpoint yet: training starts from the beginning')
