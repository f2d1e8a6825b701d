# Copyright (c) mmvisionmix authors. All rights reserved.
from abc import abstractmethod
from typing import Any, Optional, Tuple

import torch
from mmengine.model import BaseModule, revert_sync_batchnorm
from mmengine.utils.dl_utils.parrots_wrapper import SyncBatchNorm
from torch import nn

from mmvisionmix._compat import on_load

PLAIN_TYPES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.BatchNorm2d, nn.SyncBatchNorm,
               SyncBatchNorm, type(revert_sync_batchnorm(nn.SyncBatchNorm(1))))


class Foldable(BaseModule):
    """A layer that inference can compute from fewer weights.

    A subclass names in :attr:`plain_parts` the modules and parameters that :meth:`fold` makes into
    one module, and computes with :attr:`folded` instead of them once that is there. A checkpoint
    of one kind is refused by a layer of the other.

    Args:
        init_cfg (dict, optional): Initialisation config. Defaults to None.

    Attributes:
        folded (nn.Module, optional): The folded weights, or None before :meth:`switch_to_deploy`.
        counted_folded (bool): Whether papers count multiply-adds of the folded form; those of
            mixers they count on the formula.
    """

    plain_parts: Tuple[str, ...] = ()
    counted_folded: bool = True

    def __init__(self, init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg)
        self.folded: Any = None
        on_load(self, refuse_other_kind)

    @abstractmethod
    def fold(self) -> Optional[nn.Module]:
        """The folded weights, as a module, or None if they do not fold.

        They do not where a layer is not plain, or a norm depends on its input in inference.
        """

    @torch.no_grad()
    def switch_to_deploy(self) -> None:
        """Folds the weights, for good; what does not fold stays. A second call changes nothing."""
        if self.folded is None:
            trained = any(param.requires_grad for param in self.parameters())
            self.folded = self.fold()
            if self.folded is not None:
                self.folded.train(self.training).requires_grad_(trained)
                for name in self.plain_parts:
                    delattr(self, name)


def refuse_other_kind(layer: Foldable, state_dict: dict, prefix: str, *args: Any) -> None:
    """Raises a ValueError if plain weights are loaded into a deployed layer, or the reverse."""
    parts = {key[len(prefix):].split('.')[0] for key in state_dict if key.startswith(prefix)}
    if layer.folded is None:
        given, own = 'deployed', 'plain'
        differs = 'folded' in parts
    else:
        given, own = 'plain', 'deployed'
        differs = not parts.isdisjoint(layer.plain_parts)
    if differs:
        raise ValueError(
            f'these weights are of a {given} model and this model is {own} ({prefix[:-1]}). Load '
            'plain weights into a plain model, then deploy it, as '
            'tools/model_converters/reparameterize.py does; a deployed model, such as that of '
            'tools/test.py --deploy, takes what that tool wrote')


def are_plain(*layers: nn.Module) -> bool:
    """Whether calling layers does no more than compute with their weights, as it was built to.

    Not those with hooks (pruning, old weight norm), parametrizations, or another class (LoRA,
    quantisation, FSDP): they must be called, and their weights not be read past them.
    """
    return all(type(layer) in PLAIN_TYPES and not has_hooks(layer) for layer in layers)


def has_hooks(module: nn.Module) -> bool:
    """Whether something is attached to a module's call, or has replaced it."""
    # torch has no public way to ask for hooks.
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks,
             module._backward_pre_hooks)
    return any(map(len, hooks)) or 'forward' in vars(module)
