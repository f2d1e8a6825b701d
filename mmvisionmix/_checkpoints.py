# Copyright (c) mmvisionmix authors. All rights reserved.
"""What torch needs to know to load MMEngine's checkpoints safely.

From torch 2.6 on, ``torch.load`` builds nothing but tensors and what was declared safe. MMEngine
writes its log next to the weights, as buffers of numpy arrays, and declares nothing, so that no
checkpoint of it loads. Declared here are exactly those types; a file that holds any other is
refused, as code in it would be.
"""
from pickle import UnpicklingError
from typing import Callable

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

STATISTICS = ('min', 'max', 'current', 'mean')


def allow_mmengine_checkpoints() -> None:
    """Declares the types in MMEngine's checkpoints safe, where torch asks for it."""
    if not hasattr(torch.serialization, 'get_unsafe_globals_in_checkpoint'):
        return  # torch before 2.6
    array = np.empty(0)
    rebuild_array, rebuild_scalar = array.__reduce__()[0], np.float64().__reduce__()[0]
    allowed = [HistoryBuffer, (_get_statistic, 'builtins.getattr'), np.ndarray, np.dtype]
    for package in ('numpy.core', 'numpy._core'):  # before and after numpy 2
        allowed += [(rebuild_array, f'{package}.multiarray._reconstruct'),
                    (rebuild_scalar, f'{package}.multiarray.scalar')]
    allowed += [type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int64)]
    torch.serialization.add_safe_globals(allowed)


def _get_statistic(owner: type, name: str) -> Callable:
    """Stands in for ``getattr``, by which a log refers to its statistics, and gives nothing else.

    Raises:
        UnpicklingError: If anything else is asked for.
    """
    if owner is not HistoryBuffer or name not in STATISTICS:
        raise UnpicklingError(
            f'a checkpoint may refer to {STATISTICS} of {HistoryBuffer}, not to {name} of {owner}')
    return getattr(owner, name)
