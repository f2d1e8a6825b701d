# Copyright (c) mmvisionmix authors. All rights reserved.
"""Parameters and multiply-adds of the network of a config."""
import copy
import math
from typing import Any, Callable, Dict, NamedTuple, Optional, Sequence, Tuple

import torch
from mmengine.config import Config, ConfigDict
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData
from mmengine.utils import to_2tuple
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mmvisionmix.datasets.availability import leaf_datasets, type_name
from mmvisionmix.models import BaseBackbone
from mmvisionmix.models.layers import Foldable
from mmvisionmix.models.utils import image_channels

COUNTINGS = ('literal', 'convolution', 'modules')
DETECTION_SIZE = (800, 1280)
# Training crops, and the argument that gives their size.
CROPS = {'RandomCrop': 'crop_size', 'RandomResizedCrop': 'scale'}
_counted: Dict[tuple, 'Complexity'] = {}


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

    Convolutions, products of matrices and norms are counted as MMEngine counts them, by shapes
    alone where values do not matter. FFTs count as nothing, so that a backbone of this package is
    counted in the form of its mixer that its class names, see
    :attr:`mmvisionmix.models.BaseBackbone.counted_impls`. Fused softmax attention counts as two
    products in such backbones, and as nothing in others. Two-stage detectors are counted with as
    many proposals as their config allows.

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
        ValueError: If ``counting`` is unknown, nothing gives a size, or the detector is a cascade.
    """
    if counting not in COUNTINGS:
        raise ValueError(f'counting must be one of {COUNTINGS}, got {counting!r}')
    settings = (cfg.default_scope, size or image_size(cfg), counting, deployed)
    network = (repr(cfg.model.to_dict()), *settings)
    if network not in _counted:
        try:
            _counted[network] = _count(copy.deepcopy(cfg.model), *settings, 'meta')
        except (NotImplementedError, RuntimeError):  # what it computes depends on values
            _counted[network] = _count(copy.deepcopy(cfg.model), *settings, 'cpu')
    return _counted[network]


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
    steps = next(leaf_datasets(cfg.train_dataloader.dataset)).get('pipeline') or []
    for step in steps:
        if type_name(step) in CROPS:
            return tuple(to_2tuple(step[CROPS[type_name(step)]]))
    raise ValueError(f'the training pipeline has none of {list(CROPS)} to take an image size from: '
                     f'{[type_name(step) for step in steps]}')


@torch.no_grad()
def _count(config: ConfigDict, scope: str, size: Tuple[int, int], counting: str,
           deployed: bool, device: str) -> Complexity:
    with DefaultScope.overwrite_default_scope(scope):
        kind = config.get('backbone', config).type  # timm's networks have no backbone
        kind = MODELS.get(kind) if isinstance(kind, str) else kind
        own = isinstance(kind, type) and issubclass(kind, BaseBackbone)
        impls = kind.counted_impls if own else {}
        if impls:
            config.backbone.impl = impls.get(counting, impls['literal'])
        network = revert_sync_batchnorm(MODELS.build(config)).eval()
    if deployed and own:
        _fold(network)
    run = _TwoStage(network, size) if hasattr(network, 'roi_head') else network
    run = run.requires_grad_(False).to(device)
    attention = _count_attention if own else _per_value(0)
    counter = FlopCounterMode(display=False, custom_mapping={
        **OPERATORS, **_whole(aten.scaled_dot_product_attention, attention)})
    with torch.inference_mode(), counter:
        run(torch.rand(1, image_channels(network), *size, device=device))
    macs = counter.get_total_flops() // 2
    for name, module in run.named_modules():
        if counting == 'modules' and getattr(module, 'has_token_products', False):
            operators = counter.get_flop_counts()['.'.join((type(run).__name__, name)).rstrip('.')]
            macs -= sum(operators.get(product, 0) for product in TOKEN_PRODUCTS) // 2
    auxiliary = getattr(network, 'auxiliary_head', None)
    return Complexity(_parameters(network), _parameters(auxiliary) if auxiliary else 0, macs)


def _fold(network: nn.Module) -> None:
    """Folds what papers fold: convolutions, norms and LKCA's projections, and no other mixer."""
    for module in list(network.modules()):
        if isinstance(module, Foldable) and module.counted_folded:
            module.switch_to_deploy()


def _count_attention(query: Sequence[int], key: Sequence[int], value: Sequence[int],
                     *options: Any, **results: Any) -> int:
    """Operations of softmax attention: two per query, key and channel of keys and of values."""
    return 2 * math.prod(query[:-1]) * key[-2] * (key[-1] + value[-1])


def _count_weighted(x: Sequence[int], weight: Sequence[int], *options: Any,
                    out_shape: Sequence[int], **others: Any) -> int:
    return 2 * math.prod(out_shape) * math.prod(weight[1:])


def _count_product(x: Sequence[int], *others: Any, out_shape: Sequence[int]) -> int:
    return 2 * math.prod(out_shape) * x[-1]


def _per_value(inputs: int, outputs: int = 0) -> Callable[..., int]:
    """Counts so many multiply-adds per value of an operator's first input, and of its output."""
    def count(x: Sequence[int], *others: Any, out_shape: Sequence[int], **options: Any) -> int:
        return 2 * (inputs * math.prod(x) + outputs * math.prod(out_shape))
    return count


def _count_norm(plain: int, affine: int, index: int) -> Callable[..., int]:
    """Counts a norm, without and with weights, which are an operator's argument ``index``."""
    def count(*inputs: Any, **options: Any) -> int:
        return 2 * math.prod(inputs[0]) * (plain if inputs[index] is None else affine)
    return count


def _whole(packet: Any, count: Callable[..., int]) -> dict:
    """An operator with its overloads, which torch would take apart if it did not know them."""
    return dict.fromkeys([packet, *(getattr(packet, name) for name in packet.overloads())], count)


aten = torch.ops.aten
TOKEN_PRODUCTS = (aten.bmm, aten.scaled_dot_product_attention)
# As MMEngine counts; in inference mode operators come whole.
OPERATORS = {
    **_whole(aten.conv1d, _count_weighted), **_whole(aten.conv2d, _count_weighted),
    **_whole(aten.linear, _count_weighted), **_whole(aten.matmul, _count_product),
    **_whole(aten.batch_norm, _count_norm(1, 2, 1)),
    **_whole(aten.group_norm, _count_norm(4, 5, 2)),
    **_whole(aten.layer_norm, _count_norm(4, 5, 2)),
    **_whole(aten.instance_norm, _count_norm(4, 5, 1)),
    **_whole(aten.upsample_nearest2d, _per_value(0, 1)),
    **_whole(aten.upsample_bilinear2d, _per_value(0, 4)),
    **_whole(aten.adaptive_avg_pool2d, _per_value(1)),
    **_whole(aten.grid_sampler, _per_value(0, 4)),
}


def _parameters(module: nn.Module) -> int:
    return sum(param.numel() for param in module.parameters())


class _TwoStage(nn.Module):
    """A two-stage detector on as many proposals as its config allows, wherever these are."""

    def __init__(self, detector: nn.Module, size: Tuple[int, int]) -> None:
        from mmdet.structures import DetDataSample  # mmdetection is optional
        super().__init__()
        self.detector = detector
        self.samples = [DetDataSample(metainfo=dict(img_shape=size))]
        head = detector.roi_head
        for name in ('bbox_roi_extractor', 'mask_roi_extractor'):
            extractor = getattr(head, name, None)
            if isinstance(extractor, nn.ModuleList):
                raise ValueError('cascades are not counted: their forward masks every proposal')
            if extractor is not None:
                setattr(head, name, _Crops(extractor))

    def forward(self, x: Tensor) -> tuple:
        """Maps an image (1, 3, H, W) to scores, boxes and masks of its proposals."""
        maps = self.detector.extract_feat(x)
        self.detector.rpn_head(maps)
        if hasattr(self.detector, 'semantic_head'):
            self.detector.semantic_head(maps)
        boxes = x.new_empty(self.detector.test_cfg.rpn.max_per_img, 4)
        return self.detector.roi_head(maps, [InstanceData(bboxes=boxes)], self.samples)


class _Crops(nn.Module):
    """Features of proposals by their shape alone; ``extractor`` is mmdetection's."""

    def __init__(self, extractor: nn.Module) -> None:
        super().__init__()
        self.num_inputs = extractor.num_inputs
        self.shape = (extractor.out_channels, *to_2tuple(extractor.roi_layers[0].output_size))

    def forward(self, maps: Sequence[Tensor], boxes: Tensor) -> Tensor:
        """Gives shape (boxes, C, H, W)."""
        return maps[0].new_empty(len(boxes), *self.shape)
