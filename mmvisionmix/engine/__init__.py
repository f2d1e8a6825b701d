# Copyright (c) mmvisionmix authors. All rights reserved.
"""What takes part in training beside the model: optimizer constructors, hooks, a runner."""
from .checked_runner import CheckedRunner
from .layer_decay import LayerDecayOptimWrapperConstructor

__all__ = ['CheckedRunner', 'LayerDecayOptimWrapperConstructor']
