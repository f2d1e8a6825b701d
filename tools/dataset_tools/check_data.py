# Copyright (c) mmvisionmix authors. All rights reserved.
"""Reads every image and label that a config uses to the end, and lists those that are bad.

    python tools/dataset_tools/check_data.py configs/upernet_lkca_s_ade20k.py --jobs 8

It takes the config's own loading steps, and decodes each file once more with Pillow, which notices
what OpenCV does not. The exit code is 1 if anything is bad.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Iterator, List, Optional, Sequence, Tuple

from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from mmengine.utils.dl_utils import set_multi_processing
from rich.console import Console
from rich.progress import track
from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import add_config_options, errors_in_a_line, read_config

from mmvisionmix.datasets.availability import check_data, leaf_datasets, source
from mmvisionmix.datasets.bad_data import Finding, Inspection

LOADERS = ('train', 'val', 'test')


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file of any task')
    parser.add_argument(
        '--loaders', nargs='+', choices=LOADERS, default=list(LOADERS), metavar='LOADER',
        help=f'whose data to read, of {", ".join(LOADERS)} (default: all that the config has)')
    parser.add_argument(
        '--jobs', type=int, default=0, metavar='N', help='worker processes (default: none)')
    add_config_options(parser, 'train_dataloader.dataset.data_root=DIR')
    return parser.parse_args(argv)


def inspections(cfg: Config, loaders: Sequence[str]) -> Iterator[Tuple[str, Inspection]]:
    """Builds the data sets of some loaders; those that two of them share are built once.

    Raises:
        ValueError: If a data set's annotations cannot be read, or it has no samples.
    """
    configs: List[dict] = []
    for name in loaders:
        dataset = (cfg.get(f'{name}_dataloader') or {}).get('dataset') or {}
        configs += [leaf for leaf in leaf_datasets(dataset) if leaf and leaf not in configs]
    for config in configs:
        place = source(config)
        try:
            dataset = DATASETS.build(config)
            dataset.full_init()
        except Exception as error:  # nearly anything, of nearly anything in annotations
            raise ValueError(
                f'{config["type"]} cannot read {place}, or finds no samples there: '
                f'{type(error).__name__}: {error}') from error
        yield place, Inspection(dataset, cfg.get('model') or {})


def inspect(place: str, inspection: Inspection, jobs: int) -> List[Finding]:
    """Reads all samples of a data set, behind a progress bar."""
    set_multi_processing()  # OpenCV with one thread per worker
    batches = DataLoader(inspection, batch_size=8, num_workers=jobs, collate_fn=list)
    batches = track(batches, place, console=Console(stderr=True))
    return [finding for batch in batches for finding in batch if finding]


def print_findings(findings: Sequence[Finding]) -> None:
    rows = [('sample', 'files', 'what is wrong'), ('---', ) * 3]
    rows += [(str(sample), ' '.join(files), fault) for sample, files, fault in findings]
    for row in rows:
        print(f'| {" | ".join(row)} |')


def check(args: argparse.Namespace) -> int:
    """Inspects the data sets of a config one by one; returns how many samples are bad."""
    cfg = read_config(args.config, args.cfg_options)
    check_data(cfg, [f'{name}_dataloader' for name in args.loaders])
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    bad = 0
    for place, inspection in inspections(cfg, args.loaders):
        findings = inspect(place, inspection, args.jobs)
        if findings:
            print_findings(findings)
        bad += len(findings)
        print(f'{place}: {len(findings)} of {len(inspection)} samples are bad')
    return bad


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Exits with 1 if any sample is bad."""
    args = parse_args(argv)
    with errors_in_a_line(args.traceback):
        bad = check(args)
    sys.exit(int(bad > 0))


if __name__ == '__main__':
    main()
