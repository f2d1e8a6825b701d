# Copyright (c) mmvisionmix authors. All rights reserved.
"""Modules that own parameters and call the functions of :mod:`mmvisionmix.ops`."""
from .large_kernel_attention import LargeKernelAttention
from .self_attention import SelfAttention

__all__ = ['LargeKernelAttention', 'SelfAttention']
