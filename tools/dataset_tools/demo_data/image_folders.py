# Copyright (c) mmvisionmix authors. All rights reserved.
"""Demo pictures in the layouts of Tiny ImageNet and ImageNet: JPEG files in folders of a class.

::

    Tiny ImageNet                                ImageNet
    wnids.txt  words.txt                         meta/{train, val}.txt
    train/<id>/images/<id>_0.JPEG                train/<id>/<id>_1.JPEG
    val/images/val_0.JPEG                        val/<id>/ILSVRC2012_val_00000001.JPEG
    val/val_annotations.txt

Tiny ImageNet's text files name the classes, so here the ids are made up and the names fit. Those of
ImageNet are known to mmpretrain, so here the ids are its first ten. mmpretrain wants all 1,000
folders there, unless ``meta`` lists the files and labels.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Dict, Iterable, List, Union

from .folder import write_once
from .photographs import CLASSES, CREDITS, SPLITS, credits_text
from .pictures import draw_pictures, encode_jpeg
from .recipe import Recipe, Track

TINY_SIDE, IMAGENET_SIDE = 64, 256
"""Height and width of the pictures, in pixels."""
TINY_WNIDS = tuple(f'n{90000000 + label}' for label in range(len(CLASSES)))
"""Ids of the classes in the layout of Tiny ImageNet; WordNet has no such ones."""
IMAGENET_WNIDS = ('n01440764', 'n01443537', 'n01484850', 'n01491361', 'n01494475', 'n01496331',
                  'n01498041', 'n01514668', 'n01514859', 'n01518878')
"""WordNet ids of ImageNet's first ten classes, tench to ostrich."""
REVISION = 1
"""Raised whenever the same recipe gives other files, so that older folders are made again."""


def write_tiny_imagenet(out: Union[str, Path], recipe: Recipe, track: Track = iter) -> bool:
    """Writes demo pictures in Tiny ImageNet's layout, unless they are already there.

    Class ``i`` of ten is photograph ``i``. The box in ``val_annotations.txt`` is the whole picture.

    Args:
        out: The folder; see :func:`.folder.write_once`.
        recipe: How many pictures, and from which seed.
        track: Wraps the list of pictures while they are drawn, for a progress bar.

    Returns:
        Whether anything was written; False if the folder held just these pictures.

    Raises:
        FileExistsError: If the folder holds anything that was not made here.
        NotADirectoryError: If ``out`` is a file.
        ValueError: If a class would have no training picture, which the layout has no room for.
        ImportError: If scikit-image or scikit-learn is missing.
    """
    if recipe.train < len(CLASSES):
        raise ValueError(
            f'train must be at least {len(CLASSES)}, one of each class, got {recipe.train}')

    def draw() -> Dict[str, bytes]:
        files = {
            CREDITS: credits_text().encode(),
            'wnids.txt': _text(TINY_WNIDS),
            'words.txt': _text(f'{wnid}\t{name}' for wnid, name in zip(TINY_WNIDS, CLASSES)),
        }
        for index, picture in enumerate(draw_pictures(recipe, 'train', TINY_SIDE, track)):
            wnid = TINY_WNIDS[picture.label]
            name = f'train/{wnid}/images/{wnid}_{index // len(CLASSES)}.JPEG'
            files[name] = encode_jpeg(picture.image)
        rows, box = [], f'0\t0\t{TINY_SIDE - 1}\t{TINY_SIDE - 1}'
        for index, picture in enumerate(draw_pictures(recipe, 'val', TINY_SIDE, track)):
            files[f'val/images/val_{index}.JPEG'] = encode_jpeg(picture.image)
            rows.append(f'val_{index}.JPEG\t{TINY_WNIDS[picture.label]}\t{box}')
        files['val/val_annotations.txt'] = _text(rows)
        return files

    return write_once(
        out, dict(layout='tiny-imagenet', revision=REVISION, **asdict(recipe)), draw)


def write_imagenet(out: Union[str, Path], recipe: Recipe, track: Track = iter) -> bool:
    """Writes demo pictures in ImageNet's layout, unless they are already there.

    Class ``i`` of 1,000 is photograph ``i``; there are ten. See :func:`write_tiny_imagenet`.
    """

    def draw() -> Dict[str, bytes]:
        files = {CREDITS: credits_text().encode()}
        for split in SPLITS:
            rows: List[str] = []
            for index, picture in enumerate(draw_pictures(recipe, split, IMAGENET_SIDE, track), 1):
                wnid = IMAGENET_WNIDS[picture.label]
                stem = f'{wnid}_{index}' if split == 'train' else f'ILSVRC2012_val_{index:08d}'
                files[f'{split}/{wnid}/{stem}.JPEG'] = encode_jpeg(picture.image)
                rows.append(f'{wnid}/{stem}.JPEG {picture.label}')
            files[f'meta/{split}.txt'] = _text(rows)
        return files

    return write_once(out, dict(layout='imagenet', revision=REVISION, **asdict(recipe)), draw)


def _text(lines: Iterable[str]) -> bytes:
    return ''.join(f'{line}\n' for line in lines).encode()
