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
from typing import List, NamedTuple, Union

from PIL import Image

from .owned_folder import OwnedFolder
from .photographs import CREDITS, SPLITS, credits_text, load_parts
from .recipe import Track
from .scenes import SceneRecipe, draw_scene

FOLDERS = {'train': 'training', 'val': 'validation'}
JPEG_QUALITY = 95
REVISION = 3
"""Raised whenever the same recipe gives other files, so that older folders are made again."""


class _Place(NamedTuple):
    """One scene's place in the data set; ``index`` counts from 1, as ADE20K does."""
    split: str
    index: int

    @property
    def image(self) -> str:
        return f'images/{FOLDERS[self.split]}/ADE_{self.split}_{self.index:08d}.jpg'

    @property
    def annotation(self) -> str:
        return f'annotations/{FOLDERS[self.split]}/ADE_{self.split}_{self.index:08d}.png'


def write_ade20k(out: Union[str, Path],
                 recipe: SceneRecipe,
                 track: Track = iter) -> bool:
    """Writes demo scenes in ADE20K's layout, unless they are already there.

    The same recipe gives the same files, byte for byte, with the same versions of the packages
    involved.

    Args:
        out: The folder. It may be new, empty, or one that this function wrote before, whatever
            the recipe and whether or not it came to its end.
        recipe: What to draw.
        track: Wraps the list of scenes while they are written, for a progress bar.

    Returns:
        Whether anything was written; False if the folder held just these scenes.

    Raises:
        FileExistsError: If the folder holds anything that was not made here.
        NotADirectoryError: If ``out`` is a file.
        ImportError: If scikit-image or scikit-learn is missing.
    """
    folder = OwnedFolder(Path(out))
    parameters = dict(layout='ade20k', revision=REVISION, **asdict(recipe))
    if folder.holds(parameters):
        return False
    shape = (recipe.size, recipe.size)
    parts = {split: load_parts(split, *shape) for split in SPLITS}
    scenes = _list_scenes(recipe)
    files = [CREDITS] + [name for scene in scenes for name in (scene.image, scene.annotation)]
    with folder.rewriting(parameters, files) as root:
        (root / CREDITS).write_text(credits_text(), encoding='utf-8')
        for place in track(scenes):
            scene = draw_scene(recipe.rng(*place), parts[place.split], shape)
            Image.fromarray(scene.image).save(
                root / place.image, quality=JPEG_QUALITY, subsampling=0)
            Image.fromarray(scene.classes + 1).save(root / place.annotation)
    return True


def _list_scenes(recipe: SceneRecipe) -> List[_Place]:
    """The places of all scenes, split by split."""
    return [
        _Place(split, index) for split in SPLITS
        for index in range(1, recipe.count(split) + 1)
    ]
