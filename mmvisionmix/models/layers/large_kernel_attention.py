# Copyright (c) mmvisionmix authors. All rights reserved.
from typing import Any, Optional, Tuple

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmvisionmix.ops import (
    check_large_kernel_impl,
    fit_kernel,
    large_kernel_mix,
    toeplitz_matrix,
)


class LargeKernelAttention(BaseModule):
    """Large Kernel Convolutional Attention (LKCA), Section III-B of the paper.

    The values of all tokens are mixed by one learnable kernel over their offsets, shared by all
    channels. The kernel starts at zero, as in the paper's algorithms; so the layer starts as a
    constant, and the value projection receives its first gradient after the first step. The output
    projection is not in the paper's text: its parameter counts imply it.

    A checkpoint trained on another grid loads: its kernel is fitted to this one. So does one saved
    after :meth:`switch_to_deploy`, and a deployed layer loads one saved before.

    Args:
        embed_dims (int): Number of channels C.
        grid_size (tuple[int, int]): Height H and width W of the token grid trained on. The kernel
            has (2H-1) x (2W-1) weights.
        impl (str): Form of the mixing product, see :func:`mmvisionmix.ops.large_kernel_mix`.
            Defaults to ``'auto'``.
        interpolate_kernel (bool): How the kernel meets another grid than ``grid_size``: cropped
            or zero-padded if False, resized if True; see :func:`mmvisionmix.ops.fit_kernel`.
            Defaults to False.
        init_cfg (dict, optional): Initialisation config. Defaults to None.

    Raises:
        ValueError: If ``impl`` is unknown.
    """

    def __init__(self,
                 embed_dims: int,
                 grid_size: Tuple[int, int],
                 impl: str = 'auto',
                 interpolate_kernel: bool = False,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg)
        check_large_kernel_impl(impl)
        self.grid_size = grid_size
        self.impl = impl
        self.interpolate_kernel = interpolate_kernel
        self.value: nn.Module = nn.Linear(embed_dims, embed_dims, bias=False)
        self.kernel = nn.Parameter(torch.zeros(2 * grid_size[0] - 1, 2 * grid_size[1] - 1))
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(self, x: Tensor, grid: Tuple[int, int]) -> Tensor:
        """Mixes tokens.

        Args:
            x (Tensor): Tokens in row-major order, shape (B, H'*W', C).
            grid (tuple[int, int]): Their grid (H', W').

        Returns:
            Tensor: Mixed tokens, shape (B, H'*W', C).
        """
        kernel = self.kernel_for(grid)
        return self.proj(large_kernel_mix(self.value(x), kernel, grid, self.impl))

    def kernel_for(self, grid: Tuple[int, int]) -> Tensor:
        """The kernel for tokens on a grid (H', W'), shape (2H'-1, 2W'-1)."""
        return fit_kernel(self.kernel, grid, self.interpolate_kernel)

    def matrix_for(self, grid: Tuple[int, int]) -> Tensor:
        """What tokens on a grid (H', W') weigh for each other, shape (H'*W', H'*W')."""
        return toeplitz_matrix(self.kernel_for(grid), grid)

    @property
    def deployed(self) -> bool:
        """Whether :meth:`switch_to_deploy` was called."""
        return isinstance(self.value, nn.Identity)

    @torch.no_grad()
    def switch_to_deploy(self) -> None:
        """Merges the value projection into the output projection: A (X V) P = A X (V P).

        Mixing acts on positions and the projections on channels, so that they commute. The result
        is the same to rounding and one C x C product per token cheaper.
        """
        if not self.deployed:
            self.proj.weight.copy_(self.proj.weight @ self.value.weight)
            self.value = nn.Identity()

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        kernel, value, proj = (prefix + name for name in ('kernel', 'value.weight', 'proj.weight'))
        if kernel in state_dict:
            state_dict[kernel] = fit_kernel(
                state_dict[kernel], self.grid_size, self.interpolate_kernel)
        if self.deployed and value in state_dict:
            state_dict[proj] = state_dict[proj] @ state_dict.pop(value)
        elif not self.deployed and proj in state_dict and value not in state_dict:
            state_dict[value] = torch.eye(len(state_dict[proj])).to(state_dict[proj])
        super()._load_from_state_dict(state_dict, prefix, *args)
