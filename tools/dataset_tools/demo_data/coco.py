# Copyright (c) mmvisionmix authors. All rights reserved.
"""Demo pictures with objects in the layout of COCO 2017, as mmdetection's ``CocoDataset`` reads it.

::

    train2017/000000000001.jpg               val2017/000000000001.jpg
    annotations/instances_train2017.json     annotations/instances_val2017.json
    annotations/panoptic_train2017.json      annotations/panoptic_val2017.json
    annotations/panoptic_train2017/000000000001.png     (and likewise for validation)
    annotations/person_keypoints_train2017.json         (and likewise for validation)

The files list all 80 categories of COCO under their names and ids, for mmdetection's configs have
a model tell 80 apart. Objects are of the first ten alone. Each of these stands for a photograph,
which is its supercategory::

    person         brick        bus            coffee
    bicycle        grass        train          tissue
    car            gravel       truck          retina
    motorcycle     hubble       boat           china
    airplane       chelsea      traffic light  flower

Boxes, areas and masks are exact, and of the visible part of an object. A mask is a polygon where
nothing hides any of the object; otherwise, and for crowds, it is run-length encoded. For panoptic
segmentation see :mod:`.panoptic`. In the files of key points, every object is a person, as there
would be too few of them; see :mod:`.key_points`.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Dict, List, Union

import numpy as np

from .folder import write_once
from .key_points import KEY_POINTS, key_points_of
from .objects import Instance, ObjectScene, draw_objects
from .panoptic import STUFF, STUFF_IDS, box_of, segments_of
from .photographs import CLASSES, CREDITS, SPLITS, credits_text, load_parts
from .pictures import encode_jpeg, encode_png
from .recipe import Track
from .scenes import SceneRecipe

CATEGORIES = (
    'person', 'bicycle', 'car', 'motorcycle', 'airplane', 'bus', 'train', 'truck', 'boat',
    'traffic light', 'fire hydrant', 'stop sign', 'parking meter', 'bench', 'bird', 'cat', 'dog',
    'horse', 'sheep', 'cow', 'elephant', 'bear', 'zebra', 'giraffe', 'backpack', 'umbrella',
    'handbag', 'tie', 'suitcase', 'frisbee', 'skis', 'snowboard', 'sports ball', 'kite',
    'baseball bat', 'baseball glove', 'skateboard', 'surfboard', 'tennis racket', 'bottle',
    'wine glass', 'cup', 'fork', 'knife', 'spoon', 'bowl', 'banana', 'apple', 'sandwich', 'orange',
    'broccoli', 'carrot', 'hot dog', 'pizza', 'donut', 'cake', 'chair', 'couch', 'potted plant',
    'bed', 'dining table', 'toilet', 'tv', 'laptop', 'mouse', 'remote', 'keyboard', 'cell phone',
    'microwave', 'oven', 'toaster', 'sink', 'refrigerator', 'book', 'clock', 'vase', 'scissors',
    'teddy bear', 'hair drier', 'toothbrush')
"""Names of COCO's categories, in the order of their ids."""
UNUSED_IDS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
"""Ids from 1 to 90 that COCO left out."""
CATEGORY_IDS = tuple(number for number in range(1, 91) if number not in UNUSED_IDS)
MAX_OBJECTS = 4
EMPTY_EVERY, CROWD_EVERY = 10, 5
"""Every tenth picture has no objects; the first of every five has a crowd, beside its objects."""
SIDES = ((1, 1), (0.75, 1), (1, 0.75), (0.65, 1), (1, 0.65))
"""Heights and widths of the pictures, as shares of their size; each is as likely as another."""
REVISION = 3
"""Raised whenever the same recipe gives other files, so that older folders are made again."""


def write_coco(out: Union[str, Path], recipe: SceneRecipe, track: Track = iter) -> bool:
    """Writes demo pictures with objects in COCO's layout, unless they are already there.

    Args:
        out: The folder; see :func:`.folder.write_once`.
        recipe: What to draw; ``size`` is the longer side of a picture.
        track: Wraps the list of pictures while they are drawn, for a progress bar.

    Returns:
        Whether anything was written; False if the folder held just these pictures.

    Raises:
        FileExistsError: If the folder holds anything that was not made here.
        NotADirectoryError: If ``out`` is a file.
        ImportError: If pycocotools, scikit-image or scikit-learn is missing.
    """

    def draw() -> Dict[str, bytes]:
        files = {CREDITS: credits_text().encode()}
        for split in SPLITS:
            files.update(_draw_split(recipe, split, track))
        return files

    return write_once(out, dict(layout='coco', revision=REVISION, **asdict(recipe)), draw)


def draw_picture(recipe: SceneRecipe,
                 split: str,
                 index: int,
                 parts: List[np.ndarray]) -> ObjectScene:
    """Draws one picture of the data set.

    Args:
        recipe: Its size, and the seed.
        split: ``'train'`` or ``'val'``.
        index: Number of the picture, from 1. It decides whether there are objects and a crowd.
        parts: What may be cut from each photograph; see :func:`.objects.draw_objects`.

    Returns:
        The picture, whose longer side is ``recipe.size``, and its objects: up to four and a crowd.
    """
    rng = recipe.rng(split, index)
    height, width = (round(recipe.size * side) for side in rng.choice(SIDES))
    objects = 0 if index % EMPTY_EVERY == 0 else int(rng.integers(1, MAX_OBJECTS + 1))
    return draw_objects(rng, parts, (height, width), objects, crowd=index % CROWD_EVERY == 1)


def _draw_split(recipe: SceneRecipe, split: str, track: Track) -> Dict[str, bytes]:
    """The pictures and the annotation file of one split: {path: contents}."""
    parts = load_parts(split, recipe.size, recipe.size)
    files: Dict[str, bytes] = {}
    images: List[Dict[str, Any]] = []
    objects: List[Dict[str, Any]] = []
    panoramas: List[Dict[str, Any]] = []
    for index in track(range(1, recipe.count(split) + 1)):
        scene = draw_picture(recipe, split, index, parts)
        height, width = scene.image.shape[:2]
        stem = f'{index:012d}'
        files[f'{split}2017/{stem}.jpg'] = encode_jpeg(scene.image)
        images.append(
            dict(id=index, file_name=f'{stem}.jpg', width=width, height=height, license=1))
        objects += [_annotation(len(objects) + number, index, instance)
                    for number, instance in enumerate(scene.instances, 1)]
        panorama = segments_of(scene, [CATEGORY_IDS[one.label] for one in scene.instances])
        files[f'annotations/panoptic_{split}2017/{stem}.png'] = encode_png(panorama.colours)
        panoramas.append(dict(
            image_id=index, file_name=f'{stem}.png', segments_info=panorama.segments))
    people = [dict(one, category_id=CATEGORY_IDS[0]) for one in objects]
    objects = [{key: value for key, value in one.items() if 'keypoints' not in key}
               for one in objects]
    person = dict(_things()[0], keypoints=KEY_POINTS, skeleton=[])
    for name, *contents in (
            ('instances', objects, _things()), ('panoptic', panoramas, _things() + _stuff()),
            ('person_keypoints', people, [person])):
        files[f'annotations/{name}_{split}2017.json'] = _encode_json(images, *contents)
    return files


def _annotation(number: int, image_id: int, instance: Instance) -> Dict[str, Any]:
    """An object as COCO describes it, with its key points; of a crowd these are not visible."""
    points = [0] * (3 * len(KEY_POINTS)) if instance.crowd else key_points_of(instance.mask)
    return dict(
        id=number,
        image_id=image_id,
        category_id=CATEGORY_IDS[instance.label],
        iscrowd=int(instance.crowd),
        area=int(instance.mask.sum()),
        bbox=box_of(instance.mask),
        segmentation=[instance.polygon] if instance.polygon else encode_runs(instance.mask),
        keypoints=points,
        num_keypoints=sum(value > 0 for value in points[2::3]))


def encode_runs(mask: np.ndarray) -> Dict[str, Any]:
    """Encodes a mask, shape (height, width), bool, as COCO's compressed run lengths."""
    from pycocotools.mask import encode

    runs = encode(np.asfortranarray(mask, np.uint8))
    return dict(runs, counts=runs['counts'].decode())


def _things() -> List[Dict[str, Any]]:
    supercategories = CLASSES + ('not in the demo data', ) * (len(CATEGORIES) - len(CLASSES))
    return [dict(id=number, name=name, supercategory=supercategory, isthing=1) for number, name,
            supercategory in zip(CATEGORY_IDS, CATEGORIES, supercategories)]


def _stuff() -> List[Dict[str, Any]]:
    return [dict(id=number, name=name, supercategory='stuff', isthing=0)
            for number, name in zip(STUFF_IDS, STUFF)]


def _encode_json(images: List[Dict[str, Any]], annotations: List[Dict[str, Any]],
                 categories: List[Dict[str, Any]]) -> bytes:
    """An annotation file with all that pycocotools and mmdetection expect."""
    return json.dumps(dict(
        info=dict(description='Demo data made by mmvisionmix', version=str(REVISION)),
        licenses=[dict(id=1, name=f'those of the photographs, see {CREDITS}', url='')],
        images=images,
        annotations=annotations,
        categories=categories)).encode()
