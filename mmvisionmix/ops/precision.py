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


def autocasts_on_cpu() -> bool:
    """Whether autocast is on for CPUs."""
    try:
        return torch.is_autocast_enabled('cpu')  # type: ignore[call-arg]  # typed from 2.4 on
    except TypeError:  # torch before 2.4
        return torch.is_autocast_cpu_enabled()
