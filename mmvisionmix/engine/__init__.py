# Copyright (c) mmvisionmix authors. All rights reserved.
"""What takes part in training beside the model: an optimizer constructor, and hooks."""
from .checkpoint_hook import CheckpointHook
from .layer_decay import LayerDecayOptimWrapperConstructor
from .reseed_hook import ReseedHook
from .resuming import Resumable, find_resumable, read_resumable

__all__ = ['CheckpointHook', 'LayerDecayOptimWrapperConstructor', 'ReseedHook', 'Resumable',
           'find_resumable', 'read_resumable']
