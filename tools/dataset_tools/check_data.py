# Copyright (c) mmvisionmix authors. All rights reserved.
"""Reads every image and label that a config uses to the end, and lists those that are bad.

    python tools/dataset_tools/check_data.py configs/upernet_lkca_s_ade20k.py --jobs 8

It takes the config's own loading steps and the checks of tools/train.py, and decodes each file once
more with Pillow, which notices what OpenCV does not. The exit code is 1 if anything is bad.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any, Iterator, List, Optional, Sequence, Tuple

from mmengine.config import Config, DictAction
from mmengine.dataset import Compose
from mmengine.registry import DATASETS, init_default_scope
from mmengine.utils.dl_utils import set_multi_processing
from rich.console import Console
from rich.progress import track
from torch.utils.data import DataLoader, Dataset

from mmvisionmix.cli import failures_in_a_line
from mmvisionmix.datasets.availability import check_data
from mmvisionmix.datasets.bad_data import (
    PARTS,
    CheckedPipeline,
    Labels,
    leaves,
    reading,
    require_samples,
    source,
)

LOADERS = ('train', 'val', 'test')
Finding = Tuple[int, List[str], str]
"""A bad sample: its number in its data set, its files, and what is wrong."""


class Inspection(Dataset):
    """The faults of a data set's samples: at every index a :class:`Finding`, or None."""

    def __init__(self, dataset: Any, model: dict) -> None:
        self.dataset = dataset
        loading = [step for step in dataset.pipeline.transforms
                   if type(step).__name__.startswith('Load')]
        self.pipeline = CheckedPipeline(
            Compose(loading), Labels.of(model, dataset.metainfo), source(dataset), thorough=True)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Optional[Finding]:
        info = self.dataset.get_data_info(index)
        files = [info[key] for key in PARTS if info.get(key)]
        fault = self.pipeline.fault(info)
        return (index, files, fault) if fault else None


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file of any task')
    parser.add_argument(
        '--loaders', nargs='+', choices=LOADERS, default=list(LOADERS), metavar='LOADER',
        help=f'whose data to read, of {", ".join(LOADERS)} (default: all that the config has)')
    parser.add_argument(
        '--jobs', type=int, default=0, metavar='N', help='worker processes (default: none)')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
        help='settings that override the config, e.g. train_dataloader.dataset.data_root=DIR')
    return parser.parse_args(argv)


def read_config(args: argparse.Namespace) -> Config:
    try:
        cfg = Config.fromfile(args.config)
        cfg.merge_from_dict(args.cfg_options or {})
        check_data(cfg, [f'{name}_dataloader' for name in args.loaders])
    except FileNotFoundError as error:
        raise SystemExit(f'error: {error}') from error
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    return cfg


def inspections(cfg: Config, loaders: Sequence[str]) -> Iterator[Inspection]:
    """Builds the data sets of some loaders; those that two of them share are built once."""
    configs: List[dict] = []
    for name in loaders:
        dataset = (cfg.get(f'{name}_dataloader') or {}).get('dataset')
        if dataset and dataset not in configs:
            configs.append(dataset)
    for config in configs:
        with reading():
            dataset = DATASETS.build(config)
            dataset.full_init()
        require_samples(dataset)
        for leaf in leaves(dataset):
            yield Inspection(leaf, cfg.get('model') or {})


def inspect(inspection: Inspection, jobs: int) -> List[Finding]:
    """Reads all samples of a data set, behind a progress bar."""
    set_multi_processing()  # OpenCV with one thread per worker
    batches = DataLoader(inspection, batch_size=8, num_workers=jobs, collate_fn=list)
    batches = track(batches, inspection.pipeline.source, console=Console(stderr=True))
    return [finding for batch in batches for finding in batch if finding]


def print_findings(findings: Sequence[Finding]) -> None:
    rows = [('sample', 'files', 'what is wrong'), ('---', ) * 3]
    rows += [(str(sample), ' '.join(files), fault) for sample, files, fault in findings]
    for row in rows:
        print(f'| {" | ".join(row)} |')


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Inspects the data sets of a config one by one; exits with 1 if any sample is bad."""
    args = parse_args(argv)
    cfg = read_config(args)
    bad = 0
    with failures_in_a_line(cfg):
        for inspection in inspections(cfg, args.loaders):
            findings = inspect(inspection, args.jobs)
            if findings:
                print_findings(findings)
            bad += len(findings)
            print(f'{inspection.pipeline.source}: {len(findings)} of {len(inspection)} samples '
                  'are bad')
    sys.exit(int(bad > 0))


if __name__ == '__main__':
    main()
