# Copyright (c) mmvisionmix authors. All rights reserved.
"""Precision of computations that autocast must not lower."""
from contextlib import nullcontext
from typing import ContextManager

import torch

_has_autocast = getattr(torch.amp, 'is_autocast_available', lambda kind: False)  # from 2.4 on
WITHOUT_AUTOCAST = tuple(kind for kind in ('meta', 'mps') if not _has_autocast(kind))


def full_precision(device: torch.device) -> ContextManager:
    """Switches autocast off on a device; it is never on where torch has none."""
    if device.type in WITHOUT_AUTOCAST:
        return nullcontext()
    return torch.autocast(device.type, enabled=False)
