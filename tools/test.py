# Copyright (c) mmvisionmix authors. All rights reserved.
"""Evaluates a checkpoint of any task, or an ONNX file of a segmentor or classifier."""
import argparse
import copy
from pathlib import Path
from typing import List, Sequence

from checks import CheckData, CheckWeights, annotations_blamed, whole_model
from common import (
    add_run_arguments,
    build_runner,
    check_files,
    errors_in_a_line,
    load_config,
    load_weights,
)
from mmengine.config import Config, ConfigDict
from mmengine.hooks import Hook
from mmengine.runner import Runner
from onnx_files import use_onnx
from torch import nn
from torch.distributed.elastic.multiprocessing.errors import record

from mmvisionmix.datasets.availability import leaf_datasets, type_name
from mmvisionmix.models import switch_to_deploy

LOADERS = ('test_dataloader', )
# Hooks that draw predictions: what turns each on, and its setting that names a folder.
DRAWING_HOOKS = {
    'SegVisualizationHook': ('draw', None),  # the folder is the visualizer's
    'DetVisualizationHook': ('draw', 'test_out_dir'),
    'VisualizationHook': ('enable', 'out_dir'),
}
TTA_MODELS = {
    'mmpretrain': dict(type='AverageClsScoreTTA'),
    'mmseg': dict(type='SegTTAModel'),
    'mmdet': dict(type='DetTTAModel', tta_cfg=dict(
        nms=dict(type='nms', iou_threshold=0.5), max_per_img=100)),
}
"""For configs that have none."""


class ReverseChannels(Hook):
    """Makes tested images RGB, which mmpretrain's hook takes them for when it draws them next."""

    priority = 'HIGH'

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: dict,
                        outputs: Sequence) -> None:
        """Reverses the channels of images (C, H, W)."""
        data_batch['inputs'] = [image.flip(0) for image in data_batch['inputs']]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_run_arguments(parser)
    parser.add_argument(
        'checkpoint', help='checkpoint file, or an ONNX file of tools/model_converters/export.py')
    parser.add_argument('--out', metavar='FILE.pkl', help='write all predictions to a pickle file')
    parser.add_argument(
        '--show-dir', metavar='DIR',
        help="draw the predictions of all images into this folder, by the config's hook for that")
    parser.add_argument(
        '--tta', action='store_true',
        help="test-time augmentation by the config's tta_pipeline or, if it has none, by a flip")
    parser.add_argument(
        '--deploy', action='store_true',
        help='test the folded form of the backbone; the checkpoint may be plain or folded')
    parser.add_argument(
        '--allow-missing', action='store_true',
        help='test a checkpoint that lacks weights of the model; these stay as initialised')
    args = parser.parse_args()
    if is_onnx(args) and (args.deploy or args.allow_missing):
        parser.error('--deploy and --allow-missing are for checkpoints, not for ONNX files')
    return args


def is_onnx(args: argparse.Namespace) -> bool:
    return args.checkpoint.endswith('.onnx')


def apply_test_options(cfg: Config, args: argparse.Namespace) -> None:
    check_files(args.checkpoint)
    cfg.load_from = None if is_onnx(args) else args.checkpoint
    if args.out:
        metrics = cfg.test_evaluator if isinstance(cfg.test_evaluator, list) else [
            cfg.test_evaluator]
        cfg.test_evaluator = [*metrics, dict(type='DumpResults', out_file_path=args.out)]
    if args.tta:
        if args.show_dir and cfg.get('default_scope') == 'mmpretrain':
            raise SystemExit("--show-dir: mmpretrain's hook does not draw images of --tta")
        augment(cfg)
    if args.show_dir:
        draw_predictions(cfg, str(Path(args.show_dir).resolve()))


def augment(cfg: Config) -> None:
    """Lets a model average over augmented images, by default as the stock tools do."""
    scope = cfg.get('default_scope')
    if 'tta_model' not in cfg and scope not in TTA_MODELS:
        raise SystemExit(f'--tta needs tta_model in the config, as its scope is {scope}')
    for dataset in leaf_datasets(cfg.test_dataloader.dataset):
        dataset.pipeline = cfg.get('tta_pipeline') or flip_too(dataset.pipeline)
    cfg.model = ConfigDict(**cfg.get('tta_model', TTA_MODELS.get(scope)), module=cfg.model)


def flip_too(pipeline: Sequence[dict]) -> List[dict]:
    """A test pipeline that gives each image as it is, and flipped."""
    *steps, pack = copy.deepcopy(list(pipeline))
    if 'meta_keys' in pack:
        pack['meta_keys'] = (*pack['meta_keys'], 'flip', 'flip_direction')
    flips = [dict(type='RandomFlip', prob=prob) for prob in (0., 1.)]
    return [*steps, dict(type='TestTimeAug', transforms=[flips, [pack]])]


def draw_predictions(cfg: Config, folder: str) -> None:
    """Turns on the codebase's own hook that draws predictions, for every image."""
    hook = cfg.get('default_hooks', {}).get('visualization') or {}
    kind = type_name(hook)
    if kind not in DRAWING_HOOKS or not cfg.get('visualizer'):
        raise SystemExit('--show-dir needs in the config a visualizer, and a '
                         f'default_hooks.visualization of a type among {", ".join(DRAWING_HOOKS)}')
    switch, key = DRAWING_HOOKS[kind]
    hook[switch] = True
    hook.setdefault('interval', 1)
    settings, key = (hook, key) if key else (cfg.visualizer, 'save_dir')
    settings[key] = folder


def loads_bgr(cfg: Config) -> bool:
    """Whether a classifier's images are loaded as BGR; other hooks load images anew."""
    outer, inner = (part.get('data_preprocessor') or {} for part in (cfg, cfg.model))
    return {**outer, **inner}.get('to_rgb', False)


class FoldCheckpoint(Hook):
    """Folds the weights of a plain checkpoint, as the deployed model takes them.

    Args:
        plain (nn.Module): The model before it was deployed.
        allow_missing (bool): Whether a checkpoint may lack weights.
    """

    priority = 'VERY_HIGH'  # before hooks that load them into copies of the model, such as EMA

    def __init__(self, plain: nn.Module, allow_missing: bool) -> None:
        self.plain = plain
        self.allow_missing = allow_missing

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Puts folded weights in the place of plain ones, of moving averages too."""
        weights = checkpoint.get('state_dict', checkpoint)
        if any('folded' in name.split('.') for name in weights):
            return
        checkpoint['state_dict'] = self.fold(weights)
        others = checkpoint.get('ema_state_dict', {})  # with the average's count of steps
        averages = {name[7:]: others.pop(name) for name in list(others) if name[:7] == 'module.'}
        if averages:
            others.update({f'module.{name}': value for name, value in self.fold(averages).items()})

    def fold(self, weights: dict) -> dict:
        """The weights of the deployed model.

        Raises:
            ValueError: If the plain ones are not of the model.
        """
        model = copy.deepcopy(self.plain)
        load_weights(model, weights, 'the checkpoint', self.allow_missing)
        switch_to_deploy(model)
        return model.state_dict()


def deploy(runner: Runner, allow_missing: bool) -> None:
    """Folds the backbone; weights, and hooks' copies of the model such as EMA, come later."""
    before, plain = count_parameters(runner), copy.deepcopy(whole_model(runner))
    try:
        switch_to_deploy(runner.model)
    except ValueError as error:
        raise SystemExit(f'--deploy: {error}') from error
    runner.register_hook(FoldCheckpoint(plain, allow_missing))
    runner.logger.info(f'--deploy: {before:,} -> {count_parameters(runner):,} parameters')


def count_parameters(runner: Runner) -> int:
    return sum(param.numel() for param in runner.model.parameters())


@record  # so that torchrun tells why a process failed
def test(args: argparse.Namespace) -> None:
    cfg = load_config(args, LOADERS)
    apply_test_options(cfg, args)
    runner = build_runner(cfg)
    if args.deploy:
        deploy(runner, args.allow_missing)
    if args.show_dir and loads_bgr(cfg):
        runner.register_hook(ReverseChannels())
    classes = use_onnx(whole_model(runner), args.checkpoint) if is_onnx(args) else ()
    runner.register_hook(CheckData(LOADERS, classes, args.checkpoint))
    if isinstance(runner, Runner):  # others shard the weights
        runner.register_hook(CheckWeights(LOADERS, args.allow_missing))
    with annotations_blamed(cfg, LOADERS):
        runner.test()


def main() -> None:
    args = parse_args()
    with errors_in_a_line(args.traceback):
        test(args)


if __name__ == '__main__':
    main()
