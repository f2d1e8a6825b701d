# Copyright (c) mmvisionmix authors. All rights reserved.
"""Parameters and multiply-adds of the network of a config."""
import ast
from functools import lru_cache
from typing import NamedTuple

import torch
from mmengine.analysis import FlopAnalyzer
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from mmengine.utils import to_2tuple
from torch import nn

COUNTINGS = ('literal', 'convolution', 'modules')


class Complexity(NamedTuple):
    """What a network costs.

    Attributes:
        parameters: Number of parameters, those of auxiliary heads included.
        auxiliary: Number of parameters of auxiliary heads, which only training uses.
        macs: Multiply-adds of one image.
    """
    parameters: int
    auxiliary: int
    macs: int


def count_complexity(cfg: Config, counting: str = 'literal') -> Complexity:
    """Counts parameters and multiply-adds of a config's network, at the size it is trained on.

    MMEngine counts, on a random image. Its FFT and fused kernels of attention count as nothing, so
    that a mixer is always counted by products of matrices.

    Args:
        cfg: A config of mmsegmentation or mmpretrain.
        counting: How to count an LKCA mixing product: ``'literal'`` as the product with its N x N
            matrix, ``'convolution'`` as Algorithm 2 of the paper, ``'modules'`` not at all, as
            counters that only see modules do.

    Returns:
        The counts. Configs that differ in their schedule only are counted once.

    Raises:
        ValueError: If ``counting`` is unknown.
    """
    if counting not in COUNTINGS:
        raise ValueError(f'counting must be one of {COUNTINGS}, got {counting!r}')
    size = (cfg.model.get('data_preprocessor') or {}).get('size') or cfg.model.backbone.img_size
    return _count(repr(cfg.model.to_dict()), cfg.default_scope, to_2tuple(size), counting)


@lru_cache(maxsize=None)
def _count(model: str, scope: str, size: tuple, counting: str) -> Complexity:
    config = ast.literal_eval(model)
    mixes = config['backbone']['type'] == 'mmvisionmix.LKCAViT'
    if mixes:
        config['backbone']['impl'] = 'conv' if counting == 'convolution' else 'gemm'
    with DefaultScope.overwrite_default_scope(scope):
        network = revert_sync_batchnorm(MODELS.build(config)).eval()
    analyzer = FlopAnalyzer(network, torch.rand(1, 3, *size))
    analyzer.unsupported_ops_warnings(False)
    analyzer.uncalled_modules_warnings(False)
    macs = analyzer.total()
    if mixes and counting == 'modules':
        macs -= analyzer.by_operator()['bmm']  # nothing else in the network is one
    auxiliary = getattr(network, 'auxiliary_head', None)
    return Complexity(_parameters(network), _parameters(auxiliary) if auxiliary else 0, macs)


def _parameters(module: nn.Module) -> int:
    return sum(param.numel() for param in module.parameters())
