# Copyright (c) mmvisionmix authors. All rights reserved.
"""Pictures with one class each, for classification: views of a single photograph."""

from __future__ import annotations

from io import BytesIO
from typing import List, NamedTuple

import numpy as np
from PIL import Image

from .photographs import load_parts
from .recipe import Recipe, Track
from .scenes import random_crop

JPEG_QUALITY = 95
MAX_SHRINK = 4
"""A view shows up to so many times its own side of the photograph, where that is large enough."""


class Picture(NamedTuple):
    """A picture and its class.

    Attributes:
        image: RGB pixels of shape (size, size, 3), uint8.
        label: Index of the class.
    """
    image: np.ndarray
    label: int


def draw_pictures(recipe: Recipe, split: str, size: int, track: Track) -> List[Picture]:
    """Draws the pictures of one split; the classes take turns.

    Args:
        recipe: How many, and from which seed.
        split: ``'train'`` or ``'val'``. The two are cut from different parts of each photograph.
        size: Height and width of a picture, in pixels.
        track: Wraps the indices of the pictures, for a progress bar.

    Returns:
        The pictures; the label of picture ``i`` is ``i`` modulo the number of photographs.
    """
    parts = load_parts(split, size, size)
    labels = [index % len(parts) for index in range(recipe.count(split))]
    return [
        Picture(random_view(recipe.rng(split, index), parts[label], size), label)
        for index, label in track(list(enumerate(labels)))
    ]


def random_view(rng: np.random.Generator, part: np.ndarray, size: int) -> np.ndarray:
    """Cuts a random square out of a photograph and scales it down.

    Args:
        rng: Source of its side and position.
        part: Array of shape (height, width, 3), uint8, no side shorter than ``size``.
        size: Height and width of the view, in pixels.

    Returns:
        Pixels of shape (size, size, 3), uint8.
    """
    side = int(rng.integers(size, min(MAX_SHRINK * size, *part.shape[:2]) + 1))
    window = Image.fromarray(random_crop(rng, part, (side, side)))
    return np.asarray(window.resize((size, size), Image.Resampling.LANCZOS))


def encode_png(image: np.ndarray) -> bytes:
    """Encodes pixels of shape (height, width) or (height, width, 3), uint8, as a PNG file."""
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, 'PNG')
    return buffer.getvalue()


def encode_jpeg(image: np.ndarray) -> bytes:
    """Encodes RGB pixels of shape (height, width, 3), uint8, as a JPEG file."""
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, 'JPEG', quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()
