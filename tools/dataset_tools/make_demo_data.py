# Copyright (c) mmvisionmix authors. All rights reserved.
"""Makes small data sets of real photographs, without any download.

Each layout is that of a public data set, so that the configs and the loading code made for it
run on the demo data unchanged:

    python tools/dataset_tools/make_demo_data.py ade20k

A folder that is complete is left alone, and one that holds anything else is refused.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Optional, Sequence

from rich.progress import track

from mmvisionmix.datasets.demo_data import SceneRecipe, write_ade20k


def make_ade20k(args: argparse.Namespace) -> str:
    """Writes the ADE20K layout.

    Returns:
        What was done, and what to do next.
    """
    recipe = SceneRecipe(args.size, args.train, args.val, args.seed)
    written = write_ade20k(args.out, recipe, partial(track, description='Drawing scenes'))
    return (f'{"Made" if written else "Already there:"} {args.train} training and {args.val} '
            f'validation scenes of {args.size}x{args.size} pixels in {args.out}\n'
            f'Next: python tools/train.py configs/toy/lkca_upernet_demo-ade20k.py')


def add_ade20k(layouts: argparse._SubParsersAction) -> None:
    """Adds the subcommand that writes the ADE20K layout."""
    defaults = SceneRecipe()
    parser = layouts.add_parser(
        'ade20k',
        help='semantic segmentation, for configs on ADE20K',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('--out', type=Path, default=Path('data/demo/ade20k'), help='folder')
    parser.add_argument('--size', type=int, default=defaults.size, help='side of a scene, pixels')
    parser.add_argument('--train', type=int, default=defaults.train, help='training scenes')
    parser.add_argument('--val', type=int, default=defaults.val, help='validation scenes')
    parser.add_argument('--seed', type=int, default=defaults.seed, help='seed of all choices')
    parser.set_defaults(make=make_ade20k)


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    layouts = parser.add_subparsers(title='layouts', metavar='LAYOUT', required=True)
    add_ade20k(layouts)
    return parser.parse_args(argv)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Makes the data set that the command line asks for; a refusal ends with its reason."""
    args = parse_args(argv)
    try:
        print(args.make(args))
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f'make_demo_data.py: {error}')


if __name__ == '__main__':
    main()
