# Copyright (c) mmvisionmix authors. All rights reserved.
"""Small data sets in the layouts of ADE20K, COCO and ImageNet, and ways to damage them.

A data set has four images of 48 x 64 pixels for training and four for validation. Damage is done to
the first of a split, sample 0. The names of the ways are those of docs/reliability.md.
"""
import json
import shutil
from functools import lru_cache
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
HEIGHT, WIDTH, COUNT = 48, 64, 4


def picture(height=HEIGHT, width=WIDTH, channels=3):
    noise = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(noise if channels > 1 else noise[..., 0])


def values(value, height=HEIGHT, width=WIDTH, dtype=np.uint8):
    return Image.fromarray(np.full((height, width), value, dtype))


class Data:
    """A data set of one layout, in a folder."""
    suffix = '.jpg'

    def __init__(self, root):
        self.root = root
        for split in self.folders:
            for index in range(COUNT):
                self.image(split, index).parent.mkdir(parents=True, exist_ok=True)
                picture().save(self.image(split, index))
            self.annotate(split)

    def image(self, split, index=0):
        return self.root / self.folders[split] / f'{index}{self.suffix}'

    @classmethod
    @lru_cache(maxsize=None)
    def config(cls):
        return Config.fromfile(ROOT / 'configs' / cls.recipe)

    def build(self, split):
        """The data set as the recipe reads it; the caller restores the scope."""
        cfg = self.config()
        DefaultScope.get_instance(f'damage {id(self)}', scope_name=cfg.default_scope)
        dataset = DATASETS.build(
            {**cfg[f'{split}_dataloader'].dataset, 'data_root': str(self.root)})
        dataset.full_init()
        return dataset


class Segmentation(Data):
    recipe = 'fpn_linglo_b0_ade20k.py'
    folders = dict(train='images/training', val='images/validation')

    def annotate(self, split):
        for index in range(COUNT):
            self.label(split, index).parent.mkdir(parents=True, exist_ok=True)
            values(index).save(self.label(split, index))

    def label(self, split, index=0):
        folder = self.folders[split].replace('images', 'annotations')
        return self.root / folder / f'{index}.png'

    def resize(self, split, height, width):
        picture(height, width).save(self.image(split))
        values(1, height, width).save(self.label(split))


class Detection(Data):
    recipe = 'retinanet_linglo_b0_coco.py'
    folders = dict(train='train2017', val='val2017')

    def annotate(self, split):
        self.file(split).parent.mkdir(parents=True, exist_ok=True)
        self.write(
            split,
            images=[dict(id=index, file_name=f'{index}.jpg', width=WIDTH, height=HEIGHT)
                    for index in range(COUNT)],
            annotations=[dict(id=index + 1, image_id=index, category_id=1, iscrowd=0, area=200,
                              bbox=[5, 5, 20, 10]) for index in range(COUNT)],
            categories=[dict(id=1, name='person')])

    def file(self, split):
        return self.root / f'annotations/instances_{split}2017.json'

    def write(self, split, **parts):
        self.file(split).write_text(json.dumps(parts))

    def change(self, split, key, edit):
        parts = json.loads(self.file(split).read_text())
        self.write(split, **{**parts, key: edit(parts[key])})

    def resize(self, split, height, width):
        picture(height, width).save(self.image(split))
        self.change(split, 'images', lambda images: [
            dict(images[0], width=width, height=height), *images[1:]])


class Classification(Data):
    recipe = 'linglo_b0_imagenet.py'
    folders = dict(train='train/n01440764', val='val/n01440764')
    suffix = '.JPEG'

    def annotate(self, split):
        self.write(split, range(COUNT))

    def file(self, split):
        return self.root / f'meta/{split}.txt'

    def write(self, split, labels):
        self.file(split).parent.mkdir(exist_ok=True)
        self.file(split).write_text(''.join(
            f'n01440764/{index}.JPEG {label}\n' for index, label in enumerate(labels)))

    def resize(self, split, height, width):
        picture(height, width).save(self.image(split))


class Folders(Classification):
    """A class per folder, with class names of one's own."""

    def build(self, split):
        DefaultScope.get_instance(f'damage {id(self)}', scope_name='mmpretrain')
        return DATASETS.build(dict(
            type='CustomDataset', data_root=str(self.root), data_prefix=split,
            pipeline=self.config()[f'{split}_dataloader'].dataset.pipeline))


LAYOUTS = {layout.__name__.lower(): layout
           for layout in (Segmentation, Detection, Classification, Folders)}


def cut(path):
    content = path.read_bytes()
    path.write_bytes(content[:len(content) // 2])


def png(image, cut_it=False):
    """Puts a PNG file in the place of the image; its suffix does not matter."""
    def damage(data, split):
        image().save(data.image(split), format='PNG')
        if cut_it:
            cut(data.image(split))
    return damage


def label(image, **options):
    return lambda data, split: image().save(data.label(split), **options)


def empty_folder(data, split):
    folder = data.image(split).parent
    shutil.rmtree(folder)
    folder.mkdir()


ANY = {
    'JPEG cut in half': lambda data, split: cut(data.image(split)),
    'PNG cut in half': png(picture, cut_it=True),
    'file of 0 bytes': lambda data, split: data.image(split).write_bytes(b''),
    'text named .jpg': lambda data, split: data.image(split).write_text('this is no picture'),
    'grey JPEG': lambda data, split: picture(channels=1).save(data.image(split)),
    'CMYK JPEG': lambda data, split: picture().convert('CMYK').save(data.image(split)),
    'RGBA PNG': png(lambda: picture(channels=4)),
    'palette PNG': png(lambda: picture().convert('P')),
    'PNG of 16 bits': png(lambda: values(40000, dtype=np.uint16)),
    'huge image, 4000 x 6000': lambda data, split: data.resize(split, 4000, 6000),
    'image of 1 x 1': lambda data, split: data.resize(split, 1, 1),
}
ONLY = {
    'segmentation': {
        'label missing': lambda data, split: data.label(split).unlink(),
        'label of 0 bytes': lambda data, split: data.label(split).write_bytes(b''),
        'label cut in half': lambda data, split: cut(data.label(split)),
        'label with value 151': label(lambda: values(151)),
        'label with value 300': label(lambda: values(300, dtype=np.uint16)),
        'label of 16 bits, values below 151': label(lambda: values(100, dtype=np.uint16)),
        'label of another size': label(lambda: values(1, HEIGHT + 5)),
        'label in colours': label(picture),
        'label as palette PNG': label(lambda: values(3).convert('P')),
        'label all 0': label(lambda: values(0)),
        'label all 255': label(lambda: values(255)),
        'no images': empty_folder,
    },
    'detection': {
        'image missing': lambda data, split: data.image(split).unlink(),
        'image without instances': lambda data, split: data.change(
            split, 'annotations', lambda annotations: annotations[1:]),
        'image of another size than in the JSON': lambda data, split: data.change(
            split, 'images', lambda images: [dict(image, height=99) for image in images]),
        'JSON without images': lambda data, split: data.change(split, 'images', lambda _: []),
        'JSON cut in half': lambda data, split: cut(data.file(split)),
        'JSON of 0 bytes': lambda data, split: data.file(split).write_bytes(b''),
        'JSON without categories': lambda data, split: data.write(split, images=[], annotations=[]),
        'box of three numbers': lambda data, split: data.change(
            split, 'annotations', lambda boxes: [dict(box, bbox=[1, 2, 3]) for box in boxes]),
    },
    'classification': {
        'image missing': lambda data, split: data.image(split).unlink(),
        'class 1000 of 1000': lambda data, split: data.write(split, [1000, 1, 2, 3]),
        'class that is no number': lambda data, split: data.write(split, ['cat', 1, 2, 3]),
        'empty list of files': lambda data, split: data.write(split, []),
    },
    'folders': {
        'folder of a class is empty': lambda data, split: (
            data.image(split).parent.with_name('empty').mkdir()),
        'no images': empty_folder,
    },
}
DAMAGE = {(layout, name): damage for layout, ways in ONLY.items() for name, damage in ways.items()}
DAMAGE.update({(layout, name): damage for name, damage in ANY.items()
               for layout in ('segmentation', 'detection', 'classification')})
