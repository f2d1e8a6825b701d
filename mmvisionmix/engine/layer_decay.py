# Copyright (c) mmvisionmix authors. All rights reserved.
"""Learning rates by depth, in a model of any task."""
from typing import Any, List

from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from mmvisionmix.models import find_backbones
from mmvisionmix.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """MMEngine's constructor, with learning rates that fall from the head to the stem.

    Beside MMEngine's own rules, ``paramwise_cfg`` has ``layer_decay_rate``. What follows a backbone
    of this package, and the norms of its outputs, keep the learning rate that the other rules give
    them; that of its last block is multiplied by the rate, that of the block before by its square,
    and so on; see :meth:`BaseBackbone.get_layer_depth`.

    Examples:
        >>> optim_wrapper = dict(
        ...     constructor='mmvisionmix.LayerDecayOptimWrapperConstructor',
        ...     paramwise_cfg=dict(layer_decay_rate=0.8, norm_decay_mult=0.))
    """

    def add_params(self, params: List[dict], module: nn.Module, prefix: str = '',
                   **kwargs: Any) -> None:
        """Appends one group per parameter of a module and of those inside it to ``params``.

        Raises:
            ValueError: If the model has no backbone of this package.
        """
        super().add_params(params, module, prefix, **kwargs)
        if prefix:  # a part of the model: its parameters are rated with the whole
            return
        rate = self.paramwise_cfg.get('layer_decay_rate', 1.)
        scales = {}
        for backbone in find_backbones(module).values():
            for key, parameter in backbone.named_parameters():
                depth, num_depths = backbone.get_layer_depth(key)
                scales[id(parameter)] = rate**(num_depths - 1 - depth)
        for group in params:
            group['lr'] = group.get('lr', self.base_lr) * scales.get(id(group['params'][0]), 1.)
