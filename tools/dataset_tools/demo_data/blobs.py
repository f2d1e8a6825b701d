# Copyright (c) mmvisionmix authors. All rights reserved.
"""Smooth random shapes, each a polygon and the very pixels that COCO's own tools make of it."""

from __future__ import annotations

from typing import List, NamedTuple, Tuple

import numpy as np

from .scenes import Shape

VERTICES = 40
WAVES = (2, 3, 4, 5)
"""Waves per turn that bend a circle into a blob; one alone would only move it."""
WAVE_HEIGHT = 0.5
"""Wave ``k`` is at most this, divided by ``k``, of the radius; the sum of all stays below 1."""


class Blob(NamedTuple):
    """A shape on a canvas.

    Attributes:
        polygon: Its vertices as COCO has them, ``[x1, y1, x2, y2, ...]``, in pixels.
        mask: The pixels inside, shape (height, width), bool.
    """
    polygon: List[float]
    mask: np.ndarray


def draw_blob(rng: np.random.Generator,
              shape: Shape,
              centre: Tuple[float, float],
              radius: float) -> Blob:
    """Draws a shape without holes whose outline waves around a circle.

    Args:
        rng: Source of the waves.
        shape: Height and width of the canvas, in pixels. What would lie outside is cut off.
        centre: Row and column of the circle's centre, in pixels.
        radius: Radius of the circle, in pixels.

    Returns:
        The shape; one of a pixel or less may have an empty mask.

    Raises:
        ImportError: If pycocotools is missing.
    """
    angles = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
    distances = np.full(VERTICES, float(radius))
    for waves in WAVES:
        height, phase = rng.uniform(0, WAVE_HEIGHT / waves), rng.uniform(0, 2 * np.pi)
        distances += radius * height * np.cos(waves * angles + phase)
    rows = np.clip(centre[0] + distances * np.sin(angles), 0, shape[0])
    columns = np.clip(centre[1] + distances * np.cos(angles), 0, shape[1])
    polygon = np.round(np.stack([columns, rows], axis=1), 2).ravel().tolist()
    return Blob(polygon, fill_polygon(polygon, shape))


def fill_polygon(polygon: List[float], shape: Shape) -> np.ndarray:
    """The pixels inside a polygon, exactly as COCO's evaluation sees it.

    Args:
        polygon: Vertices ``[x1, y1, x2, y2, ...]``, in pixels.
        shape: Height and width of the canvas, in pixels.

    Returns:
        A mask of the given shape, bool.

    Raises:
        ImportError: If pycocotools is missing.
    """
    try:
        from pycocotools import mask
    except ImportError as error:
        raise ImportError(
            f'The masks of the demo data are drawn by pycocotools, which could not be imported '
            f'({error}). Install it with: pip install "mmvisionmix[demo,det]"') from error
    return mask.decode(mask.frPyObjects([polygon], *shape))[..., 0].astype(bool)
