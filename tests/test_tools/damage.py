# Copyright (c) mmvisionmix authors. All rights reserved.
"""Small data sets in the layouts of ADE20K, COCO and ImageNet, and ways to damage them.

A data set has four images of 48 x 64 pixels for training and four for validation. Damage is done to
the first of validation, sample 0.
"""
import json
from functools import lru_cache
from pathlib import Path

import numpy as np
from mmdet.datasets import CocoDataset
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
HEIGHT, WIDTH, COUNT = 48, 64, 4


def picture(height=HEIGHT, width=WIDTH, channels=3):
    noise = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(noise if channels > 1 else noise[..., 0])


def values(value, height=HEIGHT, width=WIDTH, dtype=np.uint8):
    return Image.fromarray(np.full((height, width), value, dtype))


def cut(path):
    content = path.read_bytes()
    path.write_bytes(content[:len(content) // 2])


class Data:
    """A data set of one layout, in a folder."""
    suffix = '.jpg'

    def __init__(self, root):
        self.root = root
        for split in self.folders:
            for index in range(COUNT):
                self.image(index, split).parent.mkdir(parents=True, exist_ok=True)
                picture().save(self.image(index, split))
            self.annotate(split)

    def image(self, index=0, split='val'):
        return self.root / self.folders[split] / f'{index}{self.suffix}'

    @classmethod
    @lru_cache(maxsize=None)
    def config(cls):
        return Config.fromfile(ROOT / 'configs' / cls.recipe)

    def build(self):
        """The data set for validation, as the recipe reads it."""
        cfg = self.config()
        init_default_scope(cfg.default_scope)
        return DATASETS.build({**cfg.val_dataloader.dataset, 'data_root': str(self.root)})


class Segmentation(Data):
    recipe = 'fpn_linglo_b0_ade20k.py'
    folders = dict(train='images/training', val='images/validation')

    def annotate(self, split):
        for index in range(COUNT):
            self.label(index, split).parent.mkdir(parents=True, exist_ok=True)
            values(index).save(self.label(index, split))

    def label(self, index=0, split='val'):
        return self.root / self.folders[split].replace('images', 'annotations') / f'{index}.png'


class Detection(Data):
    recipe = 'retinanet_linglo_b0_coco.py'
    folders = dict(train='train2017', val='val2017')

    def annotate(self, split, width=WIDTH):
        self.file(split).parent.mkdir(parents=True, exist_ok=True)
        self.file(split).write_text(json.dumps(dict(
            images=[dict(id=index, file_name=f'{index}.jpg', width=width, height=HEIGHT)
                    for index in range(COUNT)],
            annotations=[dict(id=index + 1, image_id=index, category_id=1, iscrowd=0, area=200,
                              bbox=[5, 5, 20, 10]) for index in range(COUNT)],
            categories=[dict(id=i, name=name) for i, name in enumerate(
                CocoDataset.METAINFO['classes'], 1)])))

    def file(self, split='val'):
        return self.root / f'annotations/instances_{split}2017.json'


class Classification(Data):
    recipe = 'linglo_b0_imagenet.py'
    folders = dict(train='train/n01440764', val='val/n01440764')
    suffix = '.JPEG'

    def annotate(self, split, labels=(0, 1, 2, 3)):
        self.file(split).parent.mkdir(exist_ok=True)
        self.file(split).write_text(''.join(
            f'n01440764/{index}.JPEG {label}\n' for index, label in enumerate(labels)))

    def file(self, split='val'):
        return self.root / f'meta/{split}.txt'


def image(make, **options):
    """Puts another image in the place of the first."""
    return lambda data: make().save(data.image(), **options)


def label(make):
    return lambda data: make().save(data.label())


EVERY = (Segmentation, Detection, Classification)
# Layouts, what is done to them, and what is found then; None where nothing is wrong.
DAMAGE = {
    'JPEG cut in half': (
        EVERY, lambda data: cut(data.image()), 'the image is damaged or cut short'),
    'file of 0 bytes': (
        EVERY, lambda data: data.image().write_bytes(b''), 'the image is empty (0 bytes)'),
    'text named .jpg': (
        EVERY, lambda data: data.image().write_text('text'),
        'the image is in no known image format'),
    'image missing': (
        EVERY[1:], lambda data: data.image().unlink(), 'FileNotFoundError'),
    'grey JPEG': (EVERY, image(lambda: picture(channels=1)), None),
    'CMYK JPEG': (EVERY, image(lambda: picture().convert('CMYK')), None),
    'RGBA PNG': (EVERY, image(lambda: picture(channels=4), format='PNG'), None),
    'palette PNG': (EVERY, image(lambda: picture().convert('P'), format='PNG'), None),
    'PNG of 16 bits': (EVERY, image(lambda: values(40000, dtype=np.uint16), format='PNG'), None),
    'label of 0 bytes': (
        EVERY[:1], lambda data: data.label().write_bytes(b''), 'the label is empty (0 bytes)'),
    'label with value 151': (
        EVERY[:1], label(lambda: values(151)),
        'the label has the values 151; classes are 1 to 150, and 0 is ignored'),
    'label with value 300': (
        EVERY[:1], label(lambda: values(300, dtype=np.uint16)),
        'the label has values such as 300, of which mmsegmentation keeps 8 bits'),
    'label of another size': (
        EVERY[:1], label(lambda: values(1, HEIGHT + 5)),
        'the label is 53 x 64 values, and the image 48 x 64 pixels'),
    'label in colours': (
        EVERY[:1], label(picture), 'the label is 48 x 64 x 3 values, and the image 48 x 64 pixels'),
    'label all 255': (EVERY[:1], label(lambda: values(255)), None),
    'another size than in the JSON': (
        EVERY[1:2], lambda data: data.annotate('val', width=99),
        'the image is 48 x 64 pixels, and 48 x 99 in the annotations'),
    'class 1000 of 1000': (
        EVERY[2:], lambda data: data.annotate('val', [1000, 1, 2, 3]),
        'the class of the image is 1000, and should be 0 to 999'),
}
