# Copyright (c) mmvisionmix authors. All rights reserved.
"""Small data sets in the layouts of ADE20K, COCO and ImageNet, and ways to damage one sample.

A data set has four images of 48 x 64 pixels for training and four for validation. The first one of
each is the victim.
"""
import json
from pathlib import Path

import numpy as np
from mmengine.config import Config
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
HEIGHT, WIDTH, COUNT = 48, 64, 4
SPLITS = ('train', 'val')


def picture(height=HEIGHT, width=WIDTH, channels=3):
    noise = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(noise if channels > 1 else noise[..., 0])


def save(image, path, kind=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, format=kind)


class Segmentation:
    """ADE20K: labels 0 (ignored) to 150."""
    config = ROOT / 'configs/fpn_linglo_b0_ade20k.py'
    folders = dict(train='training', val='validation')

    def __init__(self, root):
        self.root = root
        for split in SPLITS:
            for index in range(COUNT):
                save(picture(), self.image(split, index))
                label = np.random.default_rng(index).integers(0, 151, (HEIGHT, WIDTH))
                save(Image.fromarray(label.astype(np.uint8)), self.label(split, index))

    def image(self, split, index=0):
        return self.root / f'images/{self.folders[split]}/{index}.jpg'

    def label(self, split, index=0):
        return self.root / f'annotations/{self.folders[split]}/{index}.png'


class Detection:
    """COCO: one box in each image."""
    config = ROOT / 'configs/retinanet_linglo_b0_coco.py'

    def __init__(self, root):
        self.root = root
        for split in SPLITS:
            images = [dict(id=index, file_name=f'{index}.jpg', width=WIDTH, height=HEIGHT)
                      for index in range(COUNT)]
            boxes = [dict(id=index + 1, image_id=index, category_id=1, iscrowd=0, area=200,
                          bbox=[5, 5, 20, 10]) for index in range(COUNT)]
            for index in range(COUNT):
                save(picture(), self.image(split, index))
            self.annotate(split, images=images, annotations=boxes, categories=[
                dict(id=1, name='person')])

    def image(self, split, index=0):
        return self.root / f'{split}2017/{index}.jpg'

    def file(self, split):
        return self.root / f'annotations/instances_{split}2017.json'

    def annotate(self, split, **parts):
        file = self.file(split)
        file.parent.mkdir(parents=True, exist_ok=True)
        known = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps({**known, **parts}))


class Classification:
    """ImageNet with lists of files."""
    config = ROOT / 'configs/linglo_b0_imagenet.py'

    def __init__(self, root):
        self.root = root
        for split in SPLITS:
            for index in range(COUNT):
                save(picture(), self.image(split, index))
            self.list(split, [index for index in range(COUNT)])

    def image(self, split, index=0):
        return self.root / f'{split}/n01440764/{index}.JPEG'

    def list(self, split, labels):
        lines = [f'n01440764/{index}.JPEG {label}\n' for index, label in enumerate(labels)]
        (self.root / 'meta').mkdir(parents=True, exist_ok=True)
        (self.root / f'meta/{split}.txt').write_text(''.join(lines))


LAYOUTS = dict(segmentation=Segmentation, detection=Detection, classification=Classification)


def read_config(layout):
    return Config.fromfile(layout.config)
