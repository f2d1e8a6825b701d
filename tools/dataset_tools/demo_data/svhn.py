# Copyright (c) mmvisionmix authors. All rights reserved.
"""Real handwritten digits in the layout of SVHN: ``train_32x32.mat`` and ``test_32x32.mat``.

scikit-learn ships 1,797 digits of 8x8 pixels. They are enlarged to 32x32 and coloured at random,
light on dark or dark on light, as house numbers are.
"""

from __future__ import annotations

from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Dict, List, Tuple, Union

import numpy as np
from PIL import Image

from .folder import write_once
from .photographs import CREDITS
from .pictures import Picture
from .recipe import Recipe, Track

SIDE = 32
"""Height and width of an image, in pixels."""
TRAIN_SHARE = 0.8
"""Share of the digits, from the first on, that training pictures show."""
STRONGEST_INK = 16
"""Value of an inked pixel in scikit-learn's digits; 0 is paper."""
FILES = {'train': 'train_32x32.mat', 'val': 'test_32x32.mat'}
MAT_HEADER_SIZE = 116
"""Bytes of free text at the beginning of a MATLAB file, where SciPy would write the time."""
CREDITS_TEXT = """Demo data made by mmvisionmix. The pictures are handwritten digits, enlarged and \
coloured, from
scikit-learn (sklearn.datasets.load_digits), which took them from the test set of:
E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
Repository, 1998, https://archive.ics.uci.edu/dataset/80, licence CC BY 4.0.
"""
REVISION = 1
"""Raised whenever the same recipe gives other files, so that older folders are made again."""


def write_svhn(out: Union[str, Path], recipe: Recipe, track: Track = iter) -> bool:
    """Writes handwritten digits in SVHN's layout, unless they are already there.

    Training pictures show the first 80% of scikit-learn's digits and test pictures the others. If
    more are asked for, the digits come again in other colours.

    Args:
        out: The folder; see :func:`.folder.write_once`.
        recipe: How many pictures, and from which seed; ``val`` counts the test pictures.
        track: Wraps the list of pictures while they are drawn, for a progress bar.

    Returns:
        Whether anything was written; False if the folder held just these pictures.

    Raises:
        FileExistsError: If the folder holds anything that was not made here.
        NotADirectoryError: If ``out`` is a file.
        ImportError: If scikit-learn is missing.
    """

    def draw() -> Dict[str, bytes]:
        files = {CREDITS: CREDITS_TEXT.encode()}
        for split, name in FILES.items():
            files[name] = encode_mat(draw_digits(recipe, split, track))
        return files

    return write_once(out, dict(layout='svhn', revision=REVISION, **asdict(recipe)), draw)


def load_digits(split: str) -> Tuple[np.ndarray, np.ndarray]:
    """Loads one split's part of scikit-learn's digits; the two parts share none.

    Returns:
        Ink from 0 to 1, of shape (N, 8, 8), and N labels from 0 to 9.

    Raises:
        ImportError: If scikit-learn is missing.
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError(f'The digits come from scikit-learn, which could not be imported '
                          f'({error}). Install it with: pip install "mmvisionmix[demo]"') from error
    digits = datasets.load_digits()
    border = round(TRAIN_SHARE * len(digits.target))
    chosen = slice(None, border) if split == 'train' else slice(border, None)
    return digits.images[chosen] / STRONGEST_INK, digits.target[chosen]


def draw_digits(recipe: Recipe, split: str, track: Track) -> List[Picture]:
    """Draws the pictures of one split, of 32x32 pixels.

    Args:
        recipe: How many, and from which seed.
        split: ``'train'`` or ``'val'``.
        track: Wraps the indices of the pictures, for a progress bar.

    Returns:
        The pictures; a label is the digit.
    """
    ink, labels = load_digits(split)
    return [
        Picture(_colour(recipe.rng(split, index), ink[index % len(ink)]),
                int(labels[index % len(ink)]))
        for index in track(range(recipe.count(split)))
    ]


def enlarge(ink: np.ndarray) -> np.ndarray:
    """Enlarges a digit (8, 8) to (32, 32), ink from 0 to 1."""
    large = Image.fromarray(ink.astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(large), 0, 1)


def encode_mat(pictures: List[Picture]) -> bytes:
    """Encodes pictures of 32x32 pixels as SVHN's MATLAB file.

    It holds images X, shape (32, 32, 3, N), and labels y, shape (N, 1), where 10 is the digit 0.
    """
    from scipy.io import savemat  # scikit-learn, where the digits come from, brings it

    buffer = BytesIO()
    labels = [[picture.label or 10] for picture in pictures]
    images = np.stack([picture.image for picture in pictures], axis=-1)
    savemat(buffer, dict(X=images, y=np.array(labels, np.uint8)), do_compression=True)
    header = b'MATLAB 5.0 MAT-file, demo data made by mmvisionmix'.ljust(MAT_HEADER_SIZE)
    return header + buffer.getvalue()[MAT_HEADER_SIZE:]


def _colour(rng: np.random.Generator, ink: np.ndarray) -> np.ndarray:
    """Enlarges a digit and paints ink and paper in a dark and a light colour: (32, 32, 3)."""
    share = enlarge(ink)[..., None]
    dark, light = rng.uniform(10, 100, 3), rng.uniform(155, 245, 3)
    paper, pen = rng.permutation([dark, light])
    return np.round(paper + (pen - paper) * share).astype(np.uint8)
