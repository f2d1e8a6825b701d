# Copyright (c) mmvisionmix authors. All rights reserved.
"""Demo scenes in the layout of ADE20K, as mmsegmentation's ``ADE20KDataset`` reads it.

::

    images/{training,validation}/ADE_{train,val}_00000001.jpg
    annotations/{training,validation}/ADE_{train,val}_00000001.png

In the annotations 0 means "other", which is ignored (``reduce_zero_label=True``) and which no
scene contains; classes count from 1.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Dict, Union

from .folder import write_once
from .photographs import CREDITS, SPLITS, credits_text, load_parts
from .pictures import encode_jpeg, encode_png
from .recipe import Track
from .scenes import SceneRecipe, draw_scene

FOLDERS = {'train': 'training', 'val': 'validation'}
REVISION = 3
"""Raised whenever the same recipe gives other files, so that older folders are made again."""


def write_ade20k(out: Union[str, Path],
                 recipe: SceneRecipe,
                 track: Track = iter) -> bool:
    """Writes demo scenes in ADE20K's layout, unless they are already there.

    The same recipe gives the same files, byte for byte, with the same versions of the packages
    involved.

    Args:
        out: The folder; see :func:`.folder.write_once`.
        recipe: What to draw.
        track: Wraps the list of scenes while they are drawn, for a progress bar.

    Returns:
        Whether anything was written; False if the folder held just these scenes.

    Raises:
        FileExistsError: If the folder holds anything that was not made here.
        NotADirectoryError: If ``out`` is a file.
        ImportError: If scikit-image or scikit-learn is missing.
    """

    def draw() -> Dict[str, bytes]:
        files = {CREDITS: credits_text().encode()}
        parts = {split: load_parts(split, *shape) for split in SPLITS}
        for split, index in track(places):
            scene = draw_scene(recipe.rng(split, index), parts[split], shape)
            name = f'{FOLDERS[split]}/ADE_{split}_{index:08d}'
            files[f'images/{name}.jpg'] = encode_jpeg(scene.image)
            files[f'annotations/{name}.png'] = encode_png(scene.classes + 1)
        return files

    shape = (recipe.size, recipe.size)
    places = [(split, index) for split in SPLITS for index in range(1, recipe.count(split) + 1)]
    return write_once(out, dict(layout='ade20k', revision=REVISION, **asdict(recipe)), draw)
