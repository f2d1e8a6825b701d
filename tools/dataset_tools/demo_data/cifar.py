# Copyright (c) mmvisionmix authors. All rights reserved.
"""Demo pictures in the layouts of CIFAR-10 and CIFAR-100 ("python version").

::

    cifar-10-batches-py/{data_batch_1, ..., data_batch_5, test_batch, batches.meta}
    cifar-100-python/{train, test, meta}

Every file is a pickled dict. Images are rows of 3072 bytes: 32x32 values of red, of green, of blue.
mmpretrain refuses files whose checksums are not those of the real data sets;
``mmvisionmix.DemoCIFAR10`` and ``mmvisionmix.DemoCIFAR100`` read them.
"""

from __future__ import annotations

import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any, Dict, List, Sequence, Union

import numpy as np

from .folder import write_once
from .photographs import CLASSES, CREDITS, SPLITS, credits_text
from .pictures import Picture, draw_pictures
from .recipe import Recipe, Track

SIDE = 32
"""Height and width of an image, in pixels."""
BATCHES = 5
"""Number of files that CIFAR-10's training images are spread over."""
PICKLE_PROTOCOL = 2  # as the real files, which Python 2 can read too
REVISION = 1
"""Raised whenever the same recipe gives other files, so that older folders are made again."""


def write_cifar10(out: Union[str, Path], recipe: Recipe, track: Track = iter) -> bool:
    """Writes demo pictures in CIFAR-10's layout, unless they are already there.

    Class ``i`` of ten is photograph ``i``, and ``batches.meta`` gives its name.

    Args:
        out: The folder; see :func:`.folder.write_once`.
        recipe: How many pictures, and from which seed.
        track: Wraps the list of pictures while they are drawn, for a progress bar.

    Returns:
        Whether anything was written; False if the folder held just these pictures.

    Raises:
        FileExistsError: If the folder holds anything that was not made here.
        NotADirectoryError: If ``out`` is a file.
        ImportError: If scikit-image or scikit-learn is missing.
    """

    def draw() -> Dict[str, bytes]:
        train, test = (draw_pictures(recipe, split, SIDE, track) for split in SPLITS)
        borders = [number * len(train) // BATCHES for number in range(BATCHES + 1)]
        batches = {'test_batch': _batch('testing batch 1 of 1', test, 'labels')}
        for number, (start, stop) in enumerate(zip(borders, borders[1:]), start=1):
            batches[f'data_batch_{number}'] = _batch(
                f'training batch {number} of {BATCHES}', train[start:stop], 'labels')
        batches['batches.meta'] = dict(
            label_names=list(CLASSES), num_cases_per_batch=borders[1], num_vis=3 * SIDE**2)
        return _files('cifar-10-batches-py', batches)

    return write_once(out, dict(layout='cifar10', revision=REVISION, **asdict(recipe)), draw)


def write_cifar100(out: Union[str, Path], recipe: Recipe, track: Track = iter) -> bool:
    """Writes demo pictures in CIFAR-100's layout, unless they are already there.

    Fine labels are 0 to 9, of 100; the coarse label of all is 0. See :func:`write_cifar10`.
    """

    def draw() -> Dict[str, bytes]:
        train, test = (draw_pictures(recipe, split, SIDE, track) for split in SPLITS)
        return _files('cifar-100-python', dict(
            train=_cifar100_batch('training batch 1 of 1', train),
            test=_cifar100_batch('testing batch 1 of 1', test),
            meta=dict(fine_label_names=list(CLASSES), coarse_label_names=['photographs'])))

    return write_once(out, dict(layout='cifar100', revision=REVISION, **asdict(recipe)), draw)


def _batch(name: str, pictures: Sequence[Picture], label_key: str) -> Dict[str, Any]:
    """One of CIFAR's dicts; its images have the shape (number of pictures, 3072)."""
    labels: List[int] = [picture.label for picture in pictures]
    rows = [picture.image.transpose(2, 0, 1).ravel() for picture in pictures]
    files = [f'{CLASSES[label]}_{number:06d}.png' for number, label in enumerate(labels, start=1)]
    data = np.array(rows, np.uint8).reshape(-1, 3 * SIDE**2)
    return {'batch_label': name, label_key: labels, 'data': data, 'filenames': files}


def _cifar100_batch(name: str, pictures: Sequence[Picture]) -> Dict[str, Any]:
    return {**_batch(name, pictures, 'fine_labels'), 'coarse_labels': [0] * len(pictures)}


def _files(folder: str, batches: Dict[str, Dict[str, Any]]) -> Dict[str, bytes]:
    """Pickles dicts into the files of a folder, and puts the credits beside it."""
    files = {CREDITS: credits_text().encode()}
    for name, batch in batches.items():
        files[f'{folder}/{name}'] = pickle.dumps(batch, PICKLE_PROTOCOL)
    return files
