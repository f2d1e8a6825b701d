# Copyright (c) mmvisionmix authors. All rights reserved.
"""Options that the tools of this folder share, and how these refuse what they cannot draw."""

from __future__ import annotations

import argparse
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Sequence, Tuple

from mmengine.config import DictAction


def make_parser(description: str, out: str) -> argparse.ArgumentParser:
    """A parser with ``--out``, the picture's file.

    Args:
        description: What stands at the top of the tool.
        out: Name of the picture where none is given.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--out', type=Path, default=Path(out), help='picture (default: %(default)s)')
    return parser


def add_image_options(parser: argparse.ArgumentParser, position: str, layers: str) -> None:
    """Adds how an image is scaled, and what of it and of the network is drawn.

    Args:
        parser: Gets ``--position``, ``--layers`` and ``--size``.
        position: What the pixel at the position is for.
        layers: What is counted, and how some are chosen.
    """
    parser.add_argument(
        '--position', nargs=2, type=int, metavar=('ROW', 'COLUMN'),
        help=f'pixel of the scaled image {position} (default: its centre)')
    parser.add_argument(
        '--layers', type=counting_number, default=4, metavar='N',
        help=f'{layers} (default: %(default)s)')
    parser.add_argument(
        '--size', nargs=2, type=counting_number, metavar=('H', 'W'),
        help="scale and crop the image to as many pixels (default: the config's, else 224 224)")


def add_cfg_options(parser: argparse.ArgumentParser, example: str) -> None:
    """Adds ``--cfg-options``; ``example`` is one of them."""
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
        help=f'settings that override the config, e.g. {example}')


def counting_number(text: str) -> int:
    """Reads a whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'must be a whole number from 1 on, got {text}')
    return int(text)


def position_in(args: argparse.Namespace, size: Sequence[int]) -> Tuple[float, float]:
    """The middle of the pixel at ``--position``, as parts of an image's height and width.

    Args:
        args: With the position.
        size: Height and width of the image in pixels.

    Raises:
        ValueError: If it is outside the image.
    """
    height, width = size
    row, col = args.position or (height // 2, width // 2)
    if not (0 <= row < height and 0 <= col < width):
        raise ValueError(f'--position {row} {col} is outside the image of {height} x {width}')
    return (row + 0.5) / height, (col + 0.5) / width


@contextmanager
def refusing(tool: str) -> Iterator[None]:
    """Ends the program with one line where something is missing or cannot be drawn.

    Args:
        tool: Name of the program, with which the line begins.
    """
    try:
        yield
    except (FileNotFoundError, ImportError, ValueError) as error:
        raise SystemExit(f'{tool}: {error}') from error
