# Copyright (c) mmvisionmix authors. All rights reserved.
import math
from functools import reduce
from typing import Any, Dict, Optional

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmvisionmix.ops import Convolution, add_parallel, depthwise_identity

from .conv_norm import ConvNorm, DepthwiseConv2d


class ConditionalPositionalEncoding(BaseModule):
    """Conditional positional encoding: depthwise convolutions, whose padding tells positions apart.

    Section 3.2 of the LinGlo paper. The sum of ``num_branches`` branches, each a 3 x 3 depthwise
    convolution without bias and a batch norm, and of the input itself if ``residual``. The four
    variants of its Table 6 are CPE (1 branch, not residual), R-CPE (1, residual), P-CPE (4, not
    residual) and RP-CPE (4, residual); that a norm ends each branch is inferred.

    :meth:`switch_to_deploy` merges all of it into one convolution. A checkpoint saved before loads
    afterwards, and the other way round; then the first branch holds all, and the others nothing.

    Args:
        channels (int): Number of channels C.
        num_branches (int): Number of branches. Defaults to 4.
        residual (bool): Whether to add the input. Defaults to True.
        norm_cfg (dict): Config of the batch norms. Defaults to ``dict(type='BN')``.
        init_cfg (dict, optional): Initialisation config. Defaults to None.
    """

    def __init__(self,
                 channels: int,
                 num_branches: int = 4,
                 residual: bool = True,
                 norm_cfg: Optional[dict] = None,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg)
        self.channels = channels
        self.residual = residual
        self.norm_cfg = norm_cfg
        self.branches = nn.ModuleList(
            ConvNorm(channels, channels, 3, padding=1, groups=channels, norm_cfg=norm_cfg)
            for _ in range(num_branches))
        self.merged: Optional[DepthwiseConv2d] = None

    def forward(self, x: Tensor) -> Tensor:
        """Encodes maps (B, C, H, W); those of channels-last layout stay so."""
        if self.merged is not None:
            return self.merged(x)
        parts = [branch(x) for branch in self.branches]
        return reduce(torch.add, [x, *parts] if self.residual else parts)

    @torch.no_grad()
    def switch_to_deploy(self) -> None:
        """Merges branches and residual into one convolution, as in inference they compute one."""
        if self.merged is None:
            weight, bias = self._merge()
            self.merged = DepthwiseConv2d(
                self.channels, self.channels, 3, padding=1).to(weight)
            self.merged.weight.copy_(weight)
            self.merged.bias.copy_(bias)
            self.branches = nn.ModuleList()

    def _merge(self) -> Convolution:
        convolutions = [branch.fold() for branch in self.branches]
        if self.residual:
            like = convolutions[0]
            convolutions.append(
                Convolution(depthwise_identity(like.weight), torch.zeros_like(like.bias)))
        return add_parallel(convolutions)

    def _split(self, weight: Tensor, bias: Tensor) -> Dict[str, Tensor]:
        """A state in which the first branch computes a merged convolution, and the others zero."""
        if self.residual:
            weight = weight - depthwise_identity(weight)
        state = {}
        for index, branch in enumerate(self.branches):
            scale = 0. if index else math.sqrt(1 + branch.eps)  # undoes the division by the std
            ones, zeros = torch.ones_like(bias), torch.zeros_like(bias)
            parts = dict(zip(
                ('weight', 'bias', 'running_mean', 'running_var'),
                (ones * scale, zeros if index else bias, zeros, ones)))
            parts['num_batches_tracked'] = branch.norm.num_batches_tracked
            kernels = branch.conv.weight.detach() if index else weight
            state[f'branches.{index}.conv.weight'] = kernels
            state.update({f'branches.{index}.norm.{name}': value for name, value in parts.items()})
        return state

    def _merge_state(self, state: Dict[str, Tensor]) -> Dict[str, Tensor]:
        """The merged convolution of a state with branches."""
        branches = len({name.split('.')[1] for name in state})
        plain = type(self)(self.channels, branches, self.residual, self.norm_cfg)
        plain.to(state['branches.0.conv.weight']).load_state_dict(state)
        weight, bias = plain._merge()
        return {'merged.weight': weight.detach(), 'merged.bias': bias.detach()}

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        own = {key[len(prefix):]: key for key in state_dict if key.startswith(prefix)}
        comes_merged = 'merged.weight' in own
        if own and comes_merged != (self.merged is not None):
            given = {name: state_dict.pop(key) for name, key in own.items()}
            converted = (
                self._split(given['merged.weight'], given['merged.bias'])
                if comes_merged else self._merge_state(given))
            state_dict.update({prefix + name: value for name, value in converted.items()})
        super()._load_from_state_dict(state_dict, prefix, *args)
