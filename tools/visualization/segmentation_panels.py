# Copyright (c) mmvisionmix authors. All rights reserved.
"""Draws test images with their truth, or pictures of yours, and what models make of them."""

from __future__ import annotations

import argparse
import math
import sys
from itertools import chain
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import mmcv
import numpy as np
import torch
from drawing import Panel, Scale, Sheet, draw, save
from matplotlib.colors import ListedColormap, NoNorm
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from mmseg.structures import SegDataSample
from subjects import load_config, load_model, make_parser

from mmvisionmix.datasets.availability import check_data

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import (  # noqa: E402  beside this folder
    add_config_options,
    check_files,
    errors_in_a_line,
    positive_int,
)

IGNORE_INDEX = 255
"""Label of pixels that are not evaluated, in every data set of mmsegmentation."""
PANEL_INCHES = 3.


class Prediction(NamedTuple):
    """One test image.

    Attributes:
        name: Name of the image file.
        image: RGB pixels, shape (height, width, 3), uint8.
        truth: Class of every pixel or ``IGNORE_INDEX``, shape (height, width); None if unknown.
        labels: Predicted class of every pixel, shape (height, width).
    """
    name: str
    image: np.ndarray
    truth: Optional[np.ndarray]
    labels: np.ndarray

    @property
    def accuracy(self) -> float:
        """Share of the evaluated pixels whose class is right; NaN if none is evaluated."""
        if self.truth is None:
            return math.nan
        evaluated = self.truth != IGNORE_INDEX
        right = (self.truth == self.labels)[evaluated]
        return float(right.mean()) if right.size else math.nan


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = make_parser(__doc__, 'predictions.png')
    parser.add_argument('config', help='config file of a segmentation model')
    parser.add_argument('checkpoint', help='checkpoint file, or none for random weights')
    parser.add_argument(
        '--beside', nargs=2, action='append', default=[], metavar=('CONFIG', 'CHECKPOINT'),
        help='another model on the same data set; again for more')
    parser.add_argument(
        '--no-images', action='store_true', help='draw label maps alone, where images may not be')
    parser.add_argument(
        '--pictures', nargs='+', default=[], metavar='FILE',
        help='pictures of your own, without truth, in the place of the test set')
    parser.add_argument(
        '--num', type=positive_int, default=4,
        help='images, spread over the test set (default: %(default)s)')
    parser.add_argument(
        '--device', default=get_device(), help='where to run the model (default: %(default)s)')
    add_config_options(parser, 'test_dataloader.dataset.data_root=PATH')
    return parser.parse_args(argv)


def predict(model: torch.nn.Module, dataset: Sequence[dict], num: int) -> Iterator[Prediction]:
    """Runs the model on images that are spread evenly over a data set.

    Args:
        model: A segmentor of mmsegmentation.
        dataset: A data set whose pipeline loads the annotations, as for evaluation.
        num: Number of images; all of them, if there are fewer.

    Yields:
        Images with truth and prediction.
    """
    for index in np.linspace(0, len(dataset) - 1, min(num, len(dataset))).round().astype(int):
        with torch.no_grad():
            sample, = model.test_step(pseudo_collate([dataset[index]]))
        yield read_sample(sample)


def read_sample(sample: SegDataSample) -> Prediction:
    """Reads the image that a sample was made from, and takes the label maps from the sample."""
    truth, labels = (
        sample.get(key).data.squeeze(0).cpu().numpy() if key in sample else None
        for key in ('gt_sem_seg', 'pred_sem_seg'))
    image = mmcv.imread(sample.img_path, channel_order='rgb')
    return Prediction(Path(sample.img_path).name, image, truth, labels)


def make_sheet(title: str, found: Dict[str, Sequence[Prediction]], metainfo: dict,
               images: bool = True) -> Sheet:
    """One row per image, in the colours of the data set, beside one legend.

    Args:
        title: What stands above.
        found: What to show, by model: the same images of each.
        metainfo: Of the data set: ``classes``, their names, and ``palette``, RGB of 0 to 255.
        images: Whether to show the images. Defaults to True.

    Returns:
        The sheet, to be drawn.
    """
    colors = np.full((IGNORE_INDEX + 1, 3), 255, np.uint8)
    colors[:len(metainfo['palette'])] = metainfo['palette']
    names = {**dict(enumerate(metainfo['classes'])), IGNORE_INDEX: 'ignored'}
    present = np.unique([label for each in chain(*found.values())
                         for labels in (each.truth, each.labels) if labels is not None
                         for label in np.unique(labels)])
    rows = []
    for same in zip(*found.values()):
        truth = same[0].truth
        row = [Panel(same[0].name, same[0].image)] if images else []
        if truth is not None:
            row.append(Panel('truth', colors[truth]))
        for model, each in zip(found, same):
            told = '' if truth is None else f': {each.accuracy:.1%} right'
            row.append(Panel(f'{model}{told}', colors[each.labels]))
        rows.append(row)
    scale = Scale('', NoNorm(), ListedColormap(colors[present] / 255),
                  tuple(names.get(label, str(label)) for label in present))
    return Sheet(title, rows, [''] * len(rows), scale, PANEL_INCHES)


def run_model(config: str, checkpoint: str,
              args: argparse.Namespace) -> Tuple[List[Prediction], dict]:
    """Runs a model on the images that the command line asks for.

    Returns:
        The predictions, and what the data set says of its classes.

    Raises:
        FileNotFoundError: If the test data, or a picture, are missing.
        ValueError: If the checkpoint is not the model's, or holds values that are not finite.
    """
    cfg = load_config(config, checkpoint, args.cfg_options)
    if not args.pictures:
        check_data(cfg, ('test_dataloader', ))
    check_files(*args.pictures)
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    model = load_model(cfg, checkpoint).to(args.device)
    dataset = DATASETS.build(dict(cfg.test_dataloader.dataset, lazy_init=True))
    if args.pictures:
        from mmseg.apis import inference_model  # by mmcv-lite only after mmvisionmix
        model.cfg = cfg  # inference_model asks it for the pipeline
        found = [read_sample(inference_model(model, picture)) for picture in args.pictures]
        return found, dataset.metainfo
    dataset.full_init()
    return list(predict(model, dataset, args.num)), dataset.metainfo


def run_models(args: argparse.Namespace) -> Tuple[Dict[str, List[Prediction]], dict]:
    """Predictions by model, and what the data set says of its classes.

    Raises:
        ValueError: If models have other classes or images than the first.
    """
    models = [(args.config, args.checkpoint), *args.beside]
    stems = [Path(config).stem for config, _ in models]
    networks = [stem.partition('_')[0] for stem in stems]  # what a config's name starts with
    names = next(names for names in (networks, stems, [' '.join(model) for model in models])
                 if len(set(names)) == len(names))
    found: Dict[str, List[Prediction]] = {}
    images: list = []
    for name, (config, checkpoint) in zip(names if args.beside else ['prediction'], models):
        shown, metainfo = run_model(config, checkpoint, args)
        images.append(([each.name for each in shown], metainfo['classes']))
        if images[-1] != images[0]:
            raise ValueError(f'{config} is of another data set than {args.config}')
        found[name] = shown
    return found, metainfo


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Draws the picture that the command line asks for."""
    args = parse_args(argv)
    with errors_in_a_line(args.traceback):
        found, metainfo = run_models(args)
        title = '' if args.beside else Path(args.config).stem
        save(draw([make_sheet(title, found, metainfo, not args.no_images)]), args.out)
    first = next(iter(found.values()))
    right = [each.accuracy for each in first if each.truth is not None]
    score = f'{np.nanmean(right):.1%} of their pixels right' if right else 'without labels'
    print(f'{len(first)} images, {score}: {args.out}')


if __name__ == '__main__':
    main()
