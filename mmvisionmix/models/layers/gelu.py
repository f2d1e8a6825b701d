# Copyright (c) mmvisionmix authors. All rights reserved.
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvisionmix.ops import fused_conv_gelu, may_fuse_gelu


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

    def after(self, layer: nn.Module, x: Tensor) -> Tensor:
        """Activates what a layer makes of ``x``, in one step with it where that is possible.

        Args:
            layer (nn.Module): A convolution, or a layer whose ``convolution`` is the one that it
                amounts to, or None.
            x (Tensor): Maps, shape (B, C, H, W).

        Returns:
            Tensor: ``self(layer(x))``, to rounding. Hooks of both modules are called: where there
            are any, in two steps.
        """
        conv = layer if isinstance(layer, nn.Conv2d) else layer.convolution
        if (conv is None or not may_fuse_gelu(x, conv.weight)
                or any(map(_has_hooks, (self, layer, conv)))):
            return self(layer(x))
        return fused_conv_gelu(x, conv.weight, conv.bias, conv.stride, conv.padding, conv.groups)


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)
