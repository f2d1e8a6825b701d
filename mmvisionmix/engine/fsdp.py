# Copyright (c) mmvisionmix authors. All rights reserved.
"""How torch's FullyShardedDataParallel divides the backbones."""
from torch import nn

from mmvisionmix.models import BaseBackbone
from mmvisionmix.registry import MODELS


def wrap_blocks(module: nn.Module, recurse: bool, nonwrapped_numel: int) -> bool:
    """An ``auto_wrap_policy``: every block of a backbone is a unit, all else belongs to the model.

    Args:
        module (nn.Module): A module of the model.
        recurse (bool): Whether to say if modules inside it are to be looked at; they are.
        nonwrapped_numel (int): Number of its parameters that are in no unit yet; not used.

    Returns:
        bool: Whether to look inside or, without ``recurse``, to make it a unit.
    """
    return recurse or any(
        isinstance(module, kind.block_classes) for kind in MODELS.module_dict.values()
        if issubclass(kind, BaseBackbone))
