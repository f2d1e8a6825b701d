# Copyright (c) mmvisionmix authors. All rights reserved.
"""The mixers' mathematics: plain functions on tensors that import torch alone."""
from .large_kernel import check_impl, choose_impl, fit_kernel, large_kernel_mix, toeplitz_matrix

__all__ = ['check_impl', 'choose_impl', 'fit_kernel', 'large_kernel_mix', 'toeplitz_matrix']
