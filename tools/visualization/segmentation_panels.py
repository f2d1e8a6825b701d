# Copyright (c) mmvisionmix authors. All rights reserved.
"""Draws test images with their truth and what a model makes of them, side by side."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple

import mmcv
import numpy as np
import torch
from drawing import save
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from mmseg.structures import SegDataSample
from options import add_cfg_options, counting_number, make_parser, refusing
from subjects import load_config, load_model

from mmvisionmix.datasets.availability import check_data

IGNORE_INDEX = 255
"""Label of pixels that are not evaluated, in every data set of mmsegmentation."""
PANEL_INCHES = 3.
LEGEND_COLUMNS = 5
LEGEND_ROW_INCHES = 0.25


class Panel(NamedTuple):
    """One test image.

    Attributes:
        name: Name of the image file.
        image: RGB pixels, shape (height, width, 3), uint8.
        truth: Class of every pixel or ``IGNORE_INDEX``, shape (height, width).
        prediction: Predicted class of every pixel, shape (height, width).
    """
    name: str
    image: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray

    @property
    def accuracy(self) -> float:
        """Share of the evaluated pixels whose class is right; NaN if none is evaluated."""
        evaluated = self.truth != IGNORE_INDEX
        right = (self.truth == self.prediction)[evaluated]
        return float(right.mean()) if right.size else math.nan


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = make_parser(__doc__, 'predictions.png')
    parser.add_argument('config', help='config file of a segmentation model')
    parser.add_argument('checkpoint', help='checkpoint file, or none for random weights')
    parser.add_argument(
        '--num', type=counting_number, default=4,
        help='images, spread over the test set (default: %(default)s)')
    parser.add_argument(
        '--device',
        default='cuda' if torch.cuda.is_available() else 'cpu',
        help='where to run the model (default: %(default)s)')
    add_cfg_options(parser, 'test_dataloader.dataset.data_root=PATH')
    return parser.parse_args(argv)


def predict(model: torch.nn.Module, dataset: Sequence[dict], num: int) -> Iterator[Panel]:
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
        yield to_panel(sample)


def to_panel(sample: SegDataSample) -> Panel:
    """Reads the image that a sample was made from, and takes the label maps from the sample."""
    truth, prediction = (
        labels.data.squeeze(0).cpu().numpy()
        for labels in (sample.gt_sem_seg, sample.pred_sem_seg))
    image = mmcv.imread(sample.img_path, channel_order='rgb')
    return Panel(Path(sample.img_path).name, image, truth, prediction)


def draw(panels: Sequence[Panel], classes: Sequence[str], palette: np.ndarray) -> Figure:
    """Draws one row per image, in the colours of the data set, over one legend.

    Args:
        panels: What to show.
        classes: Names of the classes.
        palette: RGB colours of the classes, shape (classes, 3), uint8.

    Returns:
        The figure, to be saved.
    """
    colors = np.full((IGNORE_INDEX + 1, 3), 255, np.uint8)
    colors[:len(palette)] = palette
    present = np.unique([label for panel in panels for labels in panel[2:]
                         for label in np.unique(labels)])
    legend_rows = math.ceil(len(present) / LEGEND_COLUMNS)
    size = (3 * PANEL_INCHES, len(panels) * PANEL_INCHES + legend_rows * LEGEND_ROW_INCHES)
    figure = Figure(figsize=size, layout='constrained')
    for axes, panel in zip(figure.subplots(len(panels), 3, squeeze=False), panels):
        draw_row(axes, panel, colors)
    names = {**dict(enumerate(classes)), IGNORE_INDEX: 'ignored'}
    figure.legend(
        handles=[Patch(fc=colors[i] / 255, ec='black', label=names[i]) for i in present],
        loc='outside lower center',
        ncols=LEGEND_COLUMNS,
        frameon=False)
    return figure


def draw_row(axes: Sequence, panel: Panel, colors: np.ndarray) -> None:
    """Draws image, truth and prediction into three axes."""
    pictures = {
        panel.name: panel.image,
        'truth': colors[panel.truth],
        f'prediction: {panel.accuracy:.1%} right': colors[panel.prediction],
    }
    for ax, (title, picture) in zip(axes, pictures.items()):
        ax.imshow(picture, interpolation='nearest')
        ax.set_title(title, fontsize='medium')
        ax.axis('off')


def make_panels(cfg: Config, args: argparse.Namespace) -> Tuple[List[Panel], dict]:
    """Runs the model that the command line asks for.

    Returns:
        The panels, and what the data set says of its classes.

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
    with refusing('segmentation_panels.py'):
        cfg = load_config(args.config, args.checkpoint, args.cfg_options)
        panels, metainfo = make_panels(cfg, args)
    palette = np.array(metainfo['palette'], np.uint8)
    save(draw(panels, metainfo['classes'], palette), args.out)
    mean = np.nanmean([panel.accuracy for panel in panels])
    print(f'{len(panels)} images, {mean:.1%} of their pixels right: {args.out}')


if __name__ == '__main__':
    main()
