# Copyright (c) mmvisionmix authors. All rights reserved.
from torch import Tensor, nn


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of maps (B, C, H, W) or vectors (B, C).

    Normalising a permuted view and copying it back is faster than arithmetic along dimension 1;
    channels-last maps need no copy.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalises along dimension 1; the result is contiguous or channels-last as ``x`` is."""
        last = x.ndim - 1  # ONNX export wants it counted from the front
        out = super().forward(x.movedim(1, last)).movedim(last, 1)
        return out.contiguous() if x.is_contiguous() else out
