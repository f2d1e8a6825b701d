# Copyright (c) mmvisionmix authors. All rights reserved.
"""The four mixers as the tests of all of them see them: a layer and what it mixes."""
import copy
import math

import torch
from hypothesis import strategies as st
from torch import nn

from mmvisionmix.models.layers import (
    Foldable,
    GroupAttention,
    KeyOnlyAttention,
    LargeKernelAttention,
    PartitionAttention,
)

GRIDS = st.one_of(
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.tuples(st.integers(1, 2), st.integers(12, 40)),
    st.tuples(st.integers(12, 40), st.integers(1, 2)))
FORMS = dict(
    large_kernel=('literal', 'conv', 'gemm', 'spectral', 'auto'),
    key_only=('literal', 'merged', 'collapsed', 'auto'),
    group=('literal', 'folded', 'auto'),
    partition=('literal', 'packed', 'auto'))


class Mixer:
    """A layer in double precision, with weights that a mistake would not survive, and its input."""

    def __init__(self, layer, shape, *args):
        torch.manual_seed(0)
        for weight in layer.parameters():
            fan_in = weight[0].numel() if weight.ndim > 1 else 1
            nn.init.normal_(weight, std=1 / math.sqrt(fan_in))
        for module in layer.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.running_mean)
                nn.init.uniform_(module.running_var, 0.5, 2)
        self.layer = layer.double().eval()
        self.x = torch.randn(*shape, dtype=torch.float64)
        self.args = args

    def __call__(self, impl='auto', x=None):
        self.layer.impl = impl
        return self.layer(self.x if x is None else x, *self.args)

    def to(self, dtype):
        """Another one, with all numbers rounded to a type."""
        other = copy.copy(self)
        other.layer, other.x = copy.deepcopy(self.layer).to(dtype), self.x.to(dtype)
        return other

    def deployed(self):
        """Another one, whose layers are folded."""
        other = self.to(torch.float64)
        for module in list(other.layer.modules()):
            if isinstance(module, Foldable):
                module.switch_to_deploy()
                assert module.folded is not None
        return other

    def results(self, impl, weights=True):
        """The output, and gradients of the input and, if wanted, of all weights."""
        x = self.x.clone().requires_grad_()
        out = self(impl, x)
        probe = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).view(out.shape)
        inputs = (x, *(self.layer.parameters() if weights else ()))
        return (out, *torch.autograd.grad((out * probe).sum(), inputs))


def make_large_kernel(grid, batch=2, dims=3, trained_on=None, **options):
    layer = LargeKernelAttention(dims, trained_on or grid, **options)
    return Mixer(layer, (batch, math.prod(grid), dims), grid)


def make_key_only(heads, dims, grid, batch=2, **options):
    return Mixer(KeyOnlyAttention(dims, heads, **options), (batch, math.prod(grid), dims), grid)


def make_group(heads, dims, grid, batch=2, **options):
    return Mixer(GroupAttention(dims, heads, **options), (batch, dims, *grid))


def make_partition(heads, dims, grid, batch=2, **options):
    return Mixer(PartitionAttention(dims, heads, **options), (batch, dims, *grid))


@st.composite
def _draw(draw, make, options):
    heads = draw(st.integers(1, 4))
    return make(heads, heads * draw(st.integers(1, 5)), draw(GRIDS), draw(st.integers(1, 4)),
                **draw(st.fixed_dictionaries(options)))


def _make_large_kernel(heads, dims, grid, batch, **options):
    return make_large_kernel(grid, batch, dims, **options)


DRAWN = dict(
    large_kernel=_draw(_make_large_kernel, dict(
        trained_on=st.none() | GRIDS, interpolate_kernel=st.booleans())),
    key_only=_draw(make_key_only, dict(inner_per_head=st.booleans())),
    group=_draw(make_group, dict(
        num_groups=st.integers(1, 9), kernel_sizes=st.sampled_from(((3, 5), (1, ), (7, 3, 1))),
        qkv_bias=st.booleans(), share_groups=st.booleans(),
        fusion=st.sampled_from(('separate', 'single')))),
    partition=_draw(make_partition, dict(
        num_partitions=st.sampled_from((2, 4, 8)), partition=st.sampled_from(('lsh', 'k-means')),
        share_partition=st.booleans(), rescale=st.booleans(), reduction=st.integers(1, 3),
        paths=st.sampled_from((('intra', ), ('inter', ), ('intra', 'inter'))))))
FIXED = dict(
    large_kernel=make_large_kernel((17, 12), dims=16), key_only=make_key_only(2, 32, (7, 7)),
    group=make_group(2, 16, (11, 13)), partition=make_partition(2, 16, (11, 13)))
