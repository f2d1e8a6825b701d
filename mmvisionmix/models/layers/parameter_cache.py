# Copyright (c) mmvisionmix authors. All rights reserved.
from typing import Callable, Generic, Optional, Sequence, Tuple, TypeVar

import torch
from torch import Tensor

from mmvisionmix.ops import full_precision, is_recording

Value = TypeVar('Value')


class ParameterCache(Generic[Value]):
    """Keeps what inference computes from parameters alone, for as long as they stay as they are.

    A parameter that was replaced, moved, or written to in place is noticed, since autograd counts
    writes. Writes through ``.data`` are not counted; so the owner calls :meth:`clear` when its mode
    changes, between which weights rarely change so. One case is MMEngine's EMAHook, which puts the
    weights back after the last validation: call ``eval()`` before using such a model further.
    Neither copied nor pickled.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forgets the value."""
        self._entry: Optional[Tuple[list, Value]] = None

    def get(self, parameters: Sequence[Tensor], compute: Callable[[], Value]) -> Value:
        """Returns the value, computed anew if a parameter is another than last time.

        It is computed without gradients and in the parameters' own precision.
        """
        entry = self._entry
        if entry is None or not _are_unchanged(entry[0], parameters):
            full = full_precision(parameters[0].device)
            with torch.inference_mode(False), torch.no_grad(), full:
                entry = ([(param, param.data, param._version) for param in parameters], compute())
            self._entry = entry
        return entry[1]

    def __getstate__(self) -> dict:
        return dict(_entry=None)


def may_cache(parameters: Sequence[Tensor]) -> bool:
    """Whether values computed from parameters can stand for them.

    They cannot where gradients of parameters are asked for, or while a graph is being recorded: it
    could not tell when they become stale.
    """
    if is_recording():
        return False
    if any(param.is_inference() or param.is_meta for param in parameters):
        return False
    return not (torch.is_grad_enabled() and any(param.requires_grad for param in parameters))


def _are_unchanged(then: list, now: Sequence[Tensor]) -> bool:
    """Storages are kept alive, so that a new one cannot have the address of an old one."""
    return len(then) == len(now) and all(
        param is old and param.data_ptr() == storage.data_ptr() and param._version == version
        for (old, storage, version), param in zip(then, now))
