# Copyright (c) mmvisionmix authors. All rights reserved.
"""Pictures with objects: blobs of some photographs before a background of another."""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Sequence

import numpy as np

from .blobs import Blob, draw_blob
from .scenes import Shape, random_crop

CANDIDATES = 5
"""Photographs that the objects of one picture are filled with, at most: some come twice."""
RADII = (0.09, 0.28)
"""Least and largest radius of an object, as a share of the canvas's shorter side."""
BORDER = 0.1
"""Least distance of an object's centre from an edge, as a share of the side: some are cut off."""
MEMBERS = (6, 10)
"""Least and largest number of blobs in a crowd."""
MEMBER_RADII = (0.05, 0.08)
CROWD_RADIUS = 0.25
"""Largest distance of a member from the middle of its crowd, along either axis."""
LEAST_VISIBLE = 0.4
"""Share of an object that must not be hidden by others."""
LEAST_AREA = 0.01
"""Share of the canvas that the visible part of an object covers at least."""


class Instance(NamedTuple):
    """An object, or a crowd of them.

    Attributes:
        label: Index of the photograph that fills it.
        mask: Its visible pixels, shape (height, width), bool.
        polygon: Vertices ``[x1, y1, x2, y2, ...]`` that enclose just these pixels; None for a
            crowd, and if other objects hide a part.
        crowd: Whether it is a crowd.
    """
    label: int
    mask: np.ndarray
    polygon: Optional[List[float]]
    crowd: bool


class ObjectScene(NamedTuple):
    """A picture and its objects, the farthest first.

    Attributes:
        image: RGB pixels of shape (height, width, 3), uint8.
        instances: The objects; no two share a pixel.
        background: Index of the photograph behind them.
    """
    image: np.ndarray
    instances: List[Instance]
    background: int


class _Thing(NamedTuple):
    """What becomes an instance: one blob or, for a crowd, several."""
    blobs: List[Blob]
    crowd: bool

    @property
    def mask(self) -> np.ndarray:
        return np.any([blob.mask for blob in self.blobs], axis=0)


def draw_objects(rng: np.random.Generator,
                 parts: Sequence[np.ndarray],
                 shape: Shape,
                 objects: int,
                 crowd: bool) -> ObjectScene:
    """Draws objects one before the other; those that overlap show different photographs.

    Args:
        rng: Source of all random choices.
        parts: What may be cut from each photograph: six or more arrays (part height, part width,
            3), uint8, at least as large as the canvas.
        shape: Height and width of the canvas, in pixels.
        objects: Number of objects, from 0 to 4.
        crowd: Whether a crowd stands behind them.

    Returns:
        The picture and its objects.

    Raises:
        ImportError: If pycocotools is missing.
    """
    background, *candidates = rng.choice(len(parts), 1 + CANDIDATES, replace=False)
    things = _place(rng, shape, objects, crowd)
    labels = _choose_labels(rng, [thing.mask for thing in things], candidates)
    image = random_crop(rng, parts[background], shape).copy()
    for thing, label in zip(things, labels):
        for blob in thing.blobs:
            image[blob.mask] = random_crop(rng, parts[label], shape)[blob.mask]
    return ObjectScene(image, _instances(things, labels), int(background))


def _place(rng: np.random.Generator, shape: Shape, objects: int, crowd: bool) -> List[_Thing]:
    """Draws again and again until enough is visible of every thing."""
    while True:
        things = [_draw_crowd(rng, shape)] if crowd else []
        things += [_draw_object(rng, shape) for _ in range(objects)]
        masks = [thing.mask for thing in things]
        if all(part.sum() >= max(LEAST_VISIBLE * mask.sum(), LEAST_AREA * mask.size)
               for part, mask in zip(_visible_parts(masks), masks)):
            return things


def _draw_object(rng: np.random.Generator, shape: Shape) -> _Thing:
    radius = min(shape) * rng.uniform(*RADII)
    centre = np.array(shape) * rng.uniform(BORDER, 1 - BORDER, 2)
    return _Thing([draw_blob(rng, shape, centre, radius)], crowd=False)


def _draw_crowd(rng: np.random.Generator, shape: Shape) -> _Thing:
    """Several small blobs around a point in the middle half of the canvas."""
    middle = np.array(shape) * rng.uniform(0.25, 0.75, 2)
    blobs = []
    for _ in range(rng.integers(MEMBERS[0], MEMBERS[1] + 1)):
        centre = middle + min(shape) * rng.uniform(-CROWD_RADIUS, CROWD_RADIUS, 2)
        blobs.append(draw_blob(rng, shape, centre, min(shape) * rng.uniform(*MEMBER_RADII)))
    return _Thing(blobs, crowd=True)


def _visible_parts(masks: Sequence[np.ndarray]) -> List[np.ndarray]:
    """What later masks leave of each: they lie before the earlier ones."""
    parts: List[np.ndarray] = []
    for mask in masks:
        parts = [part & ~mask for part in parts] + [mask]
    return parts


def _choose_labels(rng: np.random.Generator,
                   masks: Sequence[np.ndarray],
                   candidates: Sequence[int]) -> List[int]:
    """Chooses photographs, never the same for two masks that overlap: the border would not show."""
    labels: List[int] = []
    for mask in masks:
        taken = {label for label, other in zip(labels, masks) if (mask & other).any()}
        labels.append(int(rng.choice([label for label in candidates if label not in taken])))
    return labels


def _instances(things: Sequence[_Thing], labels: Sequence[int]) -> List[Instance]:
    masks = [thing.mask for thing in things]
    instances = []
    for thing, label, mask, part in zip(things, labels, masks, _visible_parts(masks)):
        whole = not thing.crowd and (part == mask).all()
        polygon = thing.blobs[0].polygon if whole else None
        instances.append(Instance(label, part, polygon, thing.crowd))
    return instances
