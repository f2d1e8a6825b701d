# Copyright (c) mmvisionmix authors. All rights reserved.
"""Whether operators are being recorded, in which case what they compute must not be kept."""
from typing import Callable

import torch

is_compiling: Callable[[], bool] = (  # torch.compiler has it from 2.3 on
    getattr(torch.compiler, 'is_compiling', None) or torch._utils.is_compiling)


def is_recording() -> bool:
    """Whether ``torch.compile`` or ``torch.jit.trace`` is recording what is called."""
    return is_compiling() or torch.jit.is_tracing()
