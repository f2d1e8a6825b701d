# Copyright (c) mmvisionmix authors. All rights reserved.
"""Trains a model of any task: segmentation, detection or classification."""
import argparse
from typing import Optional

from checks import CheckData, CheckWeights, annotations_blamed
from common import add_run_arguments, build_runner, errors_in_a_line, load_config
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner
from torch.distributed.elastic.multiprocessing.errors import record

from mmvisionmix.datasets.availability import type_name
from mmvisionmix.engine import find_resumable, read_resumable

LOADERS = ('train_dataloader', 'val_dataloader')
STOCK_CHECKPOINT_HOOKS = ('CheckpointHook', 'mmengine.CheckpointHook', CheckpointHook)
AMP_DEVICES = ('cuda', 'npu', 'mlu', 'musa')  # those of MMEngine's AmpOptimWrapper


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_run_arguments(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='resume from the latest checkpoint of the work dir, or from the one given')
    parser.add_argument(
        '--amp',
        action='store_true',
        help='train with automatic mixed precision: float16 on GPUs, bfloat16 on CPUs')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by total batch size / auto_scale_lr.base_batch_size')
    return parser.parse_args()


def apply_train_options(cfg: Config, args: argparse.Namespace) -> None:
    if args.amp:
        kind = type_name({'type': 'OptimWrapper', **cfg.optim_wrapper})
        if kind not in ('OptimWrapper', 'AmpOptimWrapper'):
            raise SystemExit(f'--amp replaces an OptimWrapper, not a {kind}')
        if kind == 'OptimWrapper' and get_device() not in AMP_DEVICES:
            cfg.optim_wrapper.type = 'mmvisionmix.BFloat16OptimWrapper'
        else:
            cfg.optim_wrapper.type = 'AmpOptimWrapper'
            cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if args.auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise SystemExit('--auto-scale-lr needs auto_scale_lr.base_batch_size in the config')
        cfg.auto_scale_lr.enable = True


def check_device(cfg: Config) -> None:
    if type_name(cfg.optim_wrapper) == 'AmpOptimWrapper' and get_device() not in AMP_DEVICES:
        raise SystemExit('error: AmpOptimWrapper needs a GPU, and torch finds none, but '
                         f'{get_device()!r}; here it is --cfg-options '
                         'optim_wrapper.type=mmvisionmix.BFloat16OptimWrapper')


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
        cfg: The config; its own ``resume=True`` counts as ``wanted``.
        wanted: The checkpoint to go on from; ``'auto'`` for the last one of the work directory;
            None to start anew.

    Returns:
        What to tell the user about it; empty when training starts anew.

    Raises:
        ValueError: If training cannot go on from there; says why.
    """
    if not wanted and cfg.get('resume'):
        wanted = cfg.get('load_from') or 'auto'
    if not wanted:
        return ''
    found = find_resumable(cfg.work_dir) if wanted == 'auto' else read_resumable(wanted)
    cfg.resume = found.path is not None
    if cfg.resume:
        cfg.load_from = found.path
    if not isinstance(cfg.get('randomness'), dict):
        cfg.randomness = {}
    if cfg.randomness.get('seed') is None:  # MMEngine takes it up after the loaders are built
        cfg.randomness.seed = found.seed
    return found.note


@record  # so that torchrun tells why a process failed
def train(args: argparse.Namespace) -> None:
    cfg = load_config(args, LOADERS, 'optim_wrapper')
    apply_train_options(cfg, args)
    check_device(cfg)
    use_safe_hooks(cfg)
    note = choose_checkpoint(cfg, args.resume)
    runner = build_runner(cfg)
    if note:
        runner.logger.info(note)
    used = [loader for loader in LOADERS if cfg.get(loader)]
    runner.register_hook(CheckData(used))
    if cfg.get('resume') and isinstance(runner, Runner):  # others shard the weights
        runner.register_hook(CheckWeights(used, resume=True))
    with annotations_blamed(cfg, used):
        runner.train()


def main() -> None:
    args = parse_args()
    with errors_in_a_line(args.traceback):
        train(args)


if __name__ == '__main__':
    main()
