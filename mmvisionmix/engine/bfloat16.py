# Copyright (c) mmvisionmix authors. All rights reserved.
from contextlib import contextmanager
from typing import Iterator

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from torch import nn

from mmvisionmix.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Trains under bfloat16 autocast on any device, CPUs included.

    MMEngine's ``AmpOptimWrapper`` refuses CPUs. Weights and their moments stay in float32, and as
    bfloat16 has float32's range, no loss is scaled. Arguments are those of ``OptimWrapper``.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Where the runner computes the loss."""
        with super().optim_context(model), torch.autocast(get_device(), torch.bfloat16):
            yield
