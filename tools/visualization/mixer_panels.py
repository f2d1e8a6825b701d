# Copyright (c) mmvisionmix authors. All rights reserved.
"""Draws what the token mixers of a network weigh in an image.

    python tools/visualization/mixer_panels.py CONFIG CHECKPOINT IMAGE --out PNG

CONFIG is of any task. CHECKPOINT is a file, or none for random weights; several are drawn side by
side, to see how a training proceeds. What can be seen depends on the backbone:

  kernels     LKCA-ViT: the kernel of each layer
  rows        LKCA-ViT, ViT: what other tokens weigh for the one at --position; heads are averaged,
              and each row is divided by its largest weight
  saliency    LinGlo: softmax weights of the keys, as powers of 2 of their mean
  groups      MCGANet: softmax weights of tokens in the groups, as powers of 2 of their mean
  queries     MCGANet: softmax weights of groups for tokens of the convolutions, likewise
  partitions  DualFormer: partitions as colours; --query marks those of some pixels in the image,
              and --agreement measures how far they follow labels
"""

from __future__ import annotations

import argparse
import sys
from itertools import zip_longest
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence

import numpy as np
import torch
from drawing import Panel, Scale, Sheet, draw, save
from matplotlib import colormaps
from matplotlib.colors import BoundaryNorm, ListedColormap, Normalize
from partition_agreement import agreement_table
from subjects import (
    NO_CHECKPOINT,
    Subject,
    add_image_options,
    choose_layers,
    label_of,
    load_subject,
    make_parser,
    position_in,
)
from torch import Tensor

from mmvisionmix.visualization import VIEWS, kernels, mixer_maps, mixing_rows, views_of
from mmvisionmix.visualization.recording import token_at

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import add_config_options, errors_in_a_line, positive_int  # noqa: E402  beside this

Maps = Dict[str, Tensor]
MOST_COLUMNS = 8
KERNEL_COLUMNS = 4
LOG_WEIGHT = r'$\log_2$(weight / mean weight)'
TITLES = {
    'kernels': 'Kernels of LKCA',
    'rows': 'Weights for the token at the cross',
    'saliency': 'Saliency of keys',
    'groups': 'Attention of groups to tokens',
    'queries': 'Attention of tokens to groups',
    'partitions': 'Partitions',
}


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = make_parser(__doc__, 'mixers.png')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoints', nargs='+', help='checkpoint files, or none')
    parser.add_argument('image', help='image file')
    parser.add_argument(
        '--what', nargs='+', choices=list(VIEWS), metavar='VIEW',
        help='some of the above (default: all that the network has)')
    parser.add_argument(
        '--beside', nargs=2, default=[], metavar=('CONFIG', 'CHECKPOINT'),
        help='another network whose rows are drawn beside, such as a ViT')
    parser.add_argument(
        '--head', type=int, default=0,
        help='head of groups, queries, and of several checkpoints, counted from 0; the last one '
        'of layers that have fewer (default: %(default)s)')
    parser.add_argument(
        '--query', nargs=2, type=int, action='append', default=[], metavar=('ROW', 'COLUMN'),
        help='pixel of the scaled image whose partition of --head is drawn; may be repeated')
    parser.add_argument(
        '--agreement', type=positive_int, metavar='N',
        help="also print how partitions agree with the labels of N images of the config's test set")
    add_image_options(
        parser, position='whose token rows are of',
        layers='most layers to draw, the last of each stage or evenly spread; kernels are all '
        'drawn')
    add_config_options(parser, 'model.backbone.arch=b')
    args = parser.parse_args(argv)
    if args.head < 0:
        parser.error(f'--head must be at least 0, got {args.head}')
    return args


def load_subjects(args: argparse.Namespace) -> List[Subject]:
    """Loads one subject per checkpoint, named after it if there are several."""
    several = len(args.checkpoints) > 1
    return [
        load_subject(args.config, checkpoint, args.image, args.size, args.cfg_options,
                     Path(checkpoint).stem if several else '')
        for checkpoint in args.checkpoints]


def load_beside(args: argparse.Namespace) -> List[Subject]:
    """Loads the network whose rows are drawn beside, if there is one.

    Raises:
        ValueError: If it has no rows.
    """
    others = [load_subject(*args.beside, args.image, args.size)] if args.beside else []
    for other in others:
        choose_views(['rows'], other)
    return others


def choose_views(wanted: Optional[Sequence[str]], subject: Subject) -> List[str]:
    """The views to draw.

    Raises:
        ValueError: If the network has not what is wanted; names what it has.
    """
    there = views_of(subject.backbone)
    missing = [view for view in wanted or () if view not in there]
    if missing:
        raise ValueError(f'{subject.name} has no {" and no ".join(missing)}; it has '
                         f'{" and ".join(there)}')
    return list(wanted or there)


def kernel_sheet(subjects: Sequence[Subject]) -> Sheet:
    """All kernels of every subject, row by row."""
    rows, labels = [], []
    for subject in subjects:
        panels = [Panel(label_of(name), kernel.numpy())
                  for name, kernel in kernels(subject.backbone).items()]
        for i in range(0, len(panels), KERNEL_COLUMNS):
            rows.append(panels[i:i + KERNEL_COLUMNS])
            labels.append(subject.name if len(subjects) > 1 and i == 0 else '')
    return make_sheet('kernels', rows, labels)


def row_sheet(subjects: Sequence[Subject], args: argparse.Namespace) -> Sheet:
    """One column per subject, one row per layer, beside the image."""
    position = position_in(args.position, subjects[0].picture.shape[:2])
    columns = []
    for subject in subjects:
        maps = mixing_rows(subject.backbone, subject.images, position)
        rows = {name: maps[name][0].mean(0) for name in choose_layers(list(maps), args.layers)}
        columns.append([
            Panel(f'{subject.name}\n{label_of(name)}' if i == 0 else label_of(name),
                  (row / row.abs().max().clamp_min(1e-12)).numpy(), position)
            for i, (name, row) in enumerate(rows.items())])
    rows = [list(row) for row in zip_longest(*columns)]
    rows = [[Panel('image', subjects[0].picture, position) if i == 0 else None, *row]
            for i, row in enumerate(rows)]
    return make_sheet('rows', rows, [''] * len(rows))


def map_sheet(view: str, subjects: Sequence[Subject], args: argparse.Namespace) -> Sheet:
    """One row per layer: its maps, or one map of every subject if there are several.

    Raises:
        ValueError: If no layer has the head asked for, or maps are too many for several subjects.
    """
    maps = [{name: to_shown(view, each[0]) for name, each in
             mixer_maps(subject.backbone, subject.images, view).items()} for subject in subjects]
    names = choose_layers(list(maps[0]), args.layers)
    picks_head = len(subjects) > 1 or view in ('groups', 'queries')
    if picks_head:
        check_head(args.head, [maps[0][name] for name in names])
    rows = []
    for i, name in enumerate(names):
        head: List[Optional[Panel]] = [Panel('image', subjects[0].picture) if i == 0 else None]
        if len(subjects) == 1:
            found = pick_maps(view, maps[0][name], args.head)
        else:
            found = {subject.name: pick_head(each[name], args.head)
                     for subject, each in zip(subjects, maps)}
            check_single(view, found)
        rows.append(head + [Panel(title if i == 0 or view == 'saliency' else '',
                                  values.numpy()) for title, values in found.items()])
    heads = f', head {args.head + 1}' if picks_head else ''
    return make_sheet(view, rows, [label_of(name) for name in names], heads)


def query_sheet(subjects: Sequence[Subject], args: argparse.Namespace) -> Sheet:
    """One row per layer: the partitions of a head, and the image inside those of the queries.

    Raises:
        ValueError: If there are several subjects, no layer has the head asked for, or a query is
            outside the image.
    """
    if len(subjects) > 1:
        raise ValueError('--query takes one checkpoint')
    picture = subjects[0].picture
    queries = [position_in(pixel, picture.shape[:2]) for pixel in args.query]
    maps = mixer_maps(subjects[0].backbone, subjects[0].images, 'partitions')
    names = choose_layers(list(maps), args.layers)
    check_head(args.head, [maps[name][0] for name in names])
    rows = []
    for name in names:
        partitions = pick_head(maps[name][0], args.head).numpy()
        rows.append([Panel('', partitions), *(
            Panel(f'partition {partitions[token_at(query, partitions.shape)]:.0f}',
                  fade_others(picture, partitions, query), query) for query in queries)])
    return make_sheet('partitions', rows, [label_of(name) for name in names],
                      f' of the tokens at the crosses, head {args.head + 1}')


def fade_others(picture: np.ndarray, partitions: np.ndarray, query: Sequence[float]) -> np.ndarray:
    """The picture, pale wherever tokens are not in the partition of the one at the query."""
    nearest = [np.arange(side) * tokens // side
               for side, tokens in zip(picture.shape, partitions.shape)]
    inside = (partitions == partitions[token_at(query, partitions.shape)])[np.ix_(*nearest)]
    return np.where(inside[..., None], picture, 255 - (255 - picture) // 5)


def check_head(head: int, maps: Sequence[Tensor]) -> None:
    """Raises a ValueError if no layer has a head of this number."""
    most = max(map(len, maps))
    if head >= most:
        raise ValueError(f'--head {head}: the layers drawn have heads 0 to {most - 1}')


def check_single(view: str, maps: Dict[str, Tensor]) -> None:
    """Refuses several maps where one is to be drawn.

    Raises:
        ValueError: If there are several groups of every head.
    """
    if any(values.ndim != 2 for values in maps.values()):
        raise ValueError(f'{view} of several checkpoints are too many maps; give one checkpoint')


def pick_maps(view: str, maps: Tensor, head: int) -> Maps:
    """Maps (heads, H, W) by head, or of a head of (heads, groups, H, W) by group."""
    if view in ('groups', 'queries'):
        return {f'group {i}': each for i, each in enumerate(pick_head(maps, head), 1)}
    return {f'head {i}': each for i, each in enumerate(maps[:MOST_COLUMNS], 1)}


def pick_head(maps: Tensor, head: int) -> Tensor:
    """The maps of a head, of the last one where there are fewer."""
    return maps[min(head, len(maps) - 1)]


def to_shown(view: str, values: Tensor) -> Tensor:
    """Values (..., H, W) in the unit of a view's scale: 0 where all weigh the same."""
    if view == 'partitions':
        return values
    summed = (-3, ) if view == 'queries' else (-2, -1)  # over groups, or tokens
    mean = values.mean(summed, keepdim=True)
    return (values / mean).clamp_min(torch.finfo(values.dtype).tiny).log2()


def make_sheet(view: str, rows: Sequence[Sequence[Optional[Panel]]], labels: Sequence[str],
               note: str = '') -> Sheet:
    """Puts panels under a title, with a colour scale that suits them all."""
    values = [
        panel.values for row in rows for panel in row if panel and panel.values.ndim == 2]
    return Sheet(TITLES[view] + note, rows, labels, SCALES[view](values))


def signed(label: str, kept: float = 1.) -> Callable[[Sequence[np.ndarray]], Scale]:
    """A scale from blue over white, for 0, to red, that keeps a part of the values of any panel."""
    def scale(values: Sequence[np.ndarray]) -> Scale:
        most = max(float(np.quantile(np.abs(panel), kept)) for panel in values) or 1.
        cut = 'both' if most < max(np.abs(panel).max() for panel in values) else 'neither'
        return Scale(label, Normalize(-most, most), colormaps['RdBu_r'], extend=cut)
    return scale


def numbers(values: Sequence[np.ndarray]) -> Scale:
    """A colour for every partition."""
    count = int(max(panel.max() for panel in values)) + 1
    name = 'tab10' if count <= 10 else 'turbo'
    colors = colormaps[name].resampled(count) if count > 10 else ListedColormap(
        colormaps[name].colors[:count])
    norm = BoundaryNorm(np.arange(count + 1) - 0.5, count)
    return Scale('partition', norm, colors, tuple(map(str, range(count))))


SCALES: Dict[str, Callable[[Sequence[np.ndarray]], Scale]] = dict(
    kernels=signed('weight'), rows=signed('weight / largest weight'),
    saliency=signed(LOG_WEIGHT, 0.995), groups=signed(LOG_WEIGHT, 0.995),
    queries=signed(LOG_WEIGHT, 0.995), partitions=numbers)


def make_sheets(args: argparse.Namespace) -> List[Sheet]:
    """Makes what the command line asks for."""
    subjects = load_subjects(args)
    views = choose_views(args.what, subjects[0])
    others = load_beside(args)
    if others and 'rows' not in views:
        raise ValueError(f'{subjects[0].name} has no rows that others could be beside')
    if (args.query or args.agreement) and 'partitions' not in views:
        raise ValueError(f'{subjects[0].name} has no partitions')
    sheets = []
    for view in views:
        if view == 'kernels':
            sheets.append(kernel_sheet(subjects))
        elif view == 'rows':
            sheets.append(row_sheet([*subjects, *others], args))
        elif view == 'partitions' and args.query:
            sheets.append(query_sheet(subjects, args))
        else:
            sheets.append(map_sheet(view, subjects, args))
    return sheets


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Draws the picture that the command line asks for."""
    args = parse_args(argv)
    with errors_in_a_line(args.traceback), torch.no_grad():
        sheets = make_sheets(args)
        if args.agreement:
            print(agreement_table(args))
    save(draw(sheets), args.out)
    random = ', of random weights' if set(args.checkpoints) == {NO_CHECKPOINT} else ''
    print(f'{" and ".join(sheet.title for sheet in sheets)}{random}: {args.out}')


if __name__ == '__main__':
    main()
