# Copyright (c) mmvisionmix authors. All rights reserved.
"""The backbones as models of timm: importing this module registers them there.

    import timm
    import mmvisionmix.timm_models
    timm.create_model('linglo_b0', num_classes=10)
    timm.create_model('mcganet_base', features_only=True, out_indices=(1, 2, 3))

The networks are those of :mod:`mmvisionmix.models` with the classifier's heads of the configs, and
have as many parameters. docs/timm.md has the names, and what of timm's conventions they follow.
"""
import logging
import sys
from typing import (
    Any,
    Callable,
    Dict,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Tuple,
    Type,
    Union,
)

try:
    from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
    from timm.layers import SelectAdaptivePool2d, trunc_normal_
    from timm.models import (
        FeatureInfo,
        build_model_with_cfg,
        generate_default_cfgs,
        register_model,
    )
except ImportError as error:
    raise ImportError('mmvisionmix.timm_models needs timm: pip install timm') from error
from torch import Tensor, nn

from mmvisionmix.models import BaseBackbone, DualFormer, LinGlo, LKCAViT, MCGANet
from mmvisionmix.models.layers import ChannelNorm

CIFAR_MEAN = (0.4914, 0.4822, 0.4465)  # of CIFAR-10; std as mmpretrain has it
CIFAR_STD = (0.2023, 0.1994, 0.2010)
POOLS = ('avg', 'max', 'avgmax', '')
NO_DECAY = ('pos_embed', 'position.weight', '.tokens')  # as in the configs


class Head(nn.Module):
    """Pooling, a norm, a hidden layer, dropout and a classifier, where there are such.

    Args:
        in_features (int): Channels C of the maps.
        num_classes (int): 0 for no classifier.
        global_pool (str): ``'avg'``, ``'max'``, ``'avgmax'``, or ``''`` for none, with which there
            is neither hidden layer nor classifier. Defaults to ``'avg'``.
        drop_rate (float): Dropout before the classifier. Defaults to 0.
        norm (nn.Module, optional): For what was pooled. Defaults to None.
        hidden (int): Features of a hidden layer, or 0 for none. Defaults to 0.
    """

    def __init__(self,
                 in_features: int,
                 num_classes: int,
                 global_pool: str = 'avg',
                 drop_rate: float = 0.,
                 norm: Optional[nn.Module] = None,
                 hidden: int = 0) -> None:
        super().__init__()
        self.num_features = hidden or in_features
        self.norm = norm or nn.Identity()
        self.pre_logits = nn.Sequential(
            nn.Linear(in_features, hidden), nn.Hardswish()) if hidden else nn.Identity()
        self.drop = nn.Dropout(drop_rate)
        self.reset(num_classes, global_pool)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                self._initialise(module)

    def reset(self, num_classes: int, global_pool: Optional[str] = None) -> None:
        """Makes a new classifier, and sets the pooling if it is given.

        Raises:
            ValueError: If the pooling is unknown, or there is none before a classifier.
        """
        if global_pool is not None:
            if global_pool not in POOLS:
                raise ValueError(f'global_pool must be one of {list(POOLS)}, got {global_pool!r}')
            self.global_pool = SelectAdaptivePool2d(
                pool_type=global_pool, flatten=bool(global_pool))
            self.pooled = bool(global_pool)
        if num_classes and not self.pooled:
            raise ValueError("a classifier needs pooling; global_pool='' goes with num_classes=0")
        device = next((param.device for param in self.parameters()), None)
        self.fc = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        if num_classes:
            self._initialise(self.fc)
            self.fc.to(device)

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Maps (B, C, H, W) to (B, num_classes), or to what the classifier would get."""
        x = self.norm(self.global_pool(x))
        if not self.pooled:
            return x
        x = self.drop(self.pre_logits(x))
        return x if pre_logits else self.fc(x)

    @staticmethod
    def _initialise(layer: nn.Linear) -> None:
        trunc_normal_(layer.weight, std=0.02)
        nn.init.zeros_(layer.bias)


class Classifier(nn.Module):
    """A backbone and a head, with the methods that timm's models have.

    Args:
        backbone_cls (type): Class of the backbone.
        options (dict): Options of the backbone.
        hidden (int): See :class:`Head`. Defaults to 0.
        num_classes (int): See :class:`Head`. Defaults to 1000.
        in_chans (int): Channels of images. Defaults to 3.
        global_pool (str): See :class:`Head`. Defaults to ``'avg'``.
        drop_rate (float): Dropout before the classifier. Defaults to 0.
        proj_drop_rate (float): Dropout in the backbone's MLPs. Defaults to 0.
        drop_path_rate (float): Stochastic-depth rate of the last block. Defaults to 0.
        feature_indices (Sequence[int], optional): Stages whose maps are wanted, instead of classes.
            Defaults to None.
        kwargs: Further options of the backbone.
    """

    def __init__(self,
                 backbone_cls: Type[BaseBackbone],
                 options: dict,
                 hidden: int = 0,
                 num_classes: int = 1000,
                 in_chans: int = 3,
                 global_pool: str = 'avg',
                 drop_rate: float = 0.,
                 proj_drop_rate: float = 0.,
                 drop_path_rate: float = 0.,
                 feature_indices: Optional[Sequence[int]] = None,
                 **kwargs: Any) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.drop_rate = drop_rate
        self.backbone = backbone_cls(
            in_channels=in_chans, drop_rate=proj_drop_rate, drop_path_rate=drop_path_rate,
            out_indices=-1 if feature_indices is None else tuple(feature_indices),
            **{**options, **kwargs})
        _initialise_silently(self.backbone)
        self.feature_info = feature_info(self.backbone, options)
        self.num_features: int = self.feature_info[-1]['num_chs']
        self.grad_checkpointing = False
        if feature_indices is None:
            norm = None if backbone_cls is LKCAViT else self._take_norm()  # else it comes first
            self.head = Head(
                self.num_features, num_classes, global_pool, drop_rate, norm, hidden)
            self.head_hidden_size: int = self.head.num_features

    def _take_norm(self) -> nn.Module:
        """The backbone's norm, as one of vectors, which the backbone no longer has."""
        (name, norm), = self.backbone.norms.items()
        self.backbone.norms[name] = nn.Identity()
        return ChannelNorm(norm.normalized_shape, norm.eps)

    def forward_features(self, x: Tensor) -> Tensor:
        """Maps images to the last stage's maps (B, C, H, W), which LKCA-ViT normalises."""
        return self.backbone(x)[-1]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Maps the last maps to classes, or to what the classifier would get."""
        return self.head(x, pre_logits)

    def forward(self, x: Tensor) -> Tensor:
        """Maps images (B, in_chans, H, W) to classes (B, num_classes)."""
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.head.fc

    def reset_classifier(self, num_classes: int, global_pool: Optional[str] = None) -> None:
        """Makes a new last layer, and sets the pooling if it is given; see :class:`Head`."""
        self.head.reset(num_classes, global_pool)
        self.num_classes = num_classes

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Switches activation checkpointing of the blocks."""
        self.grad_checkpointing = self.backbone.with_cp = enable

    def no_weight_decay(self) -> Set[str]:
        """Names of the parameters that the configs exempt, beside those with one dimension."""
        return {name for name, _ in self.named_parameters()
                if any(part in name for part in NO_DECAY)}

    def group_matcher(self, coarse: bool = False) -> Dict[str, object]:
        """Patterns that put parameters into layers, by stage if ``coarse`` and else by block."""
        blocks: Union[str, List[Tuple[str, Optional[tuple]]]] = [
            (r'^backbone\.stages\.(\d+)\.downsample', (0, )),
            (r'^backbone\.stages\.(\d+)\.blocks\.(\d+)', None),
            (r'^backbone\.norms', (99999, )),
        ]
        if coarse or isinstance(self.backbone, LKCAViT):
            blocks = [(r'^backbone\.stages\.(\d+)', None), (r'^backbone\.norms', (99999, ))]
        return dict(stem=r'^backbone\.(?:stem|pos_embed)', blocks=blocks)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        for name in [name for name in state_dict if name.startswith(prefix)]:
            state_dict[prefix + self.rename(name[len(prefix):])] = state_dict.pop(name)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def rename(self, name: str) -> str:
        """The name here of a weight of the config's classifier."""
        last = f'backbone.norms.{len(self.feature_info) - 1}.'
        if name.startswith(last) and isinstance(getattr(self, 'head', None), Head) and isinstance(
                self.head.norm, ChannelNorm):
            return name.replace(last, 'head.norm.')
        return name.replace('head.layers.0.fc.', 'head.pre_logits.0.').replace(
            'head.layers.1.fc.', 'head.fc.')


def _rename_weights(state_dict: Dict[str, Tensor], model: Classifier) -> Dict[str, Tensor]:
    """Names as they are here, so that timm finds a classifier that it is to leave out."""
    return {model.rename(name): value for name, value in state_dict.items()}


class Features(nn.Module):
    """The maps of chosen stages, normalised, as ``features_only=True`` gives them.

    Args:
        model (Classifier): Whose backbone emits them.
        out_indices (Sequence[int]): The stages.
    """

    def __init__(self, model: Classifier, out_indices: Sequence[int]) -> None:
        super().__init__()
        self.backbone = model.backbone
        self.feature_info = FeatureInfo(model.feature_info, tuple(out_indices))

    def forward(self, x: Tensor) -> List[Tensor]:
        """Maps images to maps (B, C, H, W), one per stage."""
        return list(self.backbone(x))

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Switches activation checkpointing of the blocks."""
        self.backbone.with_cp = enable


def _initialise_silently(backbone: BaseBackbone) -> None:
    """Initialises the weights without MMEngine's log of every one of them."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        backbone.init_weights()
    finally:
        logging.disable(before)


def feature_info(backbone: BaseBackbone, options: dict) -> List[dict]:
    """Channels, reduction and module of every stage, as timm has them."""
    arch = backbone.get_arch(options['arch'])
    if isinstance(backbone, LKCAViT):
        channels, strides = [arch['embed_dims']] * backbone.num_stages, None
        reduction = backbone.stem.projection.stride[0]
    else:
        channels, reduction = arch['embed_dims'], 1
        strides = options.get('patch_sizes', (4, 2, 2, 2))
    info = []
    for i, wide in enumerate(channels):
        reduction *= strides[i] if strides else 1
        info.append(dict(num_chs=wide, reduction=reduction, module=f'backbone.stages.{i}'))
    return info


class Variant(NamedTuple):
    """What is registered under a name.

    Attributes:
        backbone: Class of the backbone.
        options: Options of it.
        first_conv: Name of the first convolution.
        side: Height and width of images, in pixels.
        classes: Number of classes.
        hidden: See :class:`Head`.
        mean: Of the channels of images from 0 to 1; ``std`` likewise.
    """
    backbone: Type[BaseBackbone]
    options: dict
    first_conv: str
    side: int = 224
    classes: int = 1000
    hidden: int = 0
    mean: Tuple[float, ...] = IMAGENET_DEFAULT_MEAN
    std: Tuple[float, ...] = IMAGENET_DEFAULT_STD


def _lkca(arch: str, side: int = 32, patch: int = 4, classes: int = 10) -> Variant:
    options = dict(arch=arch, img_size=side, patch_size=patch)
    statistics = (CIFAR_MEAN, CIFAR_STD) if side == 32 else ()
    return Variant(LKCAViT, options, 'backbone.stem.projection', side, classes, 0, *statistics)


def _pyramid(backbone: Type[BaseBackbone], first_conv: str, hidden: int = 0,
             **options: Any) -> Variant:
    return Variant(backbone, options, f'backbone.stem.{first_conv}', hidden=hidden)


VARIANTS: Dict[str, Variant] = {
    **{f'dualformer_{arch}': _pyramid(DualFormer, 'halve.conv', arch=arch)
       for arch in DualFormer.arch_settings},
    **{f'linglo_{arch}': _pyramid(LinGlo, 'conv', arch=arch) for arch in ('b0', 'b1', 'b2')},
    'linglo_wo_ch': _pyramid(  # the ablation of the paper's Section 5, with one patch embedding
        LinGlo, 'conv', arch='w/o-ch', encoding=None, patch_sizes=(16, 1, 1, 1),
        absolute_pos=True),
    'mcganet_base': _pyramid(MCGANet, '1', hidden=1280, arch='base'),
    **{f'lkca_{arch.replace(".", "p")}': _lkca(arch)  # a dot would start a tag of timm's
       for arch in ('0.5m', '1m', '2m', '2.69m', '4m', '8m', 't')},
    'lkca_l': _lkca('l', 64, 8, 200),
    'lkca_s': _lkca('s', 224, 16, 1000),
    'lkca_b': _lkca('b', 224, 16, 1000),
}


def _cfg(variant: Variant) -> dict:
    """A pretrained_cfg without weights."""
    side = variant.side
    return dict(
        url='', num_classes=variant.classes, input_size=(3, side, side), pool_size=None,
        crop_pct=0.875 if side == 224 else 1., interpolation='bicubic', mean=variant.mean,
        std=variant.std, first_conv=variant.first_conv, classifier='head.fc')


default_cfgs = generate_default_cfgs({name: _cfg(variant) for name, variant in VARIANTS.items()})


def _create(name: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Builds a model as timm does.

    Raises:
        RuntimeError: If weights are asked for, and none are given.
    """
    if pretrained and not (kwargs.get('pretrained_cfg_overlay') or {}).get('file'):
        raise RuntimeError(
            f'no weights of {name} are published. Give those of a training of yours: '
            f'timm.create_model({name!r}, checkpoint_path=PATH)')
    variant = VARIANTS[name]
    if kwargs.get('features_only'):
        arch = variant.backbone.get_arch(variant.options['arch'])
        depth = arch['num_layers'] if 'num_layers' in arch else len(arch['depths'])
        indices = _stages(kwargs.get('out_indices'), depth)
        kwargs.update(out_indices=indices, feature_indices=indices)
    return build_model_with_cfg(
        Classifier, name, pretrained, pretrained_filter_fn=_rename_weights,
        feature_cfg=dict(feature_cls=Features), backbone_cls=variant.backbone,
        options=variant.options, hidden=variant.hidden, **kwargs)


def _stages(out_indices: Union[int, Sequence[int], None], depth: int) -> Tuple[int, ...]:
    """Stages to emit, counted from the front: by default four in equal distances.

    Args:
        out_indices (int | Sequence[int], optional): Stages, negative ones from the end; or how many
            of the last.
        depth (int): Number of stages.
    """
    if out_indices is None:
        return tuple(depth * i // 4 - 1 for i in range(1, 5))
    if isinstance(out_indices, int):
        return tuple(range(depth - out_indices, depth))
    return tuple(sorted(i + depth if i < 0 else i for i in out_indices))


def _entrypoint(name: str) -> Callable[..., nn.Module]:
    def create(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        return _create(name, pretrained, **kwargs)

    create.__name__ = create.__qualname__ = name
    create.__doc__ = f'Builds {name}, see :class:`Classifier` for the options.'
    return create


for _name in VARIANTS:
    setattr(sys.modules[__name__], _name, register_model(_entrypoint(_name)))
