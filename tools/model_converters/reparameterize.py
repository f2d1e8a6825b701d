# Copyright (c) mmvisionmix authors. All rights reserved.
"""Folds the backbone of a trained model for inference, and writes a checkpoint of the result.

    python tools/model_converters/reparameterize.py CONFIG CHECKPOINT OUT

CONFIG is of any task. The backbone's feature maps of a random image are compared before and after:
folding touches nothing behind them. OUT holds weights and meta data only; it must not exist yet,
and is written only if the maps agree. Deployed models load it: those of ``tools/test.py --deploy``,
and any after ``mmvisionmix.models.switch_to_deploy(model)``.
"""
import argparse
import math
import shlex
import sys
from collections import Counter
from pathlib import Path
from typing import Optional, Sequence, Tuple

import torch
from mmengine.config import Config
from mmengine.runner import save_checkpoint
from torch import Tensor

from mmvisionmix.engine.checkpoint_hook import BACKEND
from mmvisionmix.models import BaseBackbone, find_backbones
from mmvisionmix.models.layers import ConvNorm
from mmvisionmix.models.utils import image_channels

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import (  # noqa: E402  beside this folder
    add_config_options,
    check_files,
    errors_in_a_line,
    input_size,
    load_model,
    read_config,
)


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file of a trained model')
    parser.add_argument('out', type=Path, help='checkpoint file to write')
    parser.add_argument(
        '--size', nargs=2, type=int, metavar=('H', 'W'),
        help="pixels of the random image (default: the config's, else 224 224)")
    parser.add_argument(
        '--tolerance', type=float, default=1e-5,
        help='largest relative error of a feature map (default: %(default)s)')
    add_config_options(parser, 'model.backbone.arch=b')
    args = parser.parse_args(argv)
    if args.size and min(args.size) < 1:
        parser.error(f'--size must be positive, got {args.size}')
    return args


def read_inputs(args: argparse.Namespace) -> Config:
    """Reads the config, with its options.

    Raises:
        FileNotFoundError: If the config or the checkpoint are missing.
        FileExistsError: If the file to write exists.
    """
    check_files(args.checkpoint, args.config)
    if args.out.exists():
        raise FileExistsError(f'{args.out} exists; remove it or choose another name')
    return read_config(args.config, args.cfg_options)


@torch.no_grad()
def deploy(backbone: BaseBackbone, size: Tuple[int, int]) -> float:
    """Switches a backbone in evaluation mode to deploy; ``size`` is of the random image.

    Returns:
        How much that changes the feature maps: the largest relative error among them.
    """
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, image_channels(backbone), *size, generator=generator)
    expected = backbone(image)
    backbone.switch_to_deploy()
    return relative_error(backbone(image), expected)


def relative_error(outs: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Largest norm of a difference over the norm of what was expected; NaN if either has one."""
    if [out.shape for out in outs] != [want.shape for want in expected]:
        return math.inf
    tiny = torch.finfo(torch.float32).tiny  # a map of zeros must stay one, and no 0 / 0
    return torch.stack([(out - want).norm() / want.norm().clamp_min(tiny)
                        for out, want in zip(outs, expected)]).max().item()


def reparameterize(args: argparse.Namespace) -> None:
    """Deploys, compares, writes.

    Raises:
        ValueError: If the checkpoint is not the model's, there is no backbone of this package, or
            folding changes its maps.
    """
    cfg = read_inputs(args)
    model, meta = load_model(cfg, args.checkpoint)
    height, width = args.size or input_size(cfg)
    before = sum(param.numel() for param in model.parameters())
    for name, backbone in find_backbones(model).items():
        error = deploy(backbone, (height, width))
        print(f'{name}: {type(backbone).__name__}, relative error {error:.1e} '
              f'on a random {height}x{width} image')
        if not error <= args.tolerance:  # NaN included
            raise ValueError(f'more than {args.tolerance:.1e}; nothing is written')
        kept = Counter(type(layer.norm).__name__ for layer in backbone.modules()
                       if isinstance(layer, ConvNorm) and layer.folded is None)
        for kind, number in kept.items():
            print(f'{name}: {number} convolutions keep their norms, as {kind} does not fold')
    save_checkpoint(dict(meta=dict(meta, deployed=True), state_dict=model.state_dict()),
                    str(args.out), backend_args=dict(backend=BACKEND))
    options = ['--cfg-options', *args.cfg_options] if args.cfg_options else []
    command = shlex.join(
        ('python', 'tools/test.py', args.config, str(args.out), '--deploy', *options))
    after = sum(param.numel() for param in model.parameters())
    print(f'parameters: {before:,} -> {after:,}\nwritten: {args.out}\nnext: {command}')


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Writes what the command line asks for."""
    args = parse_args(argv)
    with errors_in_a_line(args.traceback):
        reparameterize(args)


if __name__ == '__main__':
    main()
