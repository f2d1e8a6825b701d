# Copyright (c) mmvisionmix authors. All rights reserved.
"""What takes part in training beside the model: optimizer constructors and hooks."""
from .layer_decay import LayerDecayOptimWrapperConstructor

__all__ = ['LayerDecayOptimWrapperConstructor']
