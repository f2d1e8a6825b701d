# Copyright (c) mmvisionmix authors. All rights reserved.
"""Draws test images with their truth and what a model makes of them, side by side."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple

import mmcv
import numpy as np
import torch
from drawing import Panel, Scale, Sheet, draw, save
from matplotlib.colors import ListedColormap, NoNorm
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from mmseg.structures import SegDataSample
from subjects import load_config, load_model, make_parser

from mmvisionmix.datasets.availability import check_data

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import add_config_options, errors_in_a_line, positive_int  # noqa: E402  beside this

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


def make_sheet(title: str, found: Sequence[Prediction], classes: Sequence[str],
               palette: Sequence[Sequence[int]]) -> Sheet:
    """One row per image, in the colours of the data set, beside one legend.

    Args:
        title: What stands above.
        found: What to show.
        classes: Names of the classes.
        palette: RGB colours of the classes, 0 to 255.

    Returns:
        The sheet, to be drawn.
    """
    colors = np.full((IGNORE_INDEX + 1, 3), 255, np.uint8)
    colors[:len(palette)] = palette
    names = {**dict(enumerate(classes)), IGNORE_INDEX: 'ignored'}
    present = np.unique([label for each in found for labels in (each.truth, each.labels)
                         if labels is not None for label in np.unique(labels)])
    rows = [[Panel(each.name, each.image), Panel('prediction', colors[each.labels])]
            if each.truth is None else
            [Panel(each.name, each.image), Panel('truth', colors[each.truth]),
             Panel(f'prediction: {each.accuracy:.1%} right', colors[each.labels])]
            for each in found]
    scale = Scale('', NoNorm(), ListedColormap(colors[present] / 255),
                  tuple(names.get(label, str(label)) for label in present))
    return Sheet(title, rows, [''] * len(rows), scale, PANEL_INCHES)


def run_model(cfg: Config, args: argparse.Namespace) -> Tuple[List[Prediction], dict]:
    """Runs the model that the command line asks for.

    Returns:
        The predictions, and what the data set says of its classes.

    Raises:
        FileNotFoundError: If the test data are missing.
        ValueError: If the checkpoint is not the model's, or holds values that are not finite.
    """
    check_data(cfg, ('test_dataloader', ))
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    model = load_model(cfg, args.checkpoint).to(args.device)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    return list(predict(model, dataset, args.num)), dataset.metainfo


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Draws the picture that the command line asks for."""
    args = parse_args(argv)
    with errors_in_a_line(args.traceback):
        cfg = load_config(args.config, args.checkpoint, args.cfg_options)
        found, metainfo = run_model(cfg, args)
        sheet = make_sheet(Path(args.config).stem, found, metainfo['classes'], metainfo['palette'])
        save(draw([sheet]), args.out)
    right = [each.accuracy for each in found if each.truth is not None]
    score = f'{np.nanmean(right):.1%} of their pixels right' if right else 'without labels'
    print(f'{len(found)} images, {score}: {args.out}')


if __name__ == '__main__':
    main()
