# Copyright (c) mmvisionmix authors. All rights reserved.
"""The backbones as models of timm: importing this module registers them there.

    import timm
    import mmvisionmix.timm_models
    timm.create_model('linglo_b0', num_classes=10)
    timm.create_model('mcganet_base', features_only=True, out_indices=(1, 2, 3))

The networks are those of :mod:`mmvisionmix.models` with the classifier's heads of the configs, and
have as many parameters. Names, images and heads are facts of the backbones' classes. docs/timm.md
says what of timm's conventions they follow.
"""
import logging
import sys
from functools import partial
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple, Type, Union

try:
    from timm.layers import (
        LayerNorm2d,
        NormMlpClassifierHead,
        register_notrace_module,
        trunc_normal_,
    )
    from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
except ImportError as error:
    raise ImportError('mmvisionmix.timm_models needs timm 1: pip install "timm>=1"') from error
from torch import Tensor, nn

from mmvisionmix.models import BaseBackbone
from mmvisionmix.registry import MODELS


class Classifier(nn.Module):
    """A backbone and a head, with the methods that timm's models have.

    Args:
        backbone_cls (type): Class of the backbone.
        num_classes (int): 0 for no classifier. Defaults to 1000.
        in_chans (int): Channels of images. Defaults to 3.
        global_pool (str): As in timm; ``''`` keeps maps. Defaults to ``'avg'``.
        drop_rate (float): Dropout before the classifier. Defaults to 0.
        proj_drop_rate (float): Dropout in the backbone's MLPs. Defaults to 0.
        drop_path_rate (float): Stochastic-depth rate of the last block. Defaults to 0.
        options: Of the backbone.
    """

    def __init__(self,
                 backbone_cls: Type[BaseBackbone],
                 num_classes: int = 1000,
                 in_chans: int = 3,
                 global_pool: str = 'avg',
                 drop_rate: float = 0.,
                 proj_drop_rate: float = 0.,
                 drop_path_rate: float = 0.,
                 **options: Any) -> None:
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
        eps = self.backbone.norms[str(len(stages) - 1)].eps
        self.backbone.norms = nn.ModuleDict({name: nn.Identity() for name in self.backbone.norms})
        norm = partial(LayerNorm2d, eps=eps)
        first = backbone_cls.norm_before_pool
        self.norm = norm(self.num_features) if first else nn.Identity()
        self.head: nn.Module = NormMlpClassifierHead(
            self.num_features, num_classes, backbone_cls.hidden_dims or None, global_pool,
            drop_rate, nn.Identity if first else norm, 'hard_swish')
        self.head.apply(_initialise)
        self.head_hidden_size: int = self.head.num_features

    def forward_features(self, x: Tensor) -> Tensor:
        """Maps images (B, in_chans, H, W) to the last maps (B, C, H', W')."""
        return self.norm(self.backbone(x)[-1])

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Maps the last maps to classes, or to what the classifier would get."""
        return self.head(x, pre_logits) if pre_logits else self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        """Maps images (B, in_chans, H, W) to classes (B, num_classes)."""
        return self.forward_head(self.forward_features(x))

    def forward_intermediates(
            self, x: Tensor, indices: Union[int, Sequence[int], None] = None, norm: bool = False,
            stop_early: bool = False, output_fmt: str = 'NCHW', intermediates_only: bool = False
    ) -> Union[List[Tensor], Tuple[Tensor, List[Tensor]]]:
        """Maps images to the maps after some stages.

        Args:
            x (Tensor): Images, shape (B, in_chans, H, W).
            indices (int | Sequence[int], optional): Stages, or how many of the last. Defaults to
                None: all.
            norm (bool): Whether the last stage's maps are normalised, where a norm comes before
                the pooling. Defaults to False.
            stop_early (bool): Without effect: stages are left out by
                :meth:`prune_intermediate_layers`, as ``features_only=True`` does.
            output_fmt (str): ``'NCHW'``, the only one.
            intermediates_only (bool): Whether to leave out the first result. Defaults to False.

        Returns:
            What :meth:`forward_features` gives, and maps (B, C, H', W') of the stages.

        Raises:
            ValueError: If ``output_fmt`` is another.
        """
        if output_fmt != 'NCHW':
            raise ValueError(f"output_fmt must be 'NCHW', got {output_fmt!r}")
        taken = self._stages(indices)
        maps = dict(zip(self.backbone.out_indices, self.backbone(x)))
        last = max(maps)
        final = self.norm(maps[last]) if last == len(self.feature_info) - 1 else maps[last]
        found = [final if norm and i == last else maps[i] for i in taken]
        return found if intermediates_only else (final, found)

    def prune_intermediate_layers(
            self, indices: Union[int, Sequence[int]] = 1, prune_norm: bool = False,
            prune_head: bool = True) -> List[int]:
        """Removes what the maps of some stages do not need, and returns these stages."""
        taken = self._stages(indices)
        last = max(taken)
        self.backbone.stages = self.backbone.stages[:last + 1]
        self.backbone.out_indices = tuple(sorted(set(taken)))
        if prune_norm or last < len(self.feature_info) - 1:
            self.norm = nn.Identity()
        if prune_head:
            self.head, self.num_classes = nn.Identity(), 0
        return taken

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
    last = f'backbone.norms.{len(model.feature_info) - 1}.'
    norm = 'norm.' if model.backbone.norm_before_pool else 'head.norm.'
    return {
        name.replace(last, norm).replace('head.layers.0.', 'head.pre_logits.').replace(
            'head.layers.1.', 'head.'): value for name, value in state_dict.items()}


def _initialise(layer: nn.Module) -> None:
    if isinstance(layer, (nn.Linear, nn.Conv2d)):
        trunc_normal_(layer.weight, std=0.02)
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
    """Has timm build a backbone's arch by a name, which it returns.

    A dot would begin a tag in timm.
    """
    name = f'{backbone.family}_{arch}'.replace('.', 'p').replace('/', '').replace('-', '_')
    options = dict(backbone.arch_options.get(arch, {}), arch=arch)
    side = options.get('img_size', 224)
    stages = backbone.channels_and_strides(**options)
    settings = dict(
        dict(num_classes=1000), **backbone.arch_data.get(arch, {}), input_size=(3, side, side),
        pool_size=(side // stages[-1][1], ) * 2, crop_pct=0.875 if side == 224 else 1.,
        interpolation='bicubic', first_conv=f'backbone.{backbone.first_conv}',
        classifier='head.fc', url='')
    spread = tuple(len(stages) * i // 4 - 1 for i in range(1, 5))

    def create(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        feature_cfg = dict(out_indices=kwargs.pop('out_indices', spread), feature_cls='getter')
        return build_model_with_cfg(
            Classifier, name, pretrained, pretrained_filter_fn=_rename, feature_cfg=feature_cfg,
            backbone_cls=backbone, **{**options, **kwargs})

    create.__name__ = create.__qualname__ = name
    create.__doc__ = f'Builds {name}, see :class:`Classifier` for the options.'
    default_cfgs.update(generate_default_cfgs({name: settings}))
    setattr(sys.modules[__name__], name, register_model(create))
    return name


MODELS.import_from_location()
default_cfgs: Dict[str, Any] = {}
NAMES: Dict[str, Type[BaseBackbone]] = {
    _register(backbone, arch): backbone for backbone in list(MODELS.module_dict.values())
    if issubclass(backbone, BaseBackbone) for arch in backbone.arch_settings}
for _leaf in {leaf for backbone in NAMES.values() for leaf in backbone.fx_leaves}:
    register_notrace_module(_leaf)
