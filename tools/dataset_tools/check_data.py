# Copyright (c) mmvisionmix authors. All rights reserved.
"""Reads every image and label that a config uses to the end, and tells what there is of each class.

    python tools/dataset_tools/check_data.py configs/upernet_lkca_s_ade20k.py --jobs 8

It takes the config's own loading steps, and decodes each file once more with Pillow, which notices
what OpenCV does not. Samples that are bad are listed, and notes say what the numbers mean. The
exit code is 1 if anything is bad.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Iterator, List, Optional, Sequence, Tuple

from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from mmengine.utils.dl_utils import set_multi_processing
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from checks import annotation_faults, annotations_blamed, name_fault
from common import add_config_options, errors_in_a_line, read_config, table
from inspection import Inspection, Summary

from mmvisionmix.datasets.availability import check_data, leaf_datasets, source, type_name

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
    parser.add_argument('--json', metavar='FILE', help='write all that was found to a file, too')
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
            getattr(dataset, 'full_init', list)()
        except Exception as error:  # nearly anything, of nearly anything in annotations
            raise ValueError(
                f'{type_name(config)} cannot read {place}, or finds no samples there: '
                f'{type(error).__name__}: {error}') from error
        yield place, Inspection(dataset, cfg.get('model') or {})


def inspect(place: str, inspection: Inspection, jobs: int) -> Summary:
    """Reads all samples of a data set, behind a progress bar."""
    set_multi_processing()  # OpenCV with one thread per worker
    batches = DataLoader(inspection, batch_size=8, num_workers=jobs, collate_fn=list)
    summary = Summary(place, inspection.names)
    for batch in track(batches, escape(place), console=Console(stderr=True)):
        for sample in batch:
            summary.add(sample)
    return summary


def report(summary: Summary) -> None:
    """Prints bad samples, what there is of each class, and what that means."""
    if summary.bad:
        print(table(('sample', 'files', 'what is wrong'), [
            (str(sample.number), ' '.join(sample.files), sample.fault) for sample in summary.bad]))
    if summary.amounts:
        print(table(('class', 'images', summary.unit, 'share'), summary.rows()))
    for note in summary.notes():
        print(f'note: {note}')
    print(f'{summary.place}: {len(summary.bad)} of {summary.samples} samples are bad')


def check(args: argparse.Namespace) -> bool:
    """Inspects the data sets of a config one by one; returns whether anything is bad."""
    cfg = read_config(args.config, args.cfg_options)
    loaders = [f'{name}_dataloader' for name in args.loaders]
    check_data(cfg, loaders)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    summaries = []
    with annotations_blamed(cfg, loaders):
        for place, inspection in inspections(cfg, args.loaders):
            fault = name_fault(inspection.dataset)
            if fault:
                raise ValueError(fault)
            summaries.append(inspect(place, inspection, args.jobs))
            report(summaries[-1])
    if not summaries:
        raise ValueError(f'{args.config} has no data set in {", ".join(loaders)}')
    faults = annotation_faults(cfg, loaders)
    for fault in faults:
        print(f'bad annotations: {fault}')
    if args.json:
        found = json.dumps([summary.as_dict() for summary in summaries], indent=2)
        Path(args.json).write_text(found + '\n')
    return bool(faults) or any(summary.bad for summary in summaries)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Exits with 1 if any sample is bad."""
    args = parse_args(argv)
    with errors_in_a_line(args.traceback):
        bad = check(args)
    sys.exit(int(bad))


if __name__ == '__main__':
    main()
