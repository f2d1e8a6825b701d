# Copyright (c) mmvisionmix authors. All rights reserved.
"""Draws what the feature maps of networks are made of, one network beside the other.

    python tools/visualization/feature_panels.py NETWORK... --image IMAGE --out PNG

NETWORK is a config of any task, CONFIG=CHECKPOINT for one that is trained, or a name as in
tools/analysis_tools/networks.py: linglo-b0, timm:pvt_v2_b0, mmpretrain:resnet18_8xb32_in1k. Without
a checkpoint weights are random. What is drawn:

  erf         effective receptive field: gradient of the positive values at the centre of the last
              map with respect to random images, absolute and averaged; and the smallest share of
              the pixels that holds half of it
  fourier     log amplitude of feature maps by frequency, less that at frequency 0: after every
              block of a backbone of this package, of every map that another network gives
  similarity  cosine similarity of the feature at --position to all others, in the same maps
"""

from __future__ import annotations

import argparse
import re
import sys
from os.path import commonprefix
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
from drawing import SMALL, Panel, Scale, Sheet, draw, save
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from subjects import (
    DEFAULT_SIZE,
    NO_CHECKPOINT,
    Subject,
    add_image_options,
    as_picture,
    choose_layers,
    label_of,
    load_subject,
    make_parser,
    normalise,
    position_in,
    read_image,
)
from torch import Tensor, nn

from mmvisionmix.visualization import (
    block_maps,
    contributing_share,
    effective_receptive_field,
    feature_similarity,
    fourier_amplitude,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.append(str(Path(__file__).resolve().parents[1] / 'analysis_tools'))
from common import add_traceback, errors_in_a_line, positive_int  # noqa: E402  beside this folder
from networks import Images, build  # noqa: E402  beside the tools that time networks

VIEWS = ('erf', 'fourier', 'similarity')
DECADES = 4  # of the receptive field, below its largest value


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = make_parser(__doc__, 'features.png')
    parser.add_argument('networks', nargs='+', metavar='NETWORK', help='see above')
    parser.add_argument('--image', required=True, help='image file')
    parser.add_argument(
        '--what', choices=VIEWS, default='erf', help='see above (default: %(default)s)')
    parser.add_argument(
        '--samples', type=positive_int, default=16,
        help='random images of the receptive field (default: %(default)s)')
    add_image_options(
        parser, position='that similarity is to',
        layers='most maps of similarity, the last of each stage or evenly spread')
    add_traceback(parser)
    return parser.parse_args(argv)


class ChannelsFirst(nn.Module):
    """Turns maps (B, H, W, C) of a network into (B, C, H, W).

    Args:
        network: Gives several maps.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> List[Tensor]:
        return [maps.permute(0, 3, 1, 2) for maps in self.network(images)]


def load(network: str, args: argparse.Namespace) -> Subject:
    """Loads a network of the command line, and the image as it takes it."""
    name, _, checkpoint = network.partition('=')
    if name.endswith('.py'):
        label = f'{short(Path(name).stem)}\n{Path(checkpoint).stem or "random weights"}'
        return load_subject(
            name, checkpoint or NO_CHECKPOINT, args.image, args.size, name=label)
    if checkpoint:
        raise ValueError(f'a checkpoint is for a config, CONFIG=CHECKPOINT, not for {name}')
    height, width = args.size or (DEFAULT_SIZE, DEFAULT_SIZE)
    pixels = read_image(args.image, (height, width))
    model = build(name, Images(1, height, width, 'maps'))
    if getattr(model, 'output_fmt', None) == 'NHWC':  # as timm has it for some
        model = ChannelsFirst(model)
    return Subject(name, model, normalise(pixels), as_picture(pixels))


def field_sheet(subjects: Sequence[Subject], args: argparse.Namespace) -> Sheet:
    """One receptive field per network, each divided by its largest value."""
    panels = []
    for subject in subjects:
        random = torch.randn(args.samples, *subject.images.shape[1:],
                             generator=torch.Generator().manual_seed(0))
        field = average_field(subject, random)
        half = contributing_share(field)
        shown = (field / field.max().clamp_min(torch.finfo(field.dtype).tiny)).numpy()
        panels.append(Panel(f'{short(subject.name)}\nhalf in {half:.1%}', shown))
    scale = Scale('gradient / largest', LogNorm(10.**-DECADES, 1, clip=True),
                  colormaps['viridis'], extend='min')
    return Sheet('Effective receptive field of the centre', [panels], [''], scale)


def average_field(subject: Subject, images: Tensor) -> Tensor:
    """The receptive field, image by image, so that memory does not grow with their number."""
    return sum(effective_receptive_field(subject.backbone, image[None]) for image in images
               ) / len(images)


def similarity_sheet(subjects: Sequence[Subject], args: argparse.Namespace) -> Sheet:
    """One row of maps per network, beside the image, which is not shown twice."""
    rows: List[List[Optional[Panel]]] = []
    for subject in subjects:
        position = position_in(args.position, subject.picture.shape[:2])
        maps = block_maps(subject.backbone, subject.images)
        again = subject is not subjects[0] and np.array_equal(subject.picture, subjects[0].picture)
        rows.append([None if again else Panel('image', subject.picture, position)] + [
            Panel(label_of(name), feature_similarity(maps[name], position)[0].numpy(), position)
            for name in choose_layers(list(maps), args.layers)])
    scale = Scale('cosine similarity', Normalize(-1, 1), colormaps['RdBu_r'])
    return Sheet('Similarity to the feature at the cross', rows,
                 [short(subject.name) for subject in subjects], scale)


def short(name: str) -> str:
    """A name in two lines where it is long and in one."""
    return name.replace('_', '\n', 1) if len(name) > 16 and '\n' not in name else name


def distinct(subjects: Sequence[Subject]) -> List[Subject]:
    """The networks, named without what all their names end in."""
    names = [subject.name for subject in subjects]
    same = commonprefix([name[::-1] for name in names])[::-1]
    part = re.search(r'[_\n]', same) if len(set(names)) > 1 else None
    end = len(same) - part.start() if part else 0
    return [subject._replace(name=subject.name[:len(subject.name) - end]) for subject in subjects]


def draw_spectra(subjects: Sequence[Subject]) -> Figure:
    """One plot per network, with a line for each of its maps, darker the earlier it is."""
    figure = Figure(figsize=(2.6 * len(subjects) + 0.8, 2.9), layout='constrained')
    grid = figure.subplots(1, len(subjects), sharey=True, squeeze=False)[0]
    for ax, subject in zip(grid, subjects):
        draw_spectrum(ax, short(subject.name), {
            name: fourier_amplitude(maps)
            for name, maps in block_maps(subject.backbone, subject.images).items()})
    grid[0].set_ylabel('log amplitude, relative to frequency 0', fontsize=SMALL)
    bar = figure.colorbar(
        colormap_of_depth(), ax=list(grid), ticks=[0, 1], fraction=0.05, pad=0.02)
    bar.ax.set_yticklabels(['first\nmap', 'last\nmap'], fontsize=SMALL)
    return figure


def draw_spectrum(ax: Axes, title: str, lines: Dict[str, Tensor]) -> None:
    """Draws the lines of one network."""
    colors = colormap_of_depth()
    for i, line in enumerate(lines.values()):
        depth = i / max(len(lines) - 1, 1)
        frequency = np.linspace(0, 1, len(line)) if len(line) > 1 else [0]
        ax.plot(frequency, line.numpy(), color=colors.to_rgba(depth), lw=1, marker='.', ms=3)
    ax.set_title(title, fontsize=SMALL)
    ax.set_xlabel('frequency', fontsize=SMALL)
    ax.set_xticks([0, 0.5, 1], ['0', r'$\pi$/2', r'$\pi$'])
    ax.tick_params(labelsize=SMALL)


def colormap_of_depth() -> ScalarMappable:
    """From the first map to the last."""
    return ScalarMappable(Normalize(0, 1), colormaps['plasma'])


def picture_of(args: argparse.Namespace) -> Tuple[Figure, str]:
    """Draws what the command line asks for; returns it and what was found in short."""
    subjects = distinct([load(network, args) for network in args.networks])
    if args.what == 'fourier':
        return draw_spectra(subjects), 'Fourier amplitudes'
    make = field_sheet if args.what == 'erf' else similarity_sheet
    sheet = make(subjects, args)
    return draw([sheet]), sheet.title


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Draws the picture that the command line asks for."""
    args = parse_args(argv)
    with errors_in_a_line(args.traceback):
        figure, title = picture_of(args)
    save(figure, args.out)
    print(f'{title}: {args.out}')


if __name__ == '__main__':
    main()
