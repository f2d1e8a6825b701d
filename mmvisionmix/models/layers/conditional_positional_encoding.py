# Copyright (c) mmvisionmix authors. All rights reserved.
import math
from functools import reduce
from typing import Any, Dict, List, Optional

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmvisionmix.ops import (
    Convolution,
    add_parallel,
    depthwise_conv,
    depthwise_identity,
    depthwise_statistics,
    is_recording,
)

from .conv_norm import ConvNorm, DepthwiseConv2d

IMPLS = ('auto', 'literal', 'merged')
MANY = 1024
"""Values of a channel, over images and positions, from which on statistics pay on CPUs."""


class ConditionalPositionalEncoding(BaseModule):
    """Conditional positional encoding: depthwise convolutions, whose padding tells positions apart.

    Section 3.2 of the LinGlo paper. The sum of ``num_branches`` branches, each a 3 x 3 depthwise
    convolution without bias and a batch norm, and of the input itself if ``residual``. The four
    variants of its Table 6 are CPE (1 branch, not residual), R-CPE (1, residual), P-CPE (4, not
    residual) and RP-CPE (4, residual); that a norm ends each branch is inferred.

    All of it is computed as one convolution, in training too, see
    :func:`mmvisionmix.ops.depthwise_statistics`; :meth:`switch_to_deploy` makes it one. A
    checkpoint saved before loads afterwards, and the other way round; then the first branch holds
    all, and the others nothing.

    Args:
        channels (int): Number of channels C.
        num_branches (int): Number of branches. Defaults to 4.
        residual (bool): Whether to add the input. Defaults to True.
        norm_cfg (dict): Config of the batch norms. Defaults to ``dict(type='BN')``.
        impl (str): ``'literal'``: branch by branch. ``'merged'``: as one convolution. ``'auto'``:
            the latter where it was measured to be faster: in inference, and for maps that are not
            tiny on CPUs. Both are exact.
            Norms that share statistics between processes, maps of less than float32, and graphs
            that are traced or compiled are always treated branch by branch. Defaults to
            ``'auto'``.
        init_cfg (dict, optional): Initialisation config. Defaults to None.

    Raises:
        ValueError: If ``impl`` is unknown.
    """

    def __init__(self,
                 channels: int,
                 num_branches: int = 4,
                 residual: bool = True,
                 norm_cfg: Optional[dict] = None,
                 impl: str = 'auto',
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg)
        if impl not in IMPLS:
            raise ValueError(f'impl must be one of {list(IMPLS)}, got {impl!r}')
        self.impl = impl
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
        if self._may_merge(x):
            weight, bias = self._merge(x if self.branches[0].norm.training else None)
            return depthwise_conv(x, weight, bias, padding=1)
        parts = [branch(x) for branch in self.branches]
        return reduce(torch.add, [x, *parts] if self.residual else parts)

    @property
    def convolution(self) -> Optional[nn.Conv2d]:
        """The convolution that the layer amounts to, once it is deployed."""
        return self.merged

    @torch.no_grad()
    def switch_to_deploy(self) -> None:
        """Merges branches and residual into one convolution, as in inference they compute one."""
        if self.merged is None:
            weight, bias = self._merge()
            self.merged = DepthwiseConv2d(
                self.channels, self.channels, 3, padding=1).to(weight)
            self.merged.load_state_dict(dict(weight=weight, bias=bias))
            self.branches = nn.ModuleList()

    def _may_merge(self, x: Tensor) -> bool:
        """Whether one convolution may stand for all branches, and is wanted to."""
        if self.impl == 'literal' or x.dtype not in (torch.float32, torch.float64):
            return False
        if is_recording():
            return False
        norms = [branch.norm for branch in self.branches]
        if not all(isinstance(norm, _BatchNorm) and norm.affine and norm.track_running_stats
                   for norm in norms):
            return False
        modes = {norm.training for norm in norms}
        if modes == {True}:
            local = not any(isinstance(norm, nn.SyncBatchNorm) for norm in norms)
            values = x.numel() // x.shape[1]  # of a channel; one alone has no variance
            return local and (values > 1 if self.impl == 'merged' else
                              values >= MANY and x.device.type == 'cpu')
        return modes == {False}

    def _merge(self, x: Optional[Tensor] = None) -> Convolution:
        """One convolution for all branches, with running statistics or those of maps ``x``."""
        convolutions = (
            [branch.fold() for branch in self.branches] if x is None else self._fold_batch(x))
        if self.residual:
            like = convolutions[0]
            convolutions.append(
                Convolution(depthwise_identity(like.weight), torch.zeros_like(like.bias)))
        return add_parallel(convolutions)

    def _fold_batch(self, x: Tensor) -> List[Convolution]:
        """The branches with the statistics of a batch, which the running ones then follow."""
        kernels = torch.stack([branch.conv.weight for branch in self.branches])
        means, variances = depthwise_statistics(x, kernels)
        for branch, mean, var in zip(self.branches, means, variances):
            branch.track(mean, var, x.numel() // x.shape[1])
        return [branch.fold(*statistics)
                for branch, *statistics in zip(self.branches, means, variances)]

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
