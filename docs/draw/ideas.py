# Copyright (c) mmvisionmix authors. All rights reserved.
"""Draws the pictures of the ideas on the backbones' pages.

    python docs/draw/ideas.py

Writes docs/images/NAME_idea.png, or into the folder given. What is shown as computed is computed,
by the functions of mmvisionmix.ops.
"""
import argparse
from io import BytesIO
from pathlib import Path
from typing import Callable, Dict, Sequence, Tuple

import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image
from torch import Tensor

from mmvisionmix.ops import draw_hash_vectors, hash_partition, toeplitz_matrix

IMAGES = Path(__file__).resolve().parent.parent / 'images'
BLUE, ORANGE, GREEN, RED, GREY = '#1f77b4', '#ff7f0e', '#2ca02c', '#d62728', '#9a9a9a'
COLOURS = (BLUE, ORANGE, GREEN, RED)


def new_figure(titles: Sequence[str], widths: Sequence[float]) -> Tuple[Figure, Sequence[Axes]]:
    """A row of panels without axes, 9 inches wide."""
    figure = Figure(figsize=(9, 3.3), dpi=110, layout='constrained')
    panels = figure.subplots(1, len(titles), width_ratios=widths)
    for panel, title in zip(panels, titles):
        panel.set_title(title, fontsize=9)
        panel.set_axis_off()
    return figure, panels


def frame(panel: Axes, corner: Tuple[float, float], width: float, height: float,
          colour: str) -> None:
    """Draws a frame whose lower-left corner, in data units, is given."""
    panel.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=colour, linewidth=2.2))


def note(panel: Axes, x: float, y: float, text: str, **options: object) -> None:
    """Writes centred text in data units."""
    panel.text(x, y, text, ha='center', va='center', **{'fontsize': 8, **options})


def smooth_noise(height: int, width: int, seed: int) -> Tensor:
    """A random map that changes slowly, between 0 and 1."""
    coarse = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(
        coarse, (height, width), mode='bicubic', align_corners=True)[0, 0].clamp(0, 1)


def links(panel: Axes, left: float, lefts: Sequence[float], right: float, rights: Sequence[float],
          widths: Tensor, colours: Sequence[str]) -> None:
    """Lines from every point of one column to every point of another, (L, R) widths in points."""
    for row, (start, colour) in enumerate(zip(lefts, colours)):
        for column, end in enumerate(rights):
            panel.plot((left, right), (start, end), color=colour, zorder=1,
                       linewidth=float(widths[row, column]))


def column(panel: Axes, x: float, ys: Sequence[float], colours: Sequence[str], size: float = 60,
           marker: str = 'o') -> None:
    """A column of points."""
    panel.scatter([x] * len(ys), ys, s=size, c=list(colours), marker=marker, zorder=2)


def draw_lkca() -> Figure:
    """One kernel; every token sees a window of it; the windows are the rows of A."""
    side = 5
    offsets = torch.arange(1 - side, side).float()
    distance = (offsets[:, None]**2 + 0.6 * offsets**2 + offsets[:, None] * offsets * 0.5).sqrt()
    kernel = torch.cos(distance * 1.3) * torch.exp(-distance / 4)
    matrix = toeplitz_matrix(kernel, (side, side))
    figure, (left, middle, right) = new_figure(
        ('kernel w: one weight per offset,\n9 x 9 for 5 x 5 tokens',
         'two tokens, and how much each\ntakes from every position',
         'A: one row per token, 25 x 25\nout = A V'), (1, 0.8, 1))
    look = dict(cmap='RdBu_r', vmin=-1, vmax=1)
    left.imshow(kernel, **look)
    right.imshow(matrix, **look)
    for (row, col), colour, top in (((1, 1), ORANGE, 0), ((3, 4), GREEN, 6.4)):
        start = side - 1 - row, side - 1 - col
        frame(left, (start[1] - 0.5, start[0] - 0.5), side, side, colour)
        index = row * side + col
        window = matrix[index].view(side, side)
        middle.imshow(window, extent=(0, side, top + side, top), **look)
        frame(middle, (0, top), side, side, colour)
        middle.plot(col + 0.5, top + row + 0.5, 'o', color=colour, markeredgecolor='k')
        frame(right, (-0.5, index - 0.5), side**2, 1, colour)
    middle.set_xlim(-1, side + 1)
    middle.set_ylim(11.8, -0.4)
    return figure


def draw_linglo() -> Figure:
    """Pairs of tokens, against one vector that every token gives to and takes from."""
    tokens = 8
    ys = list(range(tokens, 0, -1))
    generator = torch.Generator().manual_seed(3)
    figure, (left, middle, right) = new_figure(
        ('softmax attention:\nevery pair of tokens, N x N weights',
         'key-only attention:\none weight per token, one vector G',
         'the weights A on an image,\nby the keys alone'), (1, 1.3, 0.9))
    pairs = torch.softmax(torch.randn(tokens, tokens, generator=generator) * 1.2, 1)
    links(left, 0, ys, 6, ys, pairs * 6, [BLUE] * tokens)
    weights = torch.softmax(torch.randn(tokens, generator=generator) * 1.2, 0)
    links(middle, 0, ys, 5, [4.5], weights[:, None] * 18, [ORANGE] * tokens)
    links(middle, 5, [4.5], 10, ys, torch.full((1, tokens), 1.3), [ORANGE])
    for panel, end in ((left, 6), (middle, 10)):
        for x in (0, end):
            column(panel, x, ys, [GREY] * tokens)
        panel.set_ylim(-0.3, 9)
    middle.scatter([5], [4.5], s=420, c=ORANGE, zorder=3)
    note(middle, 5, 4.5, 'G', fontsize=12, color='w', weight='bold')
    note(left, 0, 0.1, 'queries')
    note(left, 6, 0.1, 'keys, values')
    note(middle, 0, 0.1, 'keys K')
    note(middle, 5, 0.1, 'G = sum of A K')
    note(middle, 10, 0.1, 'Y of G * V and K')
    left.set_xlim(-1.6, 7.6)
    middle.set_xlim(-1.4, 12.4)
    ratings = smooth_noise(14, 14, 5)
    right.imshow(torch.softmax(ratings.flatten() * 6, 0).view(14, 14), cmap='Oranges')
    return figure


def draw_mcganet() -> Figure:
    """Convolutions are the queries, and few groups what they ask."""
    tokens, groups = 10, 4
    ys = [0.8 + 0.8 * index for index in range(tokens)][::-1]
    group_ys = [2., 3.8, 5.6, 7.4][::-1]
    generator = torch.Generator().manual_seed(1)
    figure, (left, right) = new_figure(
        ('tokens -> groups -> tokens: 2NG weights per head', 'what asks for the marked token:\n'
         'convolutions of 3 x 3 and 5 x 5'), (2.4, 1))
    into, out = (torch.softmax(torch.randn(groups, tokens, generator=generator) * 1.5, dim)
                 for dim in (1, 0))
    links(left, 6, group_ys, 0, ys, into * 8, COLOURS)
    links(left, 9, group_ys, 15, ys, out * 3, COLOURS)
    links(left, 6, group_ys, 9, group_ys, torch.full((groups, groups), 0.8), [GREY] * groups)
    for x in (0, 15):
        column(left, x, ys, [GREY] * tokens)
    for x in (6, 9):
        column(left, x, group_ys, COLOURS, 170, 's')
    for x, text in ((0, 'N tokens'), (3, 'softmax\nover tokens'),
                    (7.5, 'G groups,\nmixed by an MLP'), (12, 'softmax\nover groups'),
                    (15, 'N tokens')):
        note(left, x, -0.5, text)
    left.set_xlim(-1.5, 16.5)
    left.set_ylim(-1.3, 8.6)
    right.imshow(smooth_noise(9, 9, 2), cmap='Greys', vmin=-0.5, vmax=2.5)
    frame(right, (2.5, 2.5), 3, 3, ORANGE)
    frame(right, (1.5, 1.5), 5, 5, BLUE)
    right.plot(4, 4, 'o', color=ORANGE, markeredgecolor='k', markersize=9)
    return figure


def draw_dualformer() -> Figure:
    """Signs sort tokens into partitions; attention is within and between these."""
    side = 12
    x = torch.stack([smooth_noise(side, side, seed) - 0.5 for seed in (4, 9)])
    vectors = draw_hash_vectors(1, 2, 2, 5)
    codes = hash_partition(x[None], vectors).flatten()
    figure, (left, middle, right) = new_figure(
        ('two fixed vectors cut the features\nof tokens into 4 partitions',
         'the same tokens, on the image',
         'intra: within a partition\ninter: its mean, weighted, to all in it'), (1, 1, 1.3))
    points = x.flatten(1)
    left.scatter(*points, c=[COLOURS[code] for code in codes], s=14)
    for vector in vectors[0]:
        left.plot(*(torch.stack((-vector[1], vector[0]))[:, None] * torch.tensor([-0.75, 0.75])),
                  color='k', linewidth=1, linestyle='--')
        left.annotate('', tuple(0.35 * vector), (0, 0), arrowprops=dict(arrowstyle='->'))
    left.set_aspect('equal')
    left.set_xlim(-0.62, 0.62)
    left.set_ylim(-0.62, 0.62)
    middle.imshow(codes.view(side, side), cmap=ListedColormap(COLOURS), vmin=0, vmax=3)
    for index, colour in enumerate(COLOURS):
        height = 6 - 2 * index
        ys = [height - 0.5, height + 0.1, height + 0.7]
        for a in ys:
            for b in ys:
                right.plot((0, 2), (a, b), color=colour, linewidth=0.7)
        links(right, 7.4, [height + 0.1], 5, ys, torch.full((1, 3), 0.9), [colour])
        for position in (0, 2, 5):
            column(right, position, ys, [colour] * 3, 24)
        column(right, 7.4, [height + 0.1], [colour], (260, 60, 160, 100)[index], 's')
    note(right, 1, -1.2, 'intra')
    note(right, 6.4, -1.2, 'inter: means g_k\nsized by m_k')
    right.set_xlim(-0.8, 8.8)
    right.set_ylim(-2, 7.3)
    return figure


DRAWINGS: Dict[str, Callable[[], Figure]] = dict(
    lkca=draw_lkca, linglo=draw_linglo, mcganet=draw_mcganet, dualformer=draw_dualformer)


def main() -> None:
    """Draws all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', type=Path, default=IMAGES, help='folder (default: docs/images)')
    args = parser.parse_args()
    for name, draw in DRAWINGS.items():
        buffer = BytesIO()
        draw().savefig(buffer, format='png')
        few_colours = Image.open(buffer).convert('RGB').quantize(96)  # a third of the size
        few_colours.save(args.out / f'{name}_idea.png', optimize=True)


if __name__ == '__main__':
    main()
