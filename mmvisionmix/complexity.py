# Copyright (c) mmvisionmix authors. All rights reserved.
"""Parameters and multiply-adds of the network of a config."""
import ast
import math
from functools import lru_cache
from typing import Any, List, NamedTuple, Optional, Tuple

import torch
from mmengine.analysis import FlopAnalyzer
from mmengine.analysis.jit_handles import get_shape
from mmengine.config import Config, ConfigDict
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from mmengine.utils import to_2tuple
from torch import Tensor, nn

from mmvisionmix.models import BaseBackbone
from mmvisionmix.models.layers import Foldable

COUNTINGS = ('literal', 'convolution', 'modules')
DETECTION_SIZE = (800, 1280)
# Training crops, and the argument that gives their size.
CROPS = {'RandomCrop': 'crop_size', 'RandomResizedCrop': 'scale'}


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


def count_complexity(cfg: Config,
                     counting: str = 'literal',
                     deployed: bool = False,
                     size: Optional[Tuple[int, int]] = None) -> Complexity:
    """Counts parameters and multiply-adds of a config's network.

    MMEngine counts convolutions, products of matrices and norms. Its FFT counts as nothing, so that
    a backbone of this package is counted in the form of its mixer that its class names, see
    :attr:`mmvisionmix.models.BaseBackbone.counted_impls`. Fused softmax attention counts as two
    products in such backbones, and as nothing in others. Two-stage detectors are counted with the
    proposals of an untrained network, of which there are as many as the config allows.

    Args:
        cfg: A config of mmpretrain, mmsegmentation or mmdetection.
        counting: How to count products of tokens by tokens in a backbone of this package:
            ``'literal'`` as products of matrices, ``'convolution'`` likewise, but the mixing
            product of LKCA as Algorithm 2 of its paper, ``'modules'`` not at all, as counters
            that only see modules do. Key-only attention and group attention have none, and are
            always counted as in Eq. 2-4 and Eq. 1-3 of their papers; partition attention on its
            packed form, as the literal one loops over partitions.
        deployed: Whether convolutions and norms of a backbone of this package, and LKCA's
            projections, are folded, as in the papers. What :meth:`switch_to_deploy
            <mmvisionmix.models.BaseBackbone.switch_to_deploy>` folds beside, mixers, is not.
        size: Height and width of the image. Defaults to :func:`image_size`.

    Returns:
        The counts. Configs that differ in their schedule only are counted once.

    Raises:
        ValueError: If ``counting`` is unknown, or neither ``size`` nor the config gives a size.
    """
    if counting not in COUNTINGS:
        raise ValueError(f'counting must be one of {COUNTINGS}, got {counting!r}')
    return _count(repr(cfg.model.to_dict()), cfg.default_scope, size or image_size(cfg), counting,
                  deployed)


def image_size(cfg: Config) -> Tuple[int, int]:
    """Height and width of the image that a config's network is counted on.

    Papers count detectors at 800 x 1280, and other networks at the size of the training crop.

    Args:
        cfg: A config of mmpretrain, mmsegmentation or mmdetection.

    Returns:
        The size in pixels.

    Raises:
        ValueError: If the config is no detector's and crops no training image.
    """
    if cfg.default_scope == 'mmdet':
        return DETECTION_SIZE
    steps = cfg.train_dataloader.dataset.pipeline
    for step in steps:
        if step.type in CROPS:
            return to_2tuple(step[CROPS[step.type]])
    raise ValueError(f'the training pipeline has none of {list(CROPS)} to take an image size from: '
                     f'{[step.type for step in steps]}')


@lru_cache(maxsize=None)
@torch.no_grad()
def _count(model: str, scope: str, size: Tuple[int, int], counting: str,
           deployed: bool) -> Complexity:
    config = ConfigDict(ast.literal_eval(model))
    with DefaultScope.overwrite_default_scope(scope):
        kind = MODELS.get(config.backbone.type)
        own = isinstance(kind, type) and issubclass(kind, BaseBackbone)
        impls = kind.counted_impls if own else {}
        if impls:
            config.backbone.impl = impls.get(counting, impls['literal'])
        network = revert_sync_batchnorm(MODELS.build(config)).eval()
    if deployed and own:
        _fold(network)
    traced = _TwoStage(network, size) if hasattr(network, 'roi_head') else network
    analyzer = FlopAnalyzer(traced, torch.rand(1, 3, *size))
    analyzer.unsupported_ops_warnings(False)
    analyzer.uncalled_modules_warnings(False)
    analyzer.set_op_handle('aten::_convolution_mode', _count_convolution)
    analyzer.set_op_handle('aten::baddbmm', _count_added_product)
    if own:
        analyzer.set_op_handle('aten::scaled_dot_product_attention', _count_attention)
    macs = analyzer.total()
    if counting == 'modules' and own and kind.has_token_products:
        operators = analyzer.by_operator()
        macs -= operators['bmm'] + operators['scaled_dot_product_attention']
    auxiliary = getattr(network, 'auxiliary_head', None)
    return Complexity(_parameters(network), _parameters(auxiliary) if auxiliary else 0, macs)


def _fold(network: nn.Module) -> None:
    """Folds what papers fold: convolutions, norms and LKCA's projections, and no other mixer."""
    for module in list(network.modules()):
        if isinstance(module, Foldable) and module.counted_folded:
            module.switch_to_deploy()


def _count_attention(inputs: List[Any], outputs: List[Any]) -> int:
    """Multiply-adds of softmax attention: one per query, key and channel of keys and of values."""
    query, key, value = map(get_shape, inputs[:3])
    return math.prod(query[:-1]) * key[-2] * (key[-1] + value[-1])


def _count_convolution(inputs: List[Any], outputs: List[Any]) -> int:
    """Multiply-adds of a convolution with padding='same', which MMEngine does not see."""
    return math.prod(get_shape(outputs[0])) * math.prod(get_shape(inputs[1])[1:])


def _count_added_product(inputs: List[Any], outputs: List[Any]) -> int:
    """Multiply-adds of a batched product that is added to something."""
    return math.prod(get_shape(outputs[0])) * get_shape(inputs[1])[-1]


def _parameters(module: nn.Module) -> int:
    return sum(param.numel() for param in module.parameters())


class _TwoStage(nn.Module):
    """A two-stage detector of images alone, as tracing needs it; others ask for their sizes."""

    def __init__(self, detector: nn.Module, size: Tuple[int, int]) -> None:
        from mmdet.structures import DetDataSample  # mmdetection is optional
        super().__init__()
        self.detector = detector
        self.samples = [DetDataSample(metainfo=dict(img_shape=size))]

    def forward(self, x: Tensor) -> tuple:
        """Maps an image (1, 3, H, W) to scores, boxes and masks of its proposals."""
        return self.detector(x, self.samples)
