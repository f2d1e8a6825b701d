# Copyright (c) mmvisionmix authors. All rights reserved.
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class GELU(nn.GELU):
    """GELU that overwrites its input where no gradients are needed.

    On CPUs a new map costs more time than the function. It is meant for inputs that nobody else
    reads: a forward hook on the layer before it should copy what it keeps.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Activates ``x``, in place in inference; recorded graphs are the same in both modes."""
        if torch.is_grad_enabled() or torch.jit.is_tracing():
            return F.gelu(x)
        return torch.ops.aten.gelu_(x)
