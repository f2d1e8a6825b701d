# Copyright (c) mmvisionmix authors. All rights reserved.
from typing import Any, Optional, Tuple

import torch
import torch.fx
from torch import Tensor, nn

from mmvisionmix._compat import on_load
from mmvisionmix.ops import fit_kernel, large_kernel_mix, toeplitz_matrix
from mmvisionmix.ops.large_kernel import IMPLS
from mmvisionmix.registry import MODELS

from ..arguments import check_choice
from .foldable import Foldable, are_plain

torch.fx.wrap('fit_kernel')
torch.fx.wrap('large_kernel_mix')


@MODELS.register_module()
class LargeKernelAttention(Foldable):
    """Large Kernel Convolutional Attention (LKCA), Section III-B of the paper.

    The values of all tokens are mixed by one learnable kernel over their offsets, shared by all
    channels. A kernel of zeros makes the layer start as a constant, and the value projection
    receives its first gradient after the first step.

    Inferred: that the value projection has no bias, and the output projection, which Algorithms 1
    and 2 do not print and the paper's parameter counts do not settle; see docs/lkca.md.

    A checkpoint trained on another grid loads: its kernel is fitted to this one. Mixing acts on
    positions and the projections on channels, so that they commute: A (X V) P = A X (V P), and
    deployment makes one projection of the two. Without an output projection nothing folds.

    Args:
        embed_dims (int): Number of channels C.
        grid_size (tuple[int, int]): Height H and width W of the token grid trained on. The kernel
            has (2H-1) x (2W-1) weights.
        impl (str): Form of the mixing product, see :func:`mmvisionmix.ops.large_kernel_mix`.
            Defaults to ``'auto'``.
        interpolate_kernel (bool): How the kernel meets another grid than ``grid_size``: cropped
            or zero-padded if False, resized if True; see :func:`mmvisionmix.ops.fit_kernel`.
            Defaults to False.
        out_proj (bool): Whether a linear layer follows the mixing product. Defaults to True.
        kernel_init (str): How the kernel starts: ``'zero'`` as in Algorithms 1 and 2, or ``'conv'``
            "akin to the initialization of convolutional kernels" (Section III-B-1), PyTorch's:
            uniform, within one over the root of the kernel's size. Defaults to ``'zero'``.
        init_cfg (dict, optional): Initialisation config. Defaults to None.

    Raises:
        ValueError: If ``impl`` or ``kernel_init`` is unknown.
    """

    plain_parts = ('value', 'proj')
    views = dict(kernels='kernel', rows='matrix_for')

    def __init__(self,
                 embed_dims: int,
                 grid_size: Tuple[int, int],
                 impl: str = 'auto',
                 interpolate_kernel: bool = False,
                 out_proj: bool = True,
                 kernel_init: str = 'zero',
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg)
        check_choice(IMPLS, impl=impl)
        check_choice(('zero', 'conv'), kernel_init=kernel_init)
        self.grid_size = grid_size
        self.impl = impl
        self.interpolate_kernel = interpolate_kernel
        self.value = nn.Linear(embed_dims, embed_dims, bias=False)
        self.kernel = nn.Parameter(torch.zeros(2 * grid_size[0] - 1, 2 * grid_size[1] - 1))
        if kernel_init == 'conv':
            bound = self.kernel.numel()**-0.5
            nn.init.uniform_(self.kernel, -bound, bound)
        self.proj = nn.Linear(embed_dims, embed_dims) if out_proj else nn.Identity()
        on_load(self, _fit_loaded_kernel)

    def forward(self, x: Tensor, grid: Tuple[int, int]) -> Tensor:
        """Mixes tokens.

        Args:
            x (Tensor): Tokens in row-major order, shape (B, H'*W', C).
            grid (tuple[int, int]): Their grid (H', W').

        Returns:
            Tensor: Mixed tokens, shape (B, H'*W', C).
        """
        kernel = self.kernel_for(grid)
        if self.folded is not None:
            return self.folded(large_kernel_mix(x, kernel, grid, self.impl))
        return self.proj(large_kernel_mix(self.value(x), kernel, grid, self.impl))

    def kernel_for(self, grid: Tuple[int, int]) -> Tensor:
        """The kernel for tokens on a grid (H', W'), shape (2H'-1, 2W'-1)."""
        return fit_kernel(self.kernel, grid, self.interpolate_kernel)

    def matrix_for(self, grid: Tuple[int, int]) -> Tensor:
        """What tokens on a grid (H', W') weigh for each other, shape (H'*W', H'*W')."""
        return toeplitz_matrix(self.kernel_for(grid), grid)

    def fold(self) -> Optional[nn.Linear]:
        """Both projections as one, if there are two."""
        if not isinstance(self.proj, nn.Linear) or not are_plain(self.value, self.proj):
            return None
        dims = self.proj.out_features
        folded = nn.Linear(dims, dims, device='meta')
        folded.weight = nn.Parameter(self.proj.weight @ self.value.weight)
        folded.bias = self.proj.bias
        return folded


def _fit_loaded_kernel(layer: LargeKernelAttention, state_dict: dict, prefix: str,
                       *args: Any) -> None:
    key = prefix + 'kernel'
    if key in state_dict:
        state_dict[key] = fit_kernel(
            state_dict[key], layer.grid_size, layer.interpolate_kernel)
