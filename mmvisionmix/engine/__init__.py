# Copyright (c) mmvisionmix authors. All rights reserved.
"""What takes part in training beside the model: how it is optimised, and hooks."""
from .bfloat16 import BFloat16OptimWrapper
from .checkpoint_hook import CheckpointHook
from .layer_decay import LayerDecayOptimWrapperConstructor
from .reseed_hook import ReseedHook
from .resuming import Resumable, find_resumable, read_resumable

__all__ = ['BFloat16OptimWrapper', 'CheckpointHook', 'LayerDecayOptimWrapperConstructor',
           'ReseedHook', 'Resumable', 'find_resumable', 'read_resumable']
