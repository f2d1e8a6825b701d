# Copyright (c) mmvisionmix authors. All rights reserved.
"""What ``tools/train.py`` and ``tools/test.py`` share: arguments and how they change a config."""
import argparse
import os
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Sequence

import torch
from mmengine.config import Config, DictAction

from mmvisionmix.datasets.availability import check_data
from mmvisionmix.datasets.bad_data import BadDataError

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that OpenMMLab's train and test tools have in common."""
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--work-dir', help='folder for logs and checkpoints (default: work_dirs/CONFIG_NAME)')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='settings that override the config, e.g. train_dataloader.batch_size=2 '
        'model.backbone.arch=b; lists as key="[a,b]" without spaces')
    parser.add_argument(
        '--launcher', choices=LAUNCHERS, default='none', help='job launcher (default: none)')
    parser.add_argument(
        '--local-rank', '--local_rank', type=int, default=0, help='set by older launchers')


def load_config(args: argparse.Namespace, loaders: Sequence[str]) -> Config:
    """Reads the config of the common arguments, applies them, and checks that its data are there.

    Args:
        args (argparse.Namespace): Parsed arguments of :func:`add_common_arguments`.
        loaders (Sequence[str]): The data loaders that will be used; see :func:`check_data`.

    Returns:
        Config: The config with ``--cfg-options``, launcher and ``work_dir`` set.

    Raises:
        SystemExit: If the config file, or data that it reads, are missing; says what to do.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    try:
        cfg = Config.fromfile(args.config)
        cfg.merge_from_dict(args.cfg_options or {})
        check_data(cfg, loaders)
    except FileNotFoundError as error:
        raise SystemExit(f'error: {error}') from error
    cfg.launcher = args.launcher
    if args.launcher == 'pytorch' and not torch.cuda.is_available():
        _distribute_on_cpu(cfg)
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif not cfg.get('work_dir'):
        cfg.work_dir = str(Path('work_dirs') / Path(args.config).stem)
    return cfg


@contextmanager
def bad_data_in_a_line() -> Iterator[None]:
    """Ends the program with the message of a ``BadDataError`` alone.

    A worker process hands over the error with its stack trace as message; the reason is at its end.

    Raises:
        SystemExit: In place of a ``BadDataError``.
    """
    try:
        yield
    except BadDataError as error:
        reason = str(error).rpartition(f'{BadDataError.__name__}: ')[2]
        raise SystemExit(f'error: {reason.strip()}') from error


def _distribute_on_cpu(cfg: Config) -> None:
    """Joins the processes by gloo; MMEngine's own launcher gives every process a GPU."""
    torch.distributed.init_process_group('gloo')
    wrapper = dict(
        type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False)
    cfg.model_wrapper_cfg = {**wrapper, **(cfg.get('model_wrapper_cfg') or {})}
