# Copyright (c) mmvisionmix authors. All rights reserved.
"""Precision of computations that autocast must not lower."""
from contextlib import nullcontext
from typing import ContextManager

import torch


def full_precision(device: torch.device) -> ContextManager:
    """Switches autocast off on a device; it is never on where torch.autocast refuses the device."""
    if device.type in ('meta', 'mps'):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)
