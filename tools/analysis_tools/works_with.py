# Copyright (c) mmvisionmix authors. All rights reserved.
"""Tries every backbone under the stock heads of OpenMMLab's packages.

    python tools/analysis_tools/works_with.py                  print the table
    python tools/analysis_tools/works_with.py --heads DINO     of some heads
    python tools/analysis_tools/works_with.py --write          write it into docs/works_with.md

A head is the stock package's own config with our smallest backbone in it. In each cell the network
is built, makes two steps of training with finite gradients that reach every trainable parameter of
the backbone, and predicts finite values. The exit code is 1 if a cell fails.
"""
import argparse
import sys
import time
import traceback
from copy import deepcopy
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmengine.utils import get_installed_path
from torch import nn

from mmvisionmix.models import BaseBackbone
from mmvisionmix.registry import MODELS

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import build_model, put_between, table  # noqa: E402  beside this folder

PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'works_with.md'
BEGIN, END = '<!-- begin: works_with.py --write -->', '<!-- end -->'
SIDE = 64  # of the images, in pixels; those of pose estimation are 256 x 192
MODELS.import_from_location()
BACKBONES = {name: next(iter(MODELS.get(name).arch_settings)) for name in sorted(MODELS.module_dict)
             if issubclass(MODELS.get(name), BaseBackbone)}
"""All backbones, and the smallest arch of each, which is the first."""
NAMES = dict(mmseg='mmsegmentation', mmdet='mmdetection')
CODEBASES = ('mmvisionmix', 'mmseg', 'mmdet', 'mmpretrain', 'mmpose', 'mmcv', 'mmengine')


class Head(NamedTuple):
    """A stock config that a backbone is put into.

    Attributes:
        package: The module it is from.
        config: Its path in that package.
        channels: Where channels of maps go: the index of the map, or None for a list of all.
        stages: The stages whose maps it takes.
        options: What makes it small, by keys of the model.
        plain: For a backbone whose maps are all of one size: other options, and ``pyramid``, the
            scales of the maps that :class:`mmseg.models.Feature2Pyramid` makes of them.
        plain_config: The config for such a backbone, if another one.
    """
    package: str
    config: str
    channels: Mapping[str, Optional[int]]
    stages: Tuple[int, ...] = (0, 1, 2, 3)
    options: Mapping[str, Any] = {}
    plain: Mapping[str, Any] = {}
    plain_config: str = ''


FOUR = dict(pyramid=(4, 2, 1, 0.5))
# Detectors that start at 1/8: the stock pyramid makes four maps, so theirs begins with four.
EIGHTH = dict(pyramid=(2, 1, 0.5, 0.25))
FPN_OF_THREE = dict(
    channels={'neck.in_channels': None}, stages=(1, 2, 3), options={'neck.start_level': 0},
    plain=EIGHTH)
MASK2FORMER = {
    'num_queries': 10, 'pixel_decoder.encoder.num_layers': 1, 'transformer_decoder.num_layers': 1}
DETR = {'encoder.num_layers': 1, 'decoder.num_layers': 1, 'num_queries': 20}
POSE = 'body_2d_keypoint/topdown_heatmap/coco/td-hm_{}_8xb64-210e_coco-256x192.py'
HEADS: Dict[str, Head] = {
    'FPN': Head('mmseg', '_base_/models/fpn_r50.py', {'neck.in_channels': None}, plain=FOUR),
    'UPerNet': Head(
        'mmseg', '_base_/models/upernet_r50.py',
        {'decode_head.in_channels': None, 'auxiliary_head.in_channels': 2}, plain=FOUR),
    'SegFormer': Head(
        'mmseg', '_base_/models/segformer_mit-b0.py', {'decode_head.in_channels': None},
        plain=FOUR),
    'DeepLabV3+': Head(  # takes no map at 1/8
        'mmseg', '_base_/models/deeplabv3plus_r50-d8.py',
        {'decode_head.in_channels': 2, 'decode_head.c1_in_channels': 0,
         'auxiliary_head.in_channels': 1},
        stages=(0, 2, 3), options={'decode_head.in_index': 2, 'auxiliary_head.in_index': 1}),
    'Mask2Former': Head(
        'mmseg', 'mask2former/mask2former_r50_8xb2-90k_cityscapes-512x1024.py',
        {'decode_head.in_channels': None},
        options={f'decode_head.{key}': value for key, value in MASK2FORMER.items()}, plain=FOUR),
    'RetinaNet': Head('mmdet', '_base_/models/retinanet_r50_fpn.py', **FPN_OF_THREE),
    'FCOS': Head('mmdet', 'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py', **FPN_OF_THREE),
    'ATSS': Head('mmdet', 'atss/atss_r50_fpn_1x_coco.py', **FPN_OF_THREE),
    'Mask R-CNN': Head(
        'mmdet', '_base_/models/mask-rcnn_r50_fpn.py', {'neck.in_channels': None}, plain=FOUR),
    'Cascade Mask R-CNN': Head(
        'mmdet', '_base_/models/cascade-mask-rcnn_r50_fpn.py', {'neck.in_channels': None},
        plain=FOUR),
    'Panoptic FPN': Head(
        'mmdet', 'panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py', {'neck.in_channels': None},
        plain=FOUR),
    'Mask2Former, panoptic': Head(
        'mmdet', 'mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py',
        {'panoptic_head.in_channels': None},
        options={**{f'panoptic_head.{key}': value for key, value in MASK2FORMER.items()},
                 'data_preprocessor.batch_augments.0.size': (SIDE, SIDE)}, plain=FOUR),
    'DINO': Head(
        'mmdet', 'dino/dino-4scale_r50_8xb2-12e_coco.py', {'neck.in_channels': None},
        stages=(1, 2, 3), options=DETR, plain=EIGHTH),
    'RTMDet': Head(
        'mmdet', 'rtmdet/rtmdet_tiny_8xb32-300e_coco.py', {'neck.in_channels': None},
        stages=(1, 2, 3),
        plain={**EIGHTH, 'bbox_head.anchor_generator.strides': [8, 16, 32, 64]}),
    'linear': Head(
        'mmpretrain', 'resnet/resnet50_8xb32_in1k.py', {'head.in_channels': 0}, stages=(3, )),
    'multi-label, CSRA': Head(
        'mmpretrain', 'csra/resnet101-csra_1xb16_voc07-448px.py', {'head.in_channels': 0},
        stages=(3, )),
    'MoCo v2': Head(
        'mmpretrain', 'mocov2/mocov2_resnet50_8xb32-coslr-200e_in1k.py', {'neck.in_channels': 0},
        stages=(3, ), options={'queue_len': 16}),
    'LoRA': Head(
        'mmpretrain', 'vision_transformer/vit-base-p16_8xb64-lora_in1k-384px.py',
        {'head.in_channels': 0}, stages=(3, ),
        options={'neck': dict(_delete_=True, type='GlobalAveragePooling')}),  # for a class token
    'TopdownPoseEstimator': Head(
        'mmpose', POSE.format('res50'), {'head.in_channels': 0}, stages=(3, ),
        plain_config=POSE.format('ViTPose-small')),
}


def backbone_config(name: str, stages: Sequence[int]) -> Tuple[dict, List[int]]:
    """The config of the smallest backbone of a class, and the channels of its maps.

    Args:
        name: The class.
        stages: The stages to emit. Of a plain backbone they stand for the quarters of its depth.
    """
    kind, arch = MODELS.get(name), BACKBONES[name]
    cfg = dict(type=f'mmvisionmix.{name}', arch=arch, out_indices=tuple(stages))
    emitted = kind.channels_and_strides(arch)
    if is_plain(kind, arch):
        cfg.update(img_size=SIDE, patch_size=16, out_indices=tuple(
            len(emitted) * (stage + 1) // 4 - 1 for stage in stages))
    return cfg, [emitted[i][0] for i in cfg['out_indices']]


def is_plain(kind: type, arch: str) -> bool:
    """Whether all maps of a backbone are of one size."""
    return len({stride for _, stride in kind.channels_and_strides(arch)}) == 1


@lru_cache(maxsize=None)
def read_stock(package: str, config: str) -> Config:
    """A config of an installed package, which must not be changed."""
    return Config.fromfile(Path(get_installed_path(package), '.mim/configs', config))


def read_model(name: str, backbone: str) -> Config:
    """The config of a head with a backbone in it."""
    head = HEADS[name]
    plain = is_plain(MODELS.get(backbone), BACKBONES[backbone])
    given = read_stock(head.package, plain and head.plain_config or head.config)
    cfg = Config(dict(model=deepcopy(given.model), default_scope=head.package))
    if head.package == 'mmpretrain':  # whose configs have it beside the model
        cfg.model.data_preprocessor = deepcopy(given.data_preprocessor)
    options = dict(head.options)
    pyramid = None
    stages = head.stages
    if plain:
        options.update(head.plain)
        pyramid = options.pop('pyramid', None)
        stages = (0, 1, 2, 3) if pyramid else stages
    network, channels = backbone_config(backbone, stages)
    options.update({key: channels if index is None else channels[index]
                    for key, index in head.channels.items()})
    cfg.merge_from_dict({f'model.{key}': value for key, value in options.items()})
    if cfg.model.backbone.type == 'LoRAModel':
        cfg.model.backbone.module = ConfigDict(network)
        cfg.model.backbone.targets = [dict(type='.*')]
    else:
        cfg.model.backbone = ConfigDict(network)
    if pyramid:
        maker = dict(type='mmseg.Feature2Pyramid', embed_dim=channels[0], rescales=list(pyramid))
        cfg.model.neck = [maker, cfg.model.neck] if cfg.model.get('neck') else maker
    if head.package == 'mmseg':
        cfg.model.pretrained = None
        cfg.model.data_preprocessor.size = (SIDE, SIDE)
    return cfg


def images(count: int = 2) -> torch.Tensor:
    """Images of noise, in one batch: (count, 3, SIDE, SIDE), uint8."""
    return torch.randint(0, 256, (count, 3, SIDE, SIDE), dtype=torch.uint8)


def segmentation_batch(cfg: ConfigDict) -> dict:
    """Images whose pixels are of random classes."""
    from mmseg.structures import SegDataSample
    samples = []
    for _ in range(2):
        sample = SegDataSample(metainfo=dict(
            ori_shape=(SIDE, SIDE), img_shape=(SIDE, SIDE), pad_shape=(SIDE, SIDE)))
        sample.gt_sem_seg = PixelData(data=torch.randint(0, 19, (1, SIDE, SIDE)))
        samples.append(sample)
    return dict(inputs=list(images()), data_samples=samples)


def detection_batch(cfg: ConfigDict) -> dict:
    """Images with random boxes and, for networks that learn them, masks and classes of pixels."""
    from mmdet.testing import demo_mm_inputs
    masks = 'roi_head' in cfg or 'panoptic_head' in cfg
    return demo_mm_inputs(2, (3, SIDE, SIDE), num_items=[3, 2], num_classes=80, with_mask=masks,
                          with_semantic=masks)


def classification_batch(cfg: ConfigDict) -> dict:
    """Images of random classes; for contrastive learning, two views of each."""
    from mmpretrain.structures import DataSample
    inputs = [images(), images()] if cfg.type == 'MoCo' else images()
    return dict(inputs=inputs, data_samples=[DataSample().set_gt_label(i) for i in (1, 3)])


def pose_batch(cfg: ConfigDict) -> dict:
    """Images with random key points."""
    from mmpose.testing import get_packed_inputs
    return get_packed_inputs(2)


BATCHES = dict(mmseg=segmentation_batch, mmdet=detection_batch, mmpretrain=classification_batch,
               mmpose=pose_batch)


def train(model: nn.Module, batch: dict, steps: int = 2) -> None:
    """Trains a model for some steps on one batch.

    Raises:
        ValueError: If a gradient or a weight is not finite, or the backbone has a parameter
            without gradient.
    """
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    model.train()
    for _ in range(steps):
        data = model.data_preprocessor(deepcopy(batch), True)
        loss, _ = model.parse_losses(model(**data, mode='loss'))
        optimizer.zero_grad()
        loss.backward()
        trained = {name: param.grad for name, param in model.named_parameters()
                   if param.requires_grad}
        unused = [name for name, grad in trained.items()
                  if grad is None and name.startswith('backbone.')]
        if unused:
            raise ValueError(f'no gradient reaches {", ".join(unused[:3])}')
        check_finite('the gradient of', trained)
        optimizer.step()
        check_finite('after a step', dict(model.named_parameters()))


def check_finite(what: str, tensors: Mapping[str, Optional[torch.Tensor]]) -> None:
    """Raises a ValueError that names the first tensor with a value that is not finite."""
    for name, value in tensors.items():
        if value is not None and not value.isfinite().all():
            raise ValueError(f'{what} {name} is not finite')


def tensors_in(value: Any, name: str = 'output') -> Iterator[Tuple[str, torch.Tensor]]:
    """The tensors in nested predictions, with their names."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, np.ndarray):
        yield name, torch.from_numpy(value)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from tensors_in(one, name)
    elif hasattr(value, 'items'):
        for key, one in value.items():
            yield from tensors_in(one, key)


@torch.no_grad()
def predict(model: nn.Module, batch: dict) -> None:
    """Predicts, or extracts features where a model learns without labels.

    Raises:
        ValueError: If nothing is predicted, or a value is not finite.
    """
    model.eval()
    data = model.data_preprocessor(deepcopy(batch), False)
    if isinstance(data['inputs'], list):
        outputs = model.extract_feat(data['inputs'][0])
    else:
        outputs = model(**data, mode='predict')
    found = dict(tensors_in(outputs))
    if not found:
        raise ValueError('nothing is predicted')
    check_finite('the predicted', found)


def try_cell(name: str, backbone: str) -> str:
    """Tries a backbone under a head: ``'yes'``, or why not."""
    head = HEADS[name]
    if find_spec(head.package) is None:
        return f'{head.package} is not installed'
    torch.manual_seed(0)
    np.random.seed(0)
    try:
        with DefaultScope.overwrite_default_scope(head.package):
            cfg = read_model(name, backbone)
            batch = BATCHES[head.package](cfg.model)
            model = build_model(cfg)
            model.init_weights()
            train(model, batch)
            predict(model, batch)
    except Exception as error:  # of whatever kind: the table tells
        return f'{type(error).__name__}: {str(error).strip().splitlines()[0]} ({blame(error)})'
    return 'yes'


def blame(error: Exception) -> str:
    """The innermost place of an error in a codebase or here, as PACKAGE/FILE:LINE."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__)
              if any(f'/{name}/' in frame.filename for name in CODEBASES)]
    if not frames:
        return 'works_with.py'
    path, package = frames[-1].filename, max(CODEBASES, key=frames[-1].filename.rfind)
    return f'{path[path.rfind(f"/{package}/") + 1:]}:{frames[-1].lineno}'


def render(results: Mapping[str, Mapping[str, str]]) -> str:
    """The table in Markdown, by heads and backbones, and a list of the reasons of failures."""
    reasons: List[str] = []
    rows = []
    backbones = list(next(iter(results.values())))
    for name, cells in results.items():
        row = [NAMES.get(HEADS[name].package, HEADS[name].package), name]
        for cell in cells.values():
            if cell != 'yes' and cell not in reasons:
                reasons.append(cell)
            row.append(cell if cell == 'yes' else f'no [{reasons.index(cell) + 1}]')
        rows.append(row)
    notes = [f'[{number}] {reason}' for number, reason in enumerate(reasons, 1)]
    return '\n\n'.join([table(('package', 'head', *backbones), rows), *notes])


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--heads', nargs='+', choices=HEADS, default=list(HEADS), metavar='HEAD')
    parser.add_argument('--backbones', nargs='+', choices=BACKBONES, default=list(BACKBONES))
    parser.add_argument('--write', action='store_true', help=f'write into {PAGE.name}')
    args = parser.parse_args(argv)
    if args.write and (args.heads, args.backbones) != (list(HEADS), list(BACKBONES)):
        parser.error('--write writes the whole table: leave out --heads and --backbones')
    return args


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Prints or writes the table; returns the exit code."""
    args = parse_args(argv)
    MMLogger.get_instance('works_with', log_level='ERROR')  # or each start is logged
    results: Dict[str, Dict[str, str]] = {}
    for name in args.heads:
        results[name] = {}
        for backbone in args.backbones:
            start = time.perf_counter()
            results[name][backbone] = cell = try_cell(name, backbone)
            print(f'{name}, {backbone}: {cell}, {time.perf_counter() - start:.1f} s',
                  file=sys.stderr)
    text = render(results)
    if args.write:
        page = PAGE.read_text(encoding='utf-8')
        PAGE.write_text(put_between(page, BEGIN, END, text), encoding='utf-8')
    else:
        print(text)
    return any(cell != 'yes' for cells in results.values() for cell in cells.values())


if __name__ == '__main__':
    sys.exit(main())
