# Copyright (c) mmvisionmix authors. All rights reserved.
"""What takes part in training beside the model: optimizer constructors, hooks, a runner."""
from .checked_runner import CheckedRunner
from .checkpoint_hook import FULL_DISK, CheckpointHook, DiskFullError, explain_full_disk
from .layer_decay import LayerDecayOptimWrapperConstructor
from .reseed_hook import ReseedHook
from .resuming import Resumable, find_resumable, read_resumable

__all__ = ['FULL_DISK', 'CheckedRunner', 'CheckpointHook', 'DiskFullError',
           'LayerDecayOptimWrapperConstructor', 'ReseedHook', 'Resumable', 'explain_full_disk',
           'find_resumable', 'read_resumable']
