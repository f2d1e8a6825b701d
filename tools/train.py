# Copyright (c) mmvisionmix authors. All rights reserved.
"""Trains a model of any task: segmentation, detection or classification."""
import argparse

from mmengine.config import Config
from mmengine.device import get_device
from torch.distributed.elastic.multiprocessing.errors import record

from mmvisionmix.cli import (
    add_common_arguments,
    build_runner,
    choose_checkpoint,
    failures_in_a_line,
    load_config,
    use_safe_hooks,
)

AMP_DEVICES = ('cuda', 'npu', 'mlu', 'musa')  # those of MMEngine's AmpOptimWrapper


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_common_arguments(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='resume from the latest checkpoint of the work dir, or from the one given')
    parser.add_argument('--amp', action='store_true', help='train with automatic mixed precision')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by total batch size / auto_scale_lr.base_batch_size')
    parser.add_argument(
        '--skip-bad-samples',
        action='store_true',
        help='replace training samples that cannot be read, or cannot be right, by others, and '
        'count them; more than bad_samples.max_share=0.1 of all are an error still')
    return parser.parse_args()


def apply_train_options(cfg: Config, args: argparse.Namespace) -> None:
    if args.amp:
        if cfg.optim_wrapper.get('type', 'OptimWrapper') not in ('OptimWrapper', 'AmpOptimWrapper'):
            raise SystemExit(f'--amp replaces an OptimWrapper, not a {cfg.optim_wrapper.type}')
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if args.auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise SystemExit('--auto-scale-lr needs auto_scale_lr.base_batch_size in the config')
        cfg.auto_scale_lr.enable = True
    if args.skip_bad_samples:
        cfg.bad_samples = {**(cfg.get('bad_samples') or {}), 'skip': True}


def check_device(cfg: Config) -> None:
    if cfg.optim_wrapper.get('type') == 'AmpOptimWrapper' and get_device() not in AMP_DEVICES:
        raise SystemExit('error: mixed precision (--amp, AmpOptimWrapper) needs a GPU, and torch '
                         f'finds none, but {get_device()!r}; train without it')


@record  # so that torchrun tells why a process failed
def main() -> None:
    args = parse_args()
    cfg = load_config(args, ('train_dataloader', 'val_dataloader'))
    apply_train_options(cfg, args)
    check_device(cfg)
    use_safe_hooks(cfg)
    note = choose_checkpoint(cfg, args.resume)
    with failures_in_a_line(cfg):
        runner = build_runner(cfg)
        if note:
            runner.logger.info(note)
        runner.train()


if __name__ == '__main__':
    main()
