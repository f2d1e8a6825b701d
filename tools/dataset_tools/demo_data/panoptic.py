# Copyright (c) mmvisionmix authors. All rights reserved.
"""Pictures with objects as COCO's panoptic task has them: every pixel belongs to one segment.

Objects and crowds are segments of COCO's 80 things. What is left is a segment of stuff: of COCO's
53 kinds, the first ten, banner to fruit, stand for the ten photographs.
"""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple

import numpy as np

from .objects import ObjectScene

STUFF = (
    'banner', 'blanket', 'bridge', 'cardboard', 'counter', 'curtain', 'door-stuff', 'floor-wood',
    'flower', 'fruit', 'gravel', 'house', 'light', 'mirror-stuff', 'net', 'pillow', 'platform',
    'playingfield', 'railroad', 'river', 'road', 'roof', 'sand', 'sea', 'shelf', 'snow', 'stairs',
    'tent', 'towel', 'wall-brick', 'wall-stone', 'wall-tile', 'wall-wood', 'water-other',
    'window-blind', 'window-other', 'tree-merged', 'fence-merged', 'ceiling-merged',
    'sky-other-merged', 'cabinet-merged', 'table-merged', 'floor-other-merged', 'pavement-merged',
    'mountain-merged', 'grass-merged', 'dirt-merged', 'paper-merged', 'food-other-merged',
    'building-other-merged', 'rock-merged', 'wall-other-merged', 'rug-merged')
"""Names of COCO's kinds of stuff, in the order of their ids."""
STUFF_IDS = (
    92, 93, 95, 100, 107, 109, 112, 118, 119, 122, 125, 128, 130, 133, 138, 141, 144, 145, 147, 148,
    149, 151, 154, 155, 156, 159, 161, 166, 168, 171, 175, 176, 177, 178, *range(180, 182),
    *range(184, 201))


class Panorama(NamedTuple):
    """The segments of a picture.

    Attributes:
        colours: The id of every pixel's segment, as the colour that COCO makes of it: shape
            (height, width, 3), uint8.
        segments: What COCO's file says of each.
    """
    colours: np.ndarray
    segments: List[Dict[str, Any]]


def box_of(mask: np.ndarray) -> List[int]:
    """The box ``[left, top, width, height]`` of a mask, shape (height, width), bool."""
    (top, bottom), (left, right) = (
        np.flatnonzero(mask.any(axis))[[0, -1]].tolist() for axis in (1, 0))
    return [left, top, right - left + 1, bottom - top + 1]


def segments_of(scene: ObjectScene, category_ids: List[int]) -> Panorama:
    """Makes a picture's objects and its background segments.

    Args:
        scene: The picture.
        category_ids: The category of each of its objects.
    """
    ids = np.zeros(scene.image.shape[:2], np.uint8)
    segments = []
    for instance, category in zip(scene.instances, category_ids):
        ids[instance.mask] = len(segments) + 1
        segments.append(_segment(instance.mask, len(segments) + 1, category, instance.crowd))
    background = ids == 0
    if background.any():
        ids[background] = len(segments) + 1
        segments.append(_segment(background, len(segments) + 1, STUFF_IDS[scene.background], False))
    return Panorama(np.stack([ids, 0 * ids, 0 * ids], axis=2), segments)


def _segment(mask: np.ndarray, number: int, category: int, crowd: bool) -> Dict[str, Any]:
    return dict(id=number, category_id=category, area=int(mask.sum()), bbox=box_of(mask),
                iscrowd=int(crowd))
