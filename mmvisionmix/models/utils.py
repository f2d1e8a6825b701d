# Copyright (c) mmvisionmix authors. All rights reserved.
"""Deployment of the backbones inside a whole model, of any task and however wrapped."""
from typing import Dict

from torch import nn

from .backbones import BaseBackbone
from .layers import Foldable


def find_backbones(model: nn.Module) -> Dict[str, BaseBackbone]:
    """Finds the backbones of this package in a model.

    Args:
        model (nn.Module): A classifier, segmentor, detector or a wrapper of one.

    Returns:
        dict[str, BaseBackbone]: The backbones by their names in the model.

    Raises:
        ValueError: If there is none; names the backbones that the model has.
    """
    modules = dict(model.named_modules())
    found = {name: module for name, module in modules.items() if isinstance(module, BaseBackbone)}
    if not found:
        others = {type(module).__name__ for name, module in modules.items()
                  if name.split('.')[-1] == 'backbone'}
        raise ValueError(f'{type(model).__name__} has no backbone of mmvisionmix; its backbone is '
                         f'{" and ".join(sorted(others)) or "missing"}')
    return found


def image_channels(network: nn.Module) -> int:
    """Channels of the images that a network takes: its first convolution's, or 3 without any."""
    return next((module.in_channels for module in network.modules()
                 if isinstance(module, nn.Conv2d)), 3)


def switch_to_deploy(model: nn.Module) -> None:
    """Folds every layer of this package in a model, see :meth:`BaseBackbone.switch_to_deploy`.

    Load the weights first: a deployed layer refuses those of a plain one.

    Args:
        model (nn.Module): With a backbone of this package, or layers of one, however wrapped.

    Raises:
        ValueError: If it has neither; see :func:`find_backbones`.
    """
    layers = [module for module in model.modules() if isinstance(module, Foldable)]
    if not layers:
        find_backbones(model)
    for layer in layers:
        layer.switch_to_deploy()
