# Copyright (c) mmvisionmix authors. All rights reserved.
"""Collages: wavy regions, each filled with a random crop of a different photograph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Sequence, Tuple

import numpy as np
from PIL import Image

from .recipe import Recipe

Shape = Tuple[int, int]

MIN_SIZE, MAX_SIZE = 32, 1024
"""Limits of a scene's side, in pixels: texture shows from the one, mere blur beyond the other."""
MIN_REGIONS, MAX_REGIONS = 2, 5
MIN_REGION_SHARE = 0.05
"""Least share of a scene that a region covers: smaller ones cannot be recognised."""
WAVE_HEIGHT = 0.08
"""Largest shift of a border, as a share of the scene's longer side; more tears islands off."""
WAVE_KNOTS = 6
"""Random values per side that the noise which shifts borders is interpolated from."""


@dataclass(frozen=True)
class SceneRecipe(Recipe):
    """Everything that a set of scenes depends on.

    Attributes:
        size: Height and width of a scene, in pixels; the longer one, where they differ.

    Raises:
        ValueError: If a number is out of its range.
    """
    size: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        if not MIN_SIZE <= self.size <= MAX_SIZE:
            raise ValueError(f'size must be from {MIN_SIZE} to {MAX_SIZE} pixels, got {self.size}')


class Scene(NamedTuple):
    """A collage and its truth.

    Attributes:
        image: RGB pixels of shape (height, width, 3), uint8.
        classes: Index of the photograph each pixel was cut from, shape (height, width), uint8.
    """
    image: np.ndarray
    classes: np.ndarray


def draw_scene(rng: np.random.Generator, parts: Sequence[np.ndarray], shape: Shape) -> Scene:
    """Draws one collage of two to five different photographs.

    Args:
        rng: Source of all random choices.
        parts: What may be cut from each photograph, arrays (part height, part width, 3) that
            are at least as large as the scene.
        shape: Height and width of the scene, in pixels.

    Returns:
        The picture and, for every pixel, the index into ``parts`` it came from.
    """
    regions = int(rng.integers(MIN_REGIONS, MAX_REGIONS + 1))
    partition = wavy_partition(rng, shape, regions)
    chosen = rng.choice(len(parts), regions, replace=False)
    image = np.empty((*shape, 3), np.uint8)
    for region, source in enumerate(chosen):
        inside = partition == region
        image[inside] = random_crop(rng, parts[source], shape)[inside]
    return Scene(image, chosen[partition].astype(np.uint8))


def random_crop(rng: np.random.Generator, pixels: np.ndarray, shape: Shape) -> np.ndarray:
    """Cuts a window out of a picture, every position being equally likely.

    Args:
        rng: Source of the position.
        pixels: Array of shape (height, width, 3).
        shape: Height and width of the window, at most those of ``pixels``.

    Returns:
        A view of ``pixels``.
    """
    (height, width), (crop_height, crop_width) = pixels.shape[:2], shape
    top = rng.integers(height - crop_height + 1)
    left = rng.integers(width - crop_width + 1)
    return pixels[top:top + crop_height, left:left + crop_width]


def wavy_partition(rng: np.random.Generator, shape: Shape, regions: int) -> np.ndarray:
    """Divides a canvas into regions with wavy borders, none of them tiny.

    Args:
        rng: Source of all random choices.
        shape: Height and width of the canvas, in pixels.
        regions: Number of regions.

    Returns:
        The region of every pixel, from 0 to ``regions - 1``, of the given shape. Each covers at
        least ``MIN_REGION_SHARE`` of the canvas.
    """
    while True:
        partition = _nearest_seeds(rng, shape, regions)
        areas = np.bincount(partition.ravel(), minlength=regions)
        if areas.min() >= MIN_REGION_SHARE * partition.size:
            return partition


def _nearest_seeds(rng: np.random.Generator, shape: Shape, regions: int) -> np.ndarray:
    """Voronoi cells of random seeds, seen through a randomly warped glass: (height, width)."""
    extent = np.array(shape) / max(shape)
    seeds = rng.uniform(size=(regions, 2)) * extent
    rows, columns = np.indices(shape) / max(shape)
    rows += WAVE_HEIGHT * _smooth_noise(rng, shape)
    columns += WAVE_HEIGHT * _smooth_noise(rng, shape)
    distances = [np.hypot(rows - row, columns - column) for row, column in seeds]
    return np.argmin(distances, axis=0)


def _smooth_noise(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Noise between about -1 and 1 that varies slowly over a canvas (height, width)."""
    knots = rng.uniform(-1, 1, (WAVE_KNOTS, WAVE_KNOTS)).astype(np.float32)
    return np.asarray(Image.fromarray(knots).resize(shape[::-1], Image.Resampling.BICUBIC))
