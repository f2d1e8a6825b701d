# Copyright (c) mmvisionmix authors. All rights reserved.
"""The backbones as models of timm: importing this module registers them there.

They have the heads of the configs' classifiers. Names, images and heads are facts of the backbones'
classes. docs/timm.md says what of timm's conventions they follow.
"""
import logging
from functools import partial
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple, Type, Union

try:
    from timm import layers, models
except ImportError as error:
    raise ImportError('mmvisionmix.timm_models needs timm 1: pip install "timm>=1"') from error
from torch import Tensor, nn

from mmvisionmix.models import BaseBackbone
from mmvisionmix.registry import MODELS


class Classifier(nn.Module):
    """A backbone and a head, with the methods that timm's models have.

    Args:
        backbone_cls (type): Class of the backbone.
        num_classes, in_chans, global_pool, drop_rate, proj_drop_rate, drop_path_rate: As in timm;
            ``proj_drop_rate`` is the dropout in the backbone's MLPs.
        options: Of the backbone.
    """

    def __init__(
            self, backbone_cls: Type[BaseBackbone], num_classes: int = 1000, in_chans: int = 3,
            global_pool: str = 'avg', drop_rate: float = 0., proj_drop_rate: float = 0.,
            drop_path_rate: float = 0., **options: Any) -> None:
        super().__init__()
        self.num_classes, self.drop_rate = num_classes, drop_rate
        stages = backbone_cls.channels_and_strides(**options)
        self.feature_info: List[dict] = [
            dict(num_chs=channels, reduction=stride, module=f'backbone.stages.{i}')
            for i, (channels, stride) in enumerate(stages)]
        self.num_features: int = stages[-1][0]
        self.backbone = backbone_cls(
            in_channels=in_chans, drop_rate=proj_drop_rate, drop_path_rate=drop_path_rate,
            out_indices=tuple(range(len(stages))), **options)
        _initialise_silently(self.backbone)
        norm = partial(layers.LayerNorm2d, eps=self.backbone.norms[str(len(stages) - 1)].eps)
        self.backbone.norms = nn.ModuleDict({name: nn.Identity() for name in self.backbone.norms})
        first = backbone_cls.norm_before_pool
        self.norm = norm(self.num_features) if first else nn.Identity()
        self.head: nn.Module = layers.NormMlpClassifierHead(
            self.num_features, num_classes, backbone_cls.hidden_dims or None, global_pool,
            drop_rate, nn.Identity if first else norm, 'hard_swish')
        self.head.apply(_initialise)
        self.head_hidden_size: int = self.head.num_features

    def forward_features(self, x: Tensor) -> Tensor:
        """Maps images (B, in_chans, H, W) to the last maps (B, C, H', W')."""
        return self.norm(self.backbone(x)[-1])

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Maps the last maps to classes, or to what the classifier would get."""
        return self.head(x, pre_logits)

    def forward(self, x: Tensor) -> Tensor:
        """Maps images (B, in_chans, H, W) to classes (B, num_classes)."""
        return self.forward_head(self.forward_features(x))

    def forward_intermediates(
            self, x: Tensor, indices: Union[int, Sequence[int], None] = None, norm: bool = False,
            stop_early: bool = False, output_fmt: str = 'NCHW', intermediates_only: bool = False
    ) -> Union[List[Tensor], Tuple[Tensor, List[Tensor]]]:
        """Maps images (B, in_chans, H, W) to the maps (B, C, H', W') after some stages.

        ``indices`` are stages, or how many of the last; by default all. ``norm`` applies to the
        last stage where its norm is before the pooling. ``stop_early`` changes nothing: what
        ``features_only=True`` builds has no later stages. The maps come after what
        :meth:`forward_features` gives, unless with ``intermediates_only``.
        """
        if output_fmt != 'NCHW':
            raise ValueError(f"output_fmt must be 'NCHW', got {output_fmt!r}")
        maps = dict(zip(self.backbone.out_indices, self.backbone(x)))
        last = max(maps)
        final = self.norm(maps[last])
        found = [final if norm and i == last else maps[i] for i in self._stages(indices)]
        return found if intermediates_only else (final, found)

    def prune_intermediate_layers(
            self, indices: Union[int, Sequence[int], None] = 1, prune_norm: bool = False,
            prune_head: bool = True) -> List[int]:
        """Removes what the maps of some stages do not need, and returns these stages."""
        stages = self._stages(indices)
        self.backbone.stages = self.backbone.stages[:max(stages) + 1]
        self.backbone.out_indices = tuple(sorted(set(stages)))
        if prune_norm or max(stages) < len(self.feature_info) - 1:
            self.norm = nn.Identity()
        if prune_head:
            self.head, self.num_classes = nn.Identity(), 0
        return stages

    def _stages(self, indices: Union[int, Sequence[int], None]) -> List[int]:
        stages = range(len(self.feature_info))
        if indices is None or isinstance(indices, int):
            return list(stages[-(indices or 0):])
        return [stages[i] for i in indices]

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.head.fc

    def reset_classifier(self, num_classes: int, global_pool: Optional[str] = None) -> None:
        """Makes a new last layer, and sets the pooling if it is given."""
        self.head.reset(num_classes, global_pool)
        self.head.fc.apply(_initialise)
        self.num_classes = num_classes

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Switches activation checkpointing of the blocks."""
        self.backbone.with_cp = enable

    def no_weight_decay(self) -> Set[str]:
        """Names of the parameters that the configs exempt, beside those with one dimension."""
        return {name for name, _ in self.named_parameters()
                if any(part in name for part in self.backbone.no_weight_decay)}

    def group_matcher(self, coarse: bool = False) -> Dict[str, object]:
        """Patterns that put parameters into layers, by stage if ``coarse`` and else by block."""
        blocks: List[Tuple[str, Optional[tuple]]] = [(r'^backbone\.stages\.(\d+)', None)]
        if not coarse and hasattr(self.backbone.stages[0], 'blocks'):
            blocks = [(r'^backbone\.stages\.(\d+)\.downsample', (0, )),
                      (r'^backbone\.stages\.(\d+)\.blocks\.(\d+)', None)]
        stem = '|'.join(self.backbone.stem_names)
        return dict(stem=rf'^backbone\.(?:{stem})', blocks=[*blocks, (r'^norm', (99999, ))])

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Loads weights, those of the config's classifier too."""
        return super().load_state_dict(_rename(state_dict, self), *args, **kwargs)


def _rename(state_dict: Mapping[str, Any], model: Classifier) -> Dict[str, Any]:
    """Names as they are here, where they are those of the config's classifier."""
    norm = 'norm.' if model.backbone.norm_before_pool else 'head.norm.'
    renamed = {f'backbone.norms.{len(model.feature_info) - 1}.': norm,
               'head.layers.0.': 'head.pre_logits.', 'head.layers.1.': 'head.'}
    for old, new in renamed.items():
        state_dict = {name.replace(old, new): value for name, value in state_dict.items()}
    return dict(state_dict)


def _initialise(layer: nn.Module) -> None:
    if isinstance(layer, (nn.Linear, nn.Conv2d)):
        layers.trunc_normal_(layer.weight, std=0.02)
        nn.init.zeros_(layer.bias)


def _initialise_silently(backbone: BaseBackbone) -> None:
    """Initialises the weights without MMEngine's log of every one of them."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        backbone.init_weights()
    finally:
        logging.disable(before)


def _register(backbone: Type[BaseBackbone], arch: str) -> str:
    """Has timm build an arch of a backbone, and returns its name: a dot would begin a tag there."""
    name = f'{backbone.family}_{arch}'.replace('.', 'p').replace('/', '').replace('-', '_')
    options = dict(backbone.arch_options.get(arch, {}), arch=arch)
    side = options.get('img_size', 224)
    strides = [stride for _, stride in backbone.channels_and_strides(**options)]
    data = {'num_classes': 1000, **backbone.arch_data.get(arch, {})}
    default_cfgs.update(models.generate_default_cfgs({name: dict(
        input_size=(3, side, side), pool_size=(side // strides[-1], ) * 2, interpolation='bicubic',
        crop_pct=0.875 if side == 224 else 1., first_conv=f'backbone.{backbone.first_conv}',
        classifier='head.fc', url='', **data)}))
    spread = tuple(len(strides) * i // 4 - 1 for i in range(1, 5))

    def create(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        feature_cfg = dict(out_indices=kwargs.pop('out_indices', spread), feature_cls='getter')
        return models.build_model_with_cfg(
            Classifier, name, pretrained, pretrained_filter_fn=_rename, feature_cfg=feature_cfg,
            backbone_cls=backbone, **{**options, **kwargs})

    create.__name__ = create.__qualname__ = name
    globals()[name] = models.register_model(create)
    return name


MODELS.import_from_location()
default_cfgs: Dict[str, Any] = {}
NAMES: Dict[str, Type[BaseBackbone]] = {
    _register(backbone, arch): backbone for backbone in list(MODELS.module_dict.values())
    if issubclass(backbone, BaseBackbone) for arch in backbone.arch_settings}
for _leaf in {leaf for backbone in NAMES.values() for leaf in backbone.fx_leaves}:
    models.register_notrace_module(_leaf)
