# Copyright (c) mmvisionmix authors. All rights reserved.
"""Networks by name, for what times and profiles them.

- ``linglo-b0``: a backbone of this package, FAMILY-ARCH
- ``linglo-b0@literal``: by the paper's formulas; ``dualformer-s@k-means``: partitions by K-Means
- ``linglo-b0@plain``: as it is trained; without ``@plain`` it is folded for inference
- ``configs/NAME.py``: the whole network of a config, without data preprocessing
- ``configs/NAME.py@backbone``: its backbone alone
- ``timm:pvt_v2_b0``: a peer from timm, folded where timm can
- ``mmpretrain:resnet50_8xb32_in1k``: a peer from mmpretrain

Behind any of these, and behind one another:

- ``@channels-last``: weights and images in this layout
- ``@compiled``: by torch.compile; ``@cuda-graphs``: by its mode reduce-overhead
- ``@onnx``, ``@openvino``: exported, and run by onnxruntime or OpenVINO on the CPU, in float32
"""
import sys
from functools import partial
from pathlib import Path
from typing import Callable, Dict, NamedTuple, Tuple, Type

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from mmvisionmix.export import OnnxModel, to_onnx
from mmvisionmix.models import BaseBackbone, LKCAViT, switch_to_deploy
from mmvisionmix.registry import MODELS

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import build_model, read_config  # noqa: E402  beside this folder

FAMILIES: Dict[str, Type[BaseBackbone]] = {
    kind.family: kind for kind in MODELS.module_dict.values() if issubclass(kind, BaseBackbone)}
VARIANTS = {'': {}, 'plain': {}, 'literal': dict(impl='literal'),
            'k-means': dict(partition='k-means')}
UNFOLDED = ('plain', 'literal')


class Images(NamedTuple):
    """A batch of images, and whether ``'vectors'`` or four ``'maps'`` are made of each."""
    batch: int
    height: int
    width: int
    outputs: str

    def __str__(self) -> str:
        return f'{self.batch} x {self.height} x {self.width}, {self.outputs}'


def build(name: str, images: Images, training: bool = False) -> nn.Module:
    """Builds a network with random weights.

    Args:
        name (str): See the top of this file.
        images (Images): What it is for; networks of a fixed input size are built for this one. The
            outputs of a config's network are its own.
        training (bool): Whether it is to be trained, and so is not folded. Defaults to False.

    Returns:
        nn.Module: Takes images (B, 3, H, W).

    Raises:
        ValueError: If there is no such network.
        ImportError: If the package that it comes from is not installed.
    """
    inner, _, engine = name.rpartition('@')
    if engine in ENGINES:
        return ENGINES[engine](build(inner, images, training), images)
    torch.manual_seed(0)
    source, _, peer = name.partition(':')
    rest, _, form = name.partition('@')
    if source in PEERS and peer:
        model = PEERS[source](peer, images, training)
    elif rest.endswith('.py'):
        model = _build_of_config(rest, form, images)
    else:
        model = _build_own(rest, form, images)
    if not training and form not in UNFOLDED and _own_backbone_in(model):
        switch_to_deploy(model)
    model.train(training)  # of which some networks of the codebases return nothing
    return model


def _build_own(name: str, form: str, images: Images) -> nn.Module:
    family, _, arch = name.partition('-')
    if arch not in getattr(FAMILIES.get(family), 'arch_settings', ()):
        known = [f'{key}-{arch}' for key, kind in FAMILIES.items() for arch in kind.arch_settings]
        raise ValueError(f'no network {name}; there are {", ".join(known)}, configs, and those of '
                         f'{" and ".join(f"{key}:..." for key in PEERS)}')
    if form not in VARIANTS:
        raise ValueError(f'{name} has no form {form}; there are {", ".join(list(VARIANTS)[1:])}')
    options = dict(VARIANTS[form], arch=arch)
    if family == 'lkca':
        return _build_lkca(options, images)
    if images.outputs == 'maps':
        return FAMILIES[family](out_indices=(0, 1, 2, 3), **options)
    return FAMILIES[family](out_indices=-1, gap_before_norm=True, **options)


def _build_lkca(options: dict, images: Images) -> nn.Module:
    options['img_size'] = (images.height, images.width)
    if images.outputs == 'maps':
        return LKCAViT(out_indices=(2, 5, 8, 11), **options)
    return nn.Sequential(LKCAViT(out_indices=-1, **options), Pooling())


class Pooling(nn.Module):
    """Averages the last of some maps over their pixels."""

    def forward(self, maps: tuple) -> Tensor:
        """Turns maps (B, C, H, W) into vectors (B, C)."""
        return maps[-1].mean((2, 3))


def _build_of_config(path: str, form: str, images: Images) -> nn.Module:
    if form not in ('', 'backbone', 'plain'):
        raise ValueError(f'of {path} there are @backbone and @plain, not @{form}')
    cfg = read_config(path)
    if 'img_size' in cfg.model.backbone:
        cfg.model.backbone.img_size = (images.height, images.width)
    if form == 'backbone':
        cfg = Config(dict(model=cfg.model.backbone, default_scope=cfg.get('default_scope')))
    return build_model(cfg)


def _own_backbone_in(model: nn.Module) -> bool:
    return any(isinstance(module, BaseBackbone) for module in model.modules())


def _build_from_timm(name: str, images: Images, training: bool) -> nn.Module:
    try:
        import timm
        from timm.models import get_pretrained_cfg
        from timm.utils import reparameterize_model
    except ImportError as error:
        raise ImportError(f'timm:{name} comes from timm: pip install timm') from error
    options = dict(features_only=True) if images.outputs == 'maps' else dict(num_classes=0)
    try:
        settings = get_pretrained_cfg(name)
        if settings and settings.fixed_input_size:
            options['img_size'] = (images.height, images.width)
        model = timm.create_model(name, **options)
    except RuntimeError as error:
        raise ValueError(f'timm:{name}: {error}') from error
    return model if training else reparameterize_model(model.eval())


def _build_from_mmpretrain(name: str, images: Images, training: bool) -> nn.Module:
    try:
        from mmpretrain import get_model
    except ImportError as error:
        raise ImportError(f'mmpretrain:{name} comes from mmpretrain: pip install mmpretrain'
                          ) from error
    if images.outputs == 'maps':
        options = dict(backbone=dict(out_indices=(0, 1, 2, 3)), neck=None)
    else:
        options = {}
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return get_model(name, pretrained=False, head=None, **options)


PEERS: Dict[str, Callable[[str, Images, bool], nn.Module]] = dict(
    timm=_build_from_timm, mmpretrain=_build_from_mmpretrain)


class ChannelsLast(nn.Module):
    """A network that computes in the layout channels-last.

    Args:
        model (nn.Module): Takes images.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> object:
        """Maps images (B, 3, H, W) of any layout to what the network gives."""
        return self.model(images.contiguous(memory_format=torch.channels_last))


class OpenVinoModel(nn.Module):
    """An ONNX file's content, run by OpenVINO on the CPU, in float32."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        try:
            import openvino
        except ImportError as error:
            raise ImportError('@openvino needs OpenVINO: pip install openvino') from error
        core = openvino.Core()
        self.run = core.compile_model(core.read_model(content, b''), 'CPU', dict(
            INFERENCE_NUM_THREADS=torch.get_num_threads(), INFERENCE_PRECISION_HINT='f32',
            PERFORMANCE_HINT='LATENCY'))

    def forward(self, images: Tensor) -> Tuple[Tensor, ...]:
        """Maps images (B, C, H, W) to the outputs."""
        return tuple(map(torch.from_numpy, self.run(images.numpy()).values()))


def _exported(engine: Type[nn.Module], model: nn.Module, images: Images) -> nn.Module:
    if model.training:
        raise ValueError(f'{engine.__name__} runs networks, and trains none')
    return engine(to_onnx(model, torch.zeros(images.batch, 3, images.height, images.width)))


def _compiled(mode: str, model: nn.Module, images: Images) -> nn.Module:
    return torch.compile(model, dynamic=False, mode=mode)


EXPORTED = dict(onnx=OnnxModel, openvino=OpenVinoModel)
ENGINES: Dict[str, Callable[[nn.Module, Images], nn.Module]] = {
    **{name: partial(_exported, engine) for name, engine in EXPORTED.items()},
    'compiled': partial(_compiled, 'default'),
    'cuda-graphs': partial(_compiled, 'reduce-overhead'),
    'channels-last': lambda model, images: ChannelsLast(model),
}
