# Copyright (c) mmvisionmix authors. All rights reserved.
"""Trains ViT and LKCA on real handwritten digits: the LKCA paper's comparison, on a small scale.

    python projects/studies/digits_study.py

The data are the 1,797 digits of scikit-learn, enlarged to 32x32, white on black; the last fifth is
for validation. The networks are those of the paper's CIFAR-10 configs; augmentation, regularisation
and schedule those of its SVHN configs, the schedule shortened in proportion. Every network is
trained from several seeds, and the accuracy after the last epoch counts. Networks that are trained
already are not trained again, so an interrupted study goes on where it stopped.
"""
import argparse
import statistics
from pathlib import Path
from typing import Dict, NamedTuple

import numpy as np
from mmengine.config import Config
from studies import LOADERS, History, mean_and_spread, prepare, train_all, train_once

from mmvisionmix import config_path

from demo_data import svhn  # isort: skip  # studies adds its folder
from demo_data.folder import write_once  # isort: skip
from demo_data.pictures import Picture  # isort: skip

DATA = 'digits'  # the data's folder in the study's
NETWORKS = ('vit', 'lkca')
SIZES = ('0.5m', '1m', '2.69m')
RECIPES = ('light', 'paper')
LIGHT = ('RandomCrop', 'PackInputs')  # what the light recipe keeps of the pipeline
HEADER = '| parameters | ViT | LKCA | LKCA - ViT |\n|---|---|---|---|'


class Run(NamedTuple):
    """One training: which network, how, and where its files go."""
    network: str
    size: str
    seed: int
    epochs: int
    batch_size: int
    recipe: str
    out: Path

    @property
    def folder(self) -> Path:
        """Where logs and the result go."""
        schedule = f'{self.recipe}-b{self.batch_size}-{self.epochs}e'
        return self.out / f'{self.network}-{self.size}_{schedule}_seed{self.seed}'

    def make_config(self) -> Config:
        """The config of the network with the data and the schedule of this study."""
        cfg = Config.fromfile(config_path(f'{self.network}-{self.size}_1xb128-100e_cifar10'))
        data = Config.fromfile(config_path('lkca-1m_1xb128-100e_svhn'))
        cfg.data_preprocessor = data.data_preprocessor
        for name in LOADERS:
            cfg[name] = data[name]
            cfg[name].batch_size = self.batch_size
            cfg[name].dataset.data_root = str(self.out / DATA)
        if self.recipe == 'light':
            dataset = cfg.train_dataloader.dataset
            dataset.pipeline = [step for step in dataset.pipeline if step.type in LIGHT]
            cfg.model.train_cfg = None  # of Mixup and CutMix
        warmup, annealing = cfg.param_scheduler
        warmup.end = max(self.epochs // 10, 1)  # a tenth, as in the paper
        annealing.update(begin=warmup.end, end=self.epochs, T_max=self.epochs - warmup.end)
        annealing.convert_to_iter_based = True  # a short run has few epochs to anneal in
        cfg.train_cfg.update(max_epochs=self.epochs, val_interval=self.epochs)
        return prepare(cfg, self.folder, self.seed)

    def train(self) -> History:
        """Trains, unless that was done; returns the top-1 accuracy after the last epoch."""
        return train_once(self.make_config(), 'accuracy/top1')


def write_digits(out: Path) -> None:
    """Writes the digits, white on black, in SVHN's layout, unless they are there."""

    def draw() -> Dict[str, bytes]:
        return {name: svhn.encode_mat([
            Picture(np.stack([np.round(255 * svhn.enlarge(ink))] * 3, 2).astype(np.uint8), label)
            for ink, label in zip(*svhn.load_digits(split))
        ]) for split, name in svhn.FILES.items()}

    write_once(out, dict(layout='digits', revision=1), draw)


def tabulate(histories: Dict[Run, History]) -> str:
    """A Markdown table: mean and standard deviation over seeds, and all of them."""
    lines = [HEADER]
    for size in dict.fromkeys(run.size for run in histories):
        vit, lkca = ([histories[run][-1][1] for run in sorted(histories)
                      if (run.network, run.size) == (network, size)] for network in NETWORKS)
        difference = statistics.mean(lkca) - statistics.mean(vit)
        lines.append(f'| {size.upper()} | {mean_and_spread(vit)} | {mean_and_spread(lkca)} '
                     f'| {difference:+.1f} |')
    return '\n'.join(lines)


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--sizes', nargs='+', choices=SIZES, default=SIZES, help='(default: all)')
    parser.add_argument(
        '--seeds', nargs='+', type=int, default=[0, 1, 2], help='(default: 0 1 2)')
    parser.add_argument('--epochs', type=int, default=20, help='(default: %(default)s)')
    parser.add_argument('--batch-size', type=int, default=32, help='(default: %(default)s)')
    parser.add_argument(
        '--recipe', choices=RECIPES, default='light',
        help="augmentation: random crops alone, or all of the paper's (default: %(default)s)")
    parser.add_argument(
        '--workers', type=int, default=2, help='networks trained at a time (default: %(default)s)')
    parser.add_argument(
        '--out', type=Path, default=Path('work_dirs/digits_study'),
        help='folder for data, logs and results (default: %(default)s)')
    args = parser.parse_args()
    if args.epochs < 2:
        parser.error(f'--epochs must be at least 2, one of them warm-up, got {args.epochs}')
    return args


def main() -> None:
    args = parse_args()
    write_digits(args.out / DATA)
    runs = [Run(network, size, seed, args.epochs, args.batch_size, args.recipe, args.out)
            for size in args.sizes for seed in args.seeds for network in NETWORKS]
    print(f'\nTop-1 accuracy in percent after {args.epochs} epochs in batches of '
          f'{args.batch_size}: mean ± standard deviation (every seed)\n\n'
          f'{tabulate(train_all(runs, args.workers))}')


if __name__ == '__main__':
    main()
