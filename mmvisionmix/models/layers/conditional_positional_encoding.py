# Copyright (c) mmvisionmix authors. All rights reserved.
from functools import reduce
from typing import Any, Dict, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvisionmix._compat import is_tracing
from mmvisionmix.ops import depthwise_statistics
from mmvisionmix.registry import MODELS

from ..arguments import check_choice
from .conv_norm import ConvNorm, may_fold
from .foldable import Foldable, are_plain, has_hooks

IMPLS = ('auto', 'literal', 'merged')
ENCODINGS: Dict[str, Tuple[int, bool]] = {
    'cpe': (1, False), 'r-cpe': (1, True), 'p-cpe': (4, False), 'rp-cpe': (4, True)}
"""Branches and residual of the variants of Table 6."""
MANY = 512
"""Values of a channel, over images and positions, from which on statistics pay on CPUs."""


@MODELS.register_module()
class ConditionalPositionalEncoding(Foldable):
    """Conditional positional encoding: depthwise convolutions, whose padding tells positions apart.

    Section 3.2 of the LinGlo paper. The sum of ``num_branches`` branches, each a 3 x 3 depthwise
    convolution without bias and a batch norm, and of the input itself if ``residual``. The four
    variants of its Table 6 are CPE (1 branch, not residual), R-CPE (1, residual), P-CPE (4, not
    residual) and RP-CPE (4, residual); that a norm ends each branch is inferred.

    Args:
        channels (int): Number of channels C.
        num_branches (int): Number of branches. Defaults to 4.
        residual (bool): Whether to add the input. Defaults to True.
        norm_cfg (dict): Config of the norms. Defaults to ``dict(type='BN')``.
        impl (str): ``'literal'``: branch by branch. ``'merged'``: as one convolution, in training
            too, see :func:`mmvisionmix.ops.depthwise_statistics`. ``'auto'``: the latter where it
            was measured to be faster: in evaluation mode, and for maps that are not tiny on CPUs.
            Both are exact. Branches with other norms than batch norms, norms that share statistics
            between processes, layers with hooks, maps of less than float32, and graphs that are
            recorded are always computed branch by branch. Defaults to ``'auto'``.
        init_cfg (dict, optional): Initialisation config. Defaults to None.

    Raises:
        ValueError: If ``impl`` is unknown.
    """

    plain_parts = ('branches', )

    def __init__(self,
                 channels: int,
                 num_branches: int = 4,
                 residual: bool = True,
                 norm_cfg: Optional[dict] = None,
                 impl: str = 'auto',
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg)
        check_choice(IMPLS, impl=impl)
        self.impl = impl
        self.channels = channels
        self.residual = residual
        self.branches: Any = nn.ModuleList(
            ConvNorm(channels, channels, 3, padding=1, groups=channels, norm_cfg=norm_cfg)
            for _ in range(num_branches))

    def forward(self, x: Tensor) -> Tensor:
        """Encodes maps (B, C, H, W); those of channels-last layout stay so."""
        if self.folded is not None:
            return self.folded(x)
        if self._may_merge(x):
            weight, bias = self._merge(x if self.branches[0].norm.training else None)
            return F.conv2d(x, weight, bias, padding=1, groups=self.channels)
        parts = [branch(x) for branch in self.branches]
        return reduce(torch.add, [x, *parts] if self.residual else parts)

    def fold(self) -> Optional[nn.Conv2d]:
        """The convolution that branches and residual are in inference."""
        if not self._is_plain():
            return None
        weight, bias = self._merge()
        folded = nn.Conv2d(
            self.channels, self.channels, 3, padding=1, groups=self.channels, device='meta')
        folded.weight, folded.bias = nn.Parameter(weight), nn.Parameter(bias)
        return folded

    def _may_merge(self, x: Tensor) -> bool:
        """Whether one convolution may stand for all branches, and is wanted to."""
        if self.impl == 'literal' or is_tracing(x):
            return False
        if x.dtype not in (torch.float32, torch.float64):
            return False
        if not self._is_plain():
            return False
        modes = {branch.norm.training for branch in self.branches}
        if modes == {True}:
            local = all(type(branch.norm) is nn.BatchNorm2d for branch in self.branches)
            values = x.numel() // x.shape[1]  # of a channel; one alone has no variance
            return local and (values > 1 if self.impl == 'merged' else
                              values >= MANY and x.device.type == 'cpu')
        return modes == {False}

    def _is_plain(self) -> bool:
        return all(type(branch) is ConvNorm and branch.folded is None and not has_hooks(branch)
                   and are_plain(branch.conv) and may_fold(branch.norm)
                   for branch in self.branches)

    def _merge(self, x: Optional[Tensor] = None) -> Tuple[Tensor, Tensor]:
        """Kernels and bias of one convolution, by running statistics or by those of maps ``x``."""
        norms = [branch.norm for branch in self.branches]
        kernels = torch.stack([branch.conv.weight for branch in self.branches])  # (K, C, 1, 3, 3)
        if x is None:
            means = torch.stack([norm.running_mean for norm in norms])
            variances = torch.stack([norm.running_var for norm in norms])
        else:
            means, variances = depthwise_statistics(x, kernels)
            for norm, mean, var in zip(norms, means, variances):
                _track(norm, mean, var, x.numel() // x.shape[1])
        eps = variances.new_tensor([[norm.eps] for norm in norms])
        scale = torch.stack([norm.weight for norm in norms]) / (variances + eps).sqrt()  # (K, C)
        weight = (kernels * scale[..., None, None, None]).sum(0)
        shift = reduce(torch.add, [norm.bias for norm in norms])  # stacked, gradients would be one
        bias = shift - (means * scale).sum(0)
        if self.residual:  # a kernel that changes nothing: one in the middle
            weight = weight + F.pad(weight.new_ones(1, 1), (1, 1, 1, 1))
        return weight, bias


@torch.no_grad()
def _track(norm: Any, mean: Tensor, var: Tensor, count: int) -> None:
    """Moves running statistics towards those of ``count`` values, as a batch norm does."""
    norm.num_batches_tracked += 1
    share = 1 / norm.num_batches_tracked.item() if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean, share)
    norm.running_var.lerp_(var * (count / (count - 1)), share)


def make_encoding(encoding: Optional[str], channels: int, norm_cfg: Optional[dict] = None,
                  impl: str = 'auto') -> Optional[ConditionalPositionalEncoding]:
    """Makes the encoding of a name in :data:`ENCODINGS`, in a network of form ``impl``, or None.

    Raises:
        ValueError: If there is no such name.
    """
    check_choice((None, *ENCODINGS), encoding=encoding)
    return None if encoding is None else ConditionalPositionalEncoding(
        channels, *ENCODINGS[encoding], norm_cfg, 'literal' if impl == 'literal' else 'auto')
