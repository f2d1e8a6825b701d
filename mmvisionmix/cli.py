# Copyright (c) mmvisionmix authors. All rights reserved.
"""What ``tools/train.py`` and ``tools/test.py`` share: arguments and how they change a config."""
import argparse
import os
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Optional, Sequence

import torch
from mmengine.config import Config, DictAction
from mmengine.device import get_device
from mmengine.hooks import CheckpointHook
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmvisionmix.datasets.availability import check_data
from mmvisionmix.datasets.bad_data import BadDataError
from mmvisionmix.engine import (
    FULL_DISK,
    CheckedRunner,
    DiskFullError,
    explain_full_disk,
    find_resumable,
    read_resumable,
)

STOCK_CHECKPOINT_HOOKS = ('CheckpointHook', 'mmengine.CheckpointHook', CheckpointHook)
# What starts the processes of a launcher, and leaves these variables to each of them.
LAUNCHERS = {
    'none': ('python', ()),
    'pytorch': ('torchrun, as tools/dist_train.sh and dist_test.sh call it',
                ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')),
    'slurm': ('srun, as tools/slurm_train.sh and slurm_test.sh call it',
              ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_NODELIST')),
    'mpi': ('mpirun, with MASTER_ADDR set',
            ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_LOCAL_RANK', 'OMPI_COMM_WORLD_SIZE',
             'MASTER_ADDR')),
}


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
        SystemExit: If the config file, data that it reads, what a launcher provides or its GPUs
            are missing; says what to do.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    _check_launcher(args.launcher)
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


def use_safe_hooks(cfg: Config) -> None:
    """Puts our checkpoint hook in the place of MMEngine's, and ReseedHook beside it.

    A config that names a checkpoint hook of another type, or none, is left as it is;
    ``default_hooks.reseed=None`` leaves out ReseedHook alone.
    """
    hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1))  # what MMEngine has by itself
    hooks.update(cfg.get('default_hooks') or {})
    if hooks['checkpoint'] and hooks['checkpoint'].get('type') in STOCK_CHECKPOINT_HOOKS:
        hooks['checkpoint'] = {**hooks['checkpoint'], 'type': 'mmvisionmix.CheckpointHook'}
        hooks.setdefault('reseed', dict(type='mmvisionmix.ReseedHook'))
    if hooks.get('reseed', {}) is None:
        hooks.pop('reseed')
    cfg.default_hooks = hooks


def choose_checkpoint(cfg: Config, wanted: Optional[str]) -> str:
    """Settles where training starts, in ``resume``, ``load_from`` and the seed of a config.

    Args:
        cfg (Config): The config; its own ``resume=True`` counts as ``wanted``.
        wanted (str, optional): The checkpoint to go on from; ``'auto'`` for the last one of the
            work directory; None to start anew.

    Returns:
        str: What to tell the user about it; empty when training starts anew.

    Raises:
        SystemExit: If training cannot go on from there; says why.
    """
    if not wanted and cfg.get('resume'):
        wanted = cfg.get('load_from') or 'auto'
    if not wanted:
        return ''
    try:
        found = find_resumable(cfg.work_dir) if wanted == 'auto' else read_resumable(wanted)
    except ValueError as error:
        raise SystemExit(f'error: {error}') from error
    cfg.resume = found.path is not None
    if cfg.resume:
        cfg.load_from = found.path
    if not isinstance(cfg.get('randomness'), dict):
        cfg.randomness = {}
    if cfg.randomness.get('seed') is None:  # MMEngine takes it up after the loaders are built
        cfg.randomness.seed = found.seed
    return found.note


def build_runner(cfg: Config) -> Runner:
    """Builds the runner that a config's ``runner_type`` names, or else a :class:`CheckedRunner`."""
    return RUNNERS.build(cfg) if 'runner_type' in cfg else CheckedRunner.from_cfg(cfg)


@contextmanager
def failures_in_a_line(cfg: Config) -> Iterator[None]:
    """Ends the program with one line where data are bad or the disk is full.

    Raises:
        SystemExit: In place of a ``BadDataError`` or an ``OSError`` of a full disk.
    """
    try:
        yield
    except BadDataError as error:
        # A worker hands it over with its stack trace as message, and the reason at the end.
        reason = str(error).rpartition(f'{BadDataError.__name__}: ')[2]
        raise SystemExit(f'error: {reason.strip()}') from error
    except DiskFullError as error:
        raise SystemExit(f'error: {error}') from error
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        raise SystemExit(f'error: {explain_full_disk(error, cfg.work_dir)}') from error


def _check_launcher(launcher: str) -> None:
    starter, variables = LAUNCHERS[launcher]
    missing = [name for name in variables if name not in os.environ]
    if missing:
        raise SystemExit(f'error: --launcher {launcher} is for processes started by {starter}; '
                         f'this one lacks {", ".join(missing)}. For a single process, leave it out')
    gpus, local_rank = torch.cuda.device_count(), int(os.environ['LOCAL_RANK'])
    if launcher in ('slurm', 'mpi') and get_device() == 'cpu':
        raise SystemExit(f'error: --launcher {launcher} needs GPUs, and torch finds none; '
                         'tools/dist_train.sh and dist_test.sh run on CPUs too')
    if launcher == 'pytorch' and 0 < gpus <= local_rank:
        raise SystemExit(f'error: process {local_rank} of this machine finds no GPU of its own: '
                         f'there are {gpus}; start no more processes than that')


def _distribute_on_cpu(cfg: Config) -> None:
    """Joins the processes by gloo; MMEngine's own launcher gives every process a GPU."""
    torch.distributed.init_process_group('gloo')
    wrapper = dict(
        type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False)
    cfg.model_wrapper_cfg = {**wrapper, **(cfg.get('model_wrapper_cfg') or {})}
