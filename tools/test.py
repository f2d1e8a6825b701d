# Copyright (c) mmvisionmix authors. All rights reserved.
"""Evaluates a checkpoint of any task: segmentation, detection or classification."""
import argparse
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner

from mmvisionmix.cli import add_common_arguments, load_config
from mmvisionmix.models import switch_to_deploy


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_common_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--out', metavar='FILE.pkl', help='write all predictions to a pickle file')
    parser.add_argument(
        '--tta', action='store_true', help="test-time augmentation by the config's tta_pipeline")
    parser.add_argument(
        '--deploy', action='store_true', help='test the folded form of the backbone')
    return parser.parse_args()


def apply_test_options(cfg: Config, args: argparse.Namespace) -> None:
    if not Path(args.checkpoint).is_file() and '://' not in args.checkpoint:
        raise SystemExit(f'checkpoint {args.checkpoint} does not exist')
    cfg.load_from = args.checkpoint
    if args.out:
        metrics = cfg.test_evaluator if isinstance(cfg.test_evaluator, list) else [
            cfg.test_evaluator]
        cfg.test_evaluator = [*metrics, dict(type='DumpResults', out_file_path=args.out)]
    if args.tta:
        if 'tta_model' not in cfg or 'tta_pipeline' not in cfg:
            raise SystemExit('--tta needs tta_model and tta_pipeline in the config')
        cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
        cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)


def deploy(runner: Runner) -> None:
    """Folds the backbone; weights, and hooks' copies of the model such as EMA, come later."""
    before = count_parameters(runner)
    try:
        switch_to_deploy(runner.model)
    except ValueError as error:
        raise SystemExit(f'--deploy: {error}') from error
    runner.logger.info(f'--deploy: {before:,} -> {count_parameters(runner):,} parameters')


def count_parameters(runner: Runner) -> int:
    return sum(param.numel() for param in runner.model.parameters())


def main() -> None:
    args = parse_args()
    cfg = load_config(args, ('test_dataloader', ))
    apply_test_options(cfg, args)
    runner = Runner.from_cfg(cfg)
    if args.deploy:
        deploy(runner)
    runner.test()


if __name__ == '__main__':
    main()
