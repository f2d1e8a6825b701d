# Copyright (c) mmvisionmix authors. All rights reserved.
"""Counts parameters and multiply-adds (MACs) of a config's network and of its backbone alone.

    python tools/analysis_tools/get_flops.py configs/fpn_linglo_b0_ade20k.py
    python tools/analysis_tools/get_flops.py configs/retinanet_linglo_b0_coco.py --shape 512 512
    python tools/analysis_tools/get_flops.py mmpretrain::resnet/resnet50_8xb32_in1k.py

A MAC is a multiplication with an addition; FLOPs that count both are twice as many. Configs of
mmpretrain, mmsegmentation and mmdetection will do, whatever their backbone. No data are read. The
counts are those of mmvisionmix.complexity.
"""
import argparse
import sys
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmvisionmix.complexity import COUNTINGS, Complexity, count_complexity, image_size

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import (  # noqa: E402  beside this folder
    add_config_options,
    errors_in_a_line,
    positive_int,
    read_config,
    table,
)

HEADER = ('part', 'parameters', 'MACs')


@MODELS.register_module()
class BackboneAlone(nn.Module):
    """A network that is a backbone and nothing else, as :func:`count_complexity` takes it."""

    def __init__(self, backbone: ConfigDict) -> None:
        super().__init__()
        self.backbone = MODELS.build(backbone)

    def forward(self, x: Tensor) -> Sequence[Tensor]:
        """Maps an image (1, 3, H, W) to what the backbone gives."""
        return self.backbone(x)


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'config', help='config file, or one of an installed package: mmdet::FOLDER/NAME.py')
    parser.add_argument(
        '--shape', type=positive_int, nargs='+', metavar='PIXELS',
        help='height and width of the image, or the side of a square one (default: 800 1280 for '
        'detectors, the training crop for others)')
    parser.add_argument(
        '--counting', choices=COUNTINGS, default='literal',
        help='how to count products of tokens by tokens in a backbone of this package: as products '
        "of matrices; LKCA's as a convolution; not at all (default: %(default)s)")
    parser.add_argument(
        '--deploy', action='store_true', help='count the folded form of the backbone')
    add_config_options(parser, 'model.backbone.arch=b')
    args = parser.parse_args(argv)
    if args.shape and len(args.shape) > 2:
        parser.error(f'--shape takes one or two numbers, got {len(args.shape)}')
    return args


def read_whole_config(name: str, options: Sequence[str] = ()) -> Config:
    """Reads a config, see :func:`read_config`.

    Raises:
        ValueError: If there is none, or it has no ``model.backbone`` or ``default_scope``.
    """
    try:
        cfg = read_config(name, options)
    except FileNotFoundError as error:
        raise ValueError(f'config {name} does not exist: {error}') from error
    for key, found in (('default_scope', cfg), ('backbone', cfg.get('model') or {})):
        if not found.get(key):
            raise ValueError(f'{name} has no {key}; it must be a whole config of mmpretrain, '
                             'mmsegmentation or mmdetection')
    return cfg


def read_size(cfg: Config, shape: Optional[Sequence[int]]) -> Tuple[int, int]:
    """Height and width of the image from ``--shape``, or else from the config.

    Raises:
        ValueError: If the config does not tell.
    """
    if shape:
        return shape[0], shape[-1]
    try:
        return image_size(cfg)
    except (AttributeError, ValueError) as error:  # also of a config that does not train
        raise ValueError(f'{error}; give --shape HEIGHT WIDTH') from error


def count_parts(cfg: Config, size: Tuple[int, int], counting: str = 'literal',
                deploy: bool = False) -> Tuple[Complexity, Complexity]:
    """Counts a config's network, and its backbone alone.

    Raises:
        ValueError: If the network does not run on an image alone.
    """
    model = dict(type='BackboneAlone', backbone=cfg.model.backbone)
    alone = Config(dict(default_scope=cfg.default_scope, model=model))
    try:
        network, backbone = (
            count_complexity(found, counting, deploy, size) for found in (cfg, alone))
    except (AssertionError, TypeError) as error:
        raise ValueError('the network does not run on an image alone, as some with queries do not, '
                         f'and is not counted: {error!r}') from error
    return network, backbone


def rows(network: Complexity, backbone: Complexity) -> List[Tuple[str, str, str]]:
    """Lines of the table; what is neither backbone nor auxiliary is called neck and head."""
    heads = network.parameters - backbone.parameters - network.auxiliary
    lines = [('whole network', network.parameters, network.macs),
             ('backbone', backbone.parameters, backbone.macs),
             ('neck and head', heads, network.macs - backbone.macs)]
    if network.auxiliary:
        lines.append(('auxiliary head, in training only', network.auxiliary, 0))
    return [(part, f'{parameters:,}', short(macs)) for part, parameters, macs in lines]


def short(macs: int) -> str:
    """Multiply-adds in thousands of millions or, if fewer, in millions."""
    return f'{macs / 1e9:.3f} G' if macs >= 1e9 else f'{macs / 1e6:.3f} M'


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Prints the table of a config."""
    args = parse_args(argv)
    with errors_in_a_line(args.traceback):
        cfg = read_whole_config(args.config, args.cfg_options)
        size = read_size(cfg, args.shape)
        parts = rows(*count_parts(cfg, size, args.counting, args.deploy))
    form = f', {"deployed, " if args.deploy else ""}counting {args.counting}'
    if 'mmvisionmix.' not in str(cfg.model.backbone.type):
        form = ''  # there is but one
    print(f'{args.config}\nimage of {size[0]} x {size[1]} pixels{form}\n')
    print(table(HEADER, parts))
    print('\nMACs are multiply-adds; FLOPs are twice as many.')


if __name__ == '__main__':
    MMLogger.get_current_instance().setLevel('WARNING')  # networks say how they are built
    main()
