# Copyright (c) mmvisionmix authors. All rights reserved.
"""Key points of blobs, under the names of COCO's 17 of a person.

They lie on the outline, every 20 degrees around the middle of the visible part: the nose at the
top, then the left ones clockwise and the right ones anticlockwise, so that a mirrored picture has
left and right exchanged, as with people.
"""

from __future__ import annotations

from typing import List

import numpy as np

KEY_POINTS = (
    'nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear', 'left_shoulder', 'right_shoulder',
    'left_elbow', 'right_elbow', 'left_wrist', 'right_wrist', 'left_hip', 'right_hip', 'left_knee',
    'right_knee', 'left_ankle', 'right_ankle')
"""COCO's names, in its order."""
STEP = 20
"""Degrees between two neighbours."""
VISIBLE = 2


def key_points_of(mask: np.ndarray) -> List[int]:
    """The key points of a mask.

    Args:
        mask: The visible pixels, shape (height, width), bool; at least one.

    Returns:
        ``[x, y, v]`` of each, one after the other, in pixels. v is 2, or 0 beside ``0, 0`` where
        the mask has no pixel in that direction.
    """
    rows, columns = np.nonzero(mask)
    up, right = rows.mean() - rows, columns - columns.mean()
    degrees, distances = np.degrees(np.arctan2(right, up)), np.hypot(up, right)
    points: List[int] = []
    for index in range(len(KEY_POINTS)):
        angle = STEP * ((index + 1) // 2) * (1 if index % 2 else -1)
        near = np.abs((degrees - angle + 180) % 360 - 180) <= STEP / 2
        if near.any():
            best = np.argmax(np.where(near, distances, -1))
            points += [int(columns[best]), int(rows[best]), VISIBLE]
        else:
            points += [0, 0, 0]
    return points
