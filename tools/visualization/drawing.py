# Copyright (c) mmvisionmix authors. All rights reserved.
"""Grids of small pictures with one colour scale."""

from __future__ import annotations

from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch

PANEL_INCHES = 1.45
TITLE_INCHES = 0.45
SCALE_INCHES = 0.85
DPI = 90
SMALL = 8  # points

Mark = Tuple[float, float]


class Panel(NamedTuple):
    """One small picture.

    Attributes:
        title: What stands over it; may be empty.
        values: RGB, shape (H, W, 3), or values to be coloured, shape (H, W).
        mark: Where to draw a cross: parts of the height and width, from the top left.
    """
    title: str
    values: np.ndarray
    mark: Optional[Mark] = None


class Scale(NamedTuple):
    """How values are coloured.

    Attributes:
        label: What the values are.
        norm: From values to 0 to 1.
        colors: From there to colours.
        classes: Names of the values 0, 1, 2, ..., to be listed instead of a bar.
        extend: Ends past which values occur, as a colour bar takes it.
    """
    label: str
    norm: Normalize
    colors: Colormap
    classes: Tuple[str, ...] = ()
    extend: str = 'neither'


class Sheet(NamedTuple):
    """A grid of panels under a title.

    Attributes:
        title: What is shown.
        rows: Panels, None where there is none; rows may differ in length.
        labels: What stands left of each row.
        scale: Of all panels that are no pictures.
        inches: Side of a panel.
    """
    title: str
    rows: Sequence[Sequence[Optional[Panel]]]
    labels: Sequence[str]
    scale: Scale
    inches: float = PANEL_INCHES

    @property
    def columns(self) -> int:
        """Number of columns of the longest row."""
        return max(map(len, self.rows))

    @property
    def height(self) -> float:
        """Height in inches, with the titles over panels."""
        titled = sum(any(panel and panel.title for panel in row) for row in self.rows)
        shapes = [panel.values.shape for row in self.rows for panel in row if panel]
        tallest = min(1., max(height / width for height, width, *_ in shapes))
        return TITLE_INCHES + len(self.rows) * self.inches * tallest + titled * 0.2


def draw(sheets: Sequence[Sheet]) -> Figure:
    """Draws sheets one below the other.

    Args:
        sheets: At least one.

    Returns:
        The figure, to be saved.
    """
    width = max(sheet.columns * sheet.inches for sheet in sheets) + SCALE_INCHES + 0.6
    width = max(width, 5.)
    heights = [sheet.height for sheet in sheets]
    figure = Figure(figsize=(width, sum(heights)), layout='constrained')
    parts = figure.subfigures(len(sheets), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, sheet in zip(parts, sheets):
        part.suptitle(sheet.title, fontsize='medium')
        grid = part.subplots(len(sheet.rows), sheet.columns, squeeze=False)
        for axes, row, label in zip(grid, sheet.rows, sheet.labels):
            draw_row(axes, row, label, sheet.scale)
        draw_scale(part, grid, sheet.scale)
    return figure


def draw_row(axes: Sequence[Axes], row: Sequence[Optional[Panel]], label: str,
             scale: Scale) -> None:
    """Draws one row of panels; what is left of the row stays empty."""
    padded: List[Optional[Panel]] = [*row, *[None] * (len(axes) - len(row))]
    for ax, panel in zip(axes, padded):
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        if panel is None:
            continue
        if panel.values.ndim == 3:
            ax.imshow(panel.values)
        else:
            ax.imshow(panel.values, norm=scale.norm, cmap=scale.colors, interpolation='nearest')
        if panel.mark:
            height, width = panel.values.shape[:2]
            ax.plot(panel.mark[1] * width - 0.5, panel.mark[0] * height - 0.5, '+', ms=9, mew=1.6,
                    color='white')
            ax.plot(panel.mark[1] * width - 0.5, panel.mark[0] * height - 0.5, '+', ms=8, mew=0.8,
                    color='black')
        ax.set_title(panel.title, fontsize=SMALL)
    axes[0].set_ylabel(label, fontsize=SMALL)


def draw_scale(part: SubFigure, grid: np.ndarray, scale: Scale) -> None:
    """Draws what the colours mean, to the right of a grid."""
    if scale.classes:
        colors = [scale.colors(scale.norm(i)) for i in range(len(scale.classes))]
        part.legend(
            handles=[Patch(fc=color, ec='gray', label=name)
                     for color, name in zip(colors, scale.classes)],
            title=scale.label, loc='outside right center', frameon=False, fontsize=SMALL,
            title_fontsize=SMALL)
        return
    bar = part.colorbar(
        ScalarMappable(scale.norm, scale.colors), ax=list(grid.flat), label=scale.label,
        extend=scale.extend, fraction=0.05, aspect=25, shrink=0.9)
    bar.ax.tick_params(labelsize=SMALL)
    bar.set_label(scale.label, fontsize=SMALL)


def save(figure: Figure, out: Path) -> None:
    """Writes a figure, and the folder that it is to be in."""
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=DPI)
