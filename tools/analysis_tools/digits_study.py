# Copyright (c) mmvisionmix authors. All rights reserved.
"""Trains ViT and LKCA on real handwritten digits: the LKCA paper's comparison, on a small scale.

    python tools/analysis_tools/digits_study.py

The data are the 1,797 digits of scikit-learn, enlarged to 32x32, white on black; the last fifth is
for validation. The networks are those of the paper's CIFAR-10 configs; augmentation, regularisation
and schedule those of its SVHN configs, the schedule shortened in proportion. Every network is
trained from several seeds, and the accuracy after the last epoch counts. Networks that are trained
already are not trained again, so an interrupted study goes on where it stopped.
"""
import argparse
import json
import statistics
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Dict, List, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from rich.progress import track

from mmvisionmix import config_path
from mmvisionmix.datasets.demo_data import svhn
from mmvisionmix.datasets.demo_data.owned_folder import write_once
from mmvisionmix.datasets.demo_data.pictures import Picture

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
        for name in ('train_dataloader', 'val_dataloader'):
            loader = data[name]
            loader.batch_size, loader.num_workers = self.batch_size, 0
            loader.persistent_workers = False
            loader.dataset.data_root = str(self.out / DATA)
            cfg[name] = loader
        if self.recipe == 'light':
            dataset = cfg.train_dataloader.dataset
            dataset.pipeline = [step for step in dataset.pipeline if step.type in LIGHT]
            cfg.model.train_cfg = None  # of Mixup and CutMix
        cfg.test_dataloader = cfg.test_cfg = cfg.test_evaluator = None
        warmup, annealing = cfg.param_scheduler
        warmup.end = max(self.epochs // 10, 1)  # a tenth, as in the paper
        annealing.update(begin=warmup.end, end=self.epochs, T_max=self.epochs - warmup.end)
        annealing.convert_to_iter_based = True  # a short run has few epochs to anneal in
        cfg.train_cfg.update(max_epochs=self.epochs, val_interval=self.epochs)
        cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=-1, save_last=False)
        cfg.randomness = dict(seed=self.seed)
        cfg.work_dir, cfg.log_level = str(self.folder), 'ERROR'
        cfg.env_cfg.mp_cfg.mp_start_method = 'spawn'  # as this process was started
        return cfg

    def train(self) -> float:
        """Trains on one thread, unless that was done; returns the top-1 accuracy in percent."""
        result = self.folder / 'result.json'
        if not result.exists():
            torch.set_num_threads(1)
            runner = Runner.from_cfg(self.make_config())
            runner.train()
            accuracy = runner.message_hub.get_scalar('val/accuracy/top1').current()
            result.write_text(json.dumps(dict(top1=accuracy)))
        return json.loads(result.read_text())['top1']


def write_digits(out: Path) -> None:
    """Writes the digits, white on black, in SVHN's layout, unless they are there."""

    def draw() -> Dict[str, bytes]:
        return {name: svhn.encode_mat([
            Picture(np.stack([np.round(255 * svhn.enlarge(ink))] * 3, 2).astype(np.uint8), label)
            for ink, label in zip(*svhn.load_digits(split))
        ]) for split, name in svhn.FILES.items()}

    write_once(out, dict(layout='digits', revision=1), draw)


def train_all(runs: List[Run], workers: int) -> Dict[Run, float]:
    """Trains in parallel processes; returns the accuracies."""
    with ProcessPoolExecutor(workers, mp_context=get_context('spawn')) as pool:
        futures = {pool.submit(Run.train, run): run for run in runs}
        done = track(as_completed(futures), description='Training', total=len(runs))
        return {futures[future]: future.result() for future in done}


def tabulate(accuracies: Dict[Run, float]) -> str:
    """A Markdown table: mean and standard deviation over seeds, and all of them."""
    lines = [HEADER]
    for size in dict.fromkeys(run.size for run in accuracies):
        vit, lkca = ([accuracies[run] for run in sorted(accuracies)
                      if (run.network, run.size) == (network, size)] for network in NETWORKS)
        difference = statistics.mean(lkca) - statistics.mean(vit)
        lines.append(f'| {size.upper()} | {_cell(vit)} | {_cell(lkca)} | {difference:+.1f} |')
    return '\n'.join(lines)


def _cell(values: List[float]) -> str:
    every = ', '.join(f'{value:.1f}' for value in values)
    spread = f' ± {statistics.stdev(values):.1f}' if len(values) > 1 else ''
    return f'{statistics.mean(values):.1f}{spread} ({every})'


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
