# Copyright (c) mmvisionmix authors. All rights reserved.
"""Makes small data sets of real photographs, without any download.

Each layout is that of a public data set, so that the configs and the loading code made for it
run on the demo data unchanged:

    python tools/dataset_tools/make_demo_data.py ade20k

A folder that is complete is left alone, and one that holds anything else is refused.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import Callable, Dict, NamedTuple, Optional, Sequence

from rich.progress import track

from demo_data import (
    Recipe,
    SceneRecipe,
    write_ade20k,
    write_cifar10,
    write_cifar100,
    write_coco,
    write_imagenet,
    write_svhn,
    write_tiny_imagenet,
)

TOY_CONFIG = 'python tools/train.py configs/toy/lkca_upernet_demo-ade20k.py'
OTHER_ROOT = ('let a config read it with --cfg-options train_dataloader.dataset.data_root={out} '
              'val_dataloader.dataset.data_root={out}')
OTHER_TYPE = (OTHER_ROOT + ' train_dataloader.dataset.type=mmvisionmix.{reader} '
              'val_dataloader.dataset.type=mmvisionmix.{reader}')
OTHER_TRUTH = OTHER_ROOT + ' val_evaluator.ann_file={out}/annotations/instances_val2017.json'


class Layout(NamedTuple):
    """What the command line says about a layout.

    Attributes:
        write: Writes it; takes the folder, the recipe and a progress bar.
        about: What it is for.
        defaults: The recipe, unless other numbers are given.
        following: What to do next; ``{out}`` stands for the folder.
        extent: How large the pictures are, if that can be chosen.
    """
    write: Callable[..., bool]
    about: str
    defaults: Recipe
    following: str = OTHER_ROOT
    extent: str = ''


PICTURES = Recipe(train=500, val=100)
LAYOUTS: Dict[str, Layout] = {
    'ade20k': Layout(
        write_ade20k, 'semantic segmentation, for configs on ADE20K', SceneRecipe(), TOY_CONFIG,
        ' of {size}x{size} pixels'),
    'coco': Layout(
        write_coco,
        'detection, instance and panoptic segmentation, key points, for configs on COCO',
        SceneRecipe(size=256, train=100, val=20), OTHER_TRUTH, ' of up to {size}x{size} pixels'),
    'cifar10': Layout(
        write_cifar10, 'classification, for configs on CIFAR-10', PICTURES,
        OTHER_TYPE.replace('{reader}', 'DemoCIFAR10')),
    'cifar100': Layout(
        write_cifar100, 'classification, for configs on CIFAR-100', PICTURES,
        OTHER_TYPE.replace('{reader}', 'DemoCIFAR100')),
    'svhn': Layout(
        write_svhn, 'classification of digits, for configs on SVHN', Recipe(train=1438, val=359)),
    'tiny-imagenet': Layout(
        write_tiny_imagenet, 'classification, for configs on Tiny ImageNet', PICTURES),
    'imagenet': Layout(write_imagenet, 'classification, for configs on ImageNet', PICTURES),
}


def make(args: argparse.Namespace) -> str:
    """Writes the layout that was chosen.

    Returns:
        What was done, and what to do next.
    """
    layout = LAYOUTS[args.layout]
    fields = {name: getattr(args, name) for name in vars(layout.defaults)}
    written = layout.write(
        args.out, type(layout.defaults)(**fields), partial(track, description='Drawing'))
    return (f'{"Made" if written else "Already there:"} {args.train} training and {args.val} '
            f'validation pictures{layout.extent.format(**fields)} in {args.out}\n'
            f'Next: {layout.following.format(out=shlex.quote(str(args.out)))}')


def add_layout(layouts: argparse._SubParsersAction, name: str) -> None:
    """Adds the subcommand that writes a layout, with an option for every number of its recipe."""
    about = {'size': 'longer side of a picture, pixels', 'train': 'training pictures',
             'val': 'validation pictures', 'seed': 'seed of all choices'}
    parser = layouts.add_parser(
        name, help=LAYOUTS[name].about, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('--out', type=Path, default=Path('data/demo', name), help='folder')
    for option, default in vars(LAYOUTS[name].defaults).items():
        parser.add_argument(f'--{option}', type=int, default=default, help=about[option])


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    layouts = parser.add_subparsers(
        title='layouts', metavar='LAYOUT', dest='layout', required=True)
    for name in LAYOUTS:
        add_layout(layouts, name)
    return parser.parse_args(argv)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Makes the data set that the command line asks for; a refusal ends with its reason."""
    args = parse_args(argv)
    try:
        print(make(args))
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f'make_demo_data.py: {error}')


if __name__ == '__main__':
    main()
