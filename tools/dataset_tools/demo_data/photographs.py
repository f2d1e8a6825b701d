# Copyright (c) mmvisionmix authors. All rights reserved.
"""The photographs of the demo data: where they come from and how they are divided.

Every photograph is cut in two across its longer side. Training scenes are made from the first,
larger part alone and validation scenes from the second, so that no validation pixel was ever seen
in training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import List, Tuple

import numpy as np
from PIL import Image

SPLITS = ('train', 'val')
"""Names of the splits."""
CREDITS = 'CREDITS.txt'
"""Name of the file in a data set that :func:`credits_text` is written to."""
TRAIN_SHARE = 0.6
"""Share of a photograph's longer side that training crops come from."""
LONGEST_SIDE = 640
"""Larger photographs are scaled down to this, in pixels, so that crops show comparable detail."""


@dataclass(frozen=True)
class Photograph:
    """One photograph and the class it stands for.

    Attributes:
        name: Name of the class.
        color: RGB colour of the class in label pictures.
        package: The package that ships it, ``'scikit-image'`` or ``'scikit-learn'``.
        key: Its name in ``skimage.data`` or in ``sklearn.datasets.load_sample_image``.
        origin: Where it was taken from, as that package documents it.
        licence: Its terms, as that package documents them.
        margin: Share of each side that is left out, for photographs with an empty frame.
    """
    name: str
    color: Tuple[int, int, int]
    package: str
    key: str
    origin: str
    licence: str
    margin: float = 0.


PHOTOGRAPHS = (
    Photograph(
        'brick', (188, 189, 34), 'scikit-image', 'brick',
        'CC0Textures, https://cc0textures.com/view.php?tex=Bricks25', 'CC0'),
    Photograph(
        'grass', (44, 160, 44), 'scikit-image', 'grass',
        'DeviantArt, https://www.deviantart.com/linolafett/art/Grass-01-434853879', 'CC0'),
    Photograph(
        'gravel', (127, 127, 127), 'scikit-image', 'gravel',
        'CC0Textures, https://cc0textures.com/view.php?tex=Gravel04', 'CC0'),
    Photograph(
        'hubble', (31, 119, 180), 'scikit-image', 'hubble_deep_field',
        'NASA, HubbleSite, http://hubblesite.org/newscenter/archive/releases/2012/37/image/a/',
        'may be freely used in the public domain'),
    Photograph(
        'chelsea', (255, 127, 14), 'scikit-image', 'chelsea',
        'Stefan van der Walt', 'CC0 by the photographer, no copyright restrictions'),
    Photograph(
        'coffee', (140, 86, 75), 'scikit-image', 'coffee',
        'Rachel Michetti, courtesy of Pikolo Espresso Bar',
        'CC0 by the photographer, no copyright restrictions'),
    Photograph(
        'tissue', (148, 103, 189), 'scikit-image', 'immunohistochemistry',
        'Center for Microscopy And Molecular Imaging (CMMI)', 'no known copyright restrictions'),
    # The eye fills a disc on a black frame. The frame would pass for the sky of `hubble`, so
    # only the square inside the disc is used.
    Photograph(
        'retina', (214, 39, 40), 'scikit-image', 'retina',
        'Mikael Häggström, Wikimedia Commons, '
        'https://commons.wikimedia.org/wiki/File:Fundus_photograph_of_normal_left_eye.jpg',
        'CC0 1.0, public domain dedication', margin=0.16),
    Photograph(
        'china', (23, 190, 207), 'scikit-learn', 'china.jpg',
        'danielbuechele, '
        'https://www.flickr.com/photos/danielbuechele/6061409035/sizes/z/in/photostream/',
        'CC BY 2.0, https://creativecommons.org/licenses/by/2.0/'),
    Photograph(
        'flower', (227, 119, 194), 'scikit-learn', 'flower.jpg',
        'https://www.flickr.com/photos/vultilion/6056698931/sizes/z/in/photostream/ '
        '(scikit-learn names danielbuechele)',
        'CC BY 2.0, https://creativecommons.org/licenses/by/2.0/'),
)
"""What demo data are made of, in the order of their labels."""
CLASSES = tuple(photograph.name for photograph in PHOTOGRAPHS)
"""Class names; class ``i`` is photograph ``i``."""
PALETTE = tuple(photograph.color for photograph in PHOTOGRAPHS)
"""RGB colours of the classes."""


def read_photograph(photograph: Photograph) -> np.ndarray:
    """Reads a photograph, without its margin.

    Args:
        photograph: Which one.

    Returns:
        RGB pixels of shape (height, width, 3), uint8.

    Raises:
        ImportError: If the package that ships it is not installed.
    """
    image = Image.fromarray(_shipped_pixels(photograph)).convert('RGB')
    width, height = image.size
    left, top = round(width * photograph.margin), round(height * photograph.margin)
    return np.asarray(image.crop((left, top, width - left, height - top)))


def _shipped_pixels(photograph: Photograph) -> np.ndarray:
    """Pixels as the package gives them: (height, width) if grey, else (height, width, 3)."""
    try:
        if photograph.package == 'scikit-image':
            from skimage import data
            return getattr(data, photograph.key)()
        from sklearn.datasets import load_sample_image
        return load_sample_image(photograph.key)
    except ImportError as error:
        raise ImportError(
            f'The demo data are made from photographs inside scikit-image and scikit-learn, and '
            f'"{photograph.key}" could not be read from {photograph.package} ({error}). '
            f'Install them with: pip install "mmvisionmix[demo]"') from error


def split_part(pixels: np.ndarray, split: str) -> np.ndarray:
    """The part of a photograph that one split may use: the two parts share no pixel.

    Args:
        pixels: Array of shape (height, width, 3).
        split: ``'train'`` for the first ``TRAIN_SHARE`` of the longer side (the width, if both
            are equal), ``'val'`` for the rest.

    Returns:
        A view of ``pixels``.

    Raises:
        ValueError: If the split is unknown.
    """
    if split not in SPLITS:
        raise ValueError(f'unknown split {split!r}; known are {", ".join(SPLITS)}')
    height, width = pixels.shape[:2]
    border = round(max(height, width) * TRAIN_SHARE)
    chosen = slice(None, border) if split == 'train' else slice(border, None)
    return pixels[:, chosen] if width >= height else pixels[chosen]


def load_part(photograph: Photograph, split: str, height: int, width: int) -> np.ndarray:
    """Loads one split's part of a photograph, in the scale that scenes show it in.

    A photograph larger than ``LONGEST_SIDE`` is scaled down to it. A part that a crop of the
    given size would not fit into is scaled up. The part is cut before it is scaled, because
    scaling mixes neighbouring pixels and must not mix those of two splits.

    Args:
        photograph: Which one.
        split: ``'train'`` or ``'val'``.
        height: Least height of the part, in pixels.
        width: Least width of the part, in pixels.

    Returns:
        RGB pixels of shape (part height, part width, 3), uint8.
    """
    pixels = read_photograph(photograph)
    part = split_part(pixels, split)
    part_height, part_width = part.shape[:2]
    factor = max(
        min(1, LONGEST_SIDE / max(pixels.shape)), height / part_height, width / part_width)
    size = (math.ceil(part_width * factor), math.ceil(part_height * factor))
    return np.asarray(Image.fromarray(part).resize(size, Image.Resampling.LANCZOS))


def load_parts(split: str, height: int, width: int) -> List[np.ndarray]:
    """Loads one split's part of every photograph, in the order of ``CLASSES``.

    See :func:`load_part` for the arguments.
    """
    return [load_part(photograph, split, height, width) for photograph in PHOTOGRAPHS]


def credits_text() -> str:
    """Names every photograph with its origin and licence, for a text file beside the data."""
    entries = (f'{photograph.name}\n'
               f'    from:    {photograph.package} ("{photograph.key}")\n'
               f'    origin:  {photograph.origin}\n'
               f'    licence: {photograph.licence}\n' for photograph in PHOTOGRAPHS)
    return ('Demo data made by mmvisionmix. The pictures show crops of the photographs '
            'below, some of\nthem scaled, as scikit-image and scikit-learn ship '
            'and document them.\n\n' + '\n'.join(entries))
