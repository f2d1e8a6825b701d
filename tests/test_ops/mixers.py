# Copyright (c) mmvisionmix authors. All rights reserved.
"""The four mixers as the tests of all of them see them: a layer and what it mixes."""
import copy
import math

import torch
from hypothesis import strategies as st
from torch import nn

from mmvisionmix import ops
from mmvisionmix.models import layers

FORMS = dict(
    large_kernel=('literal', 'conv', 'gemm', 'spectral', 'auto'),
    key_only=('literal', 'merged', 'collapsed', 'auto'),
    group=('literal', 'folded', 'auto'),
    partition=('literal', 'packed', 'auto'))
LAYERS = dict(large_kernel=layers.LargeKernelAttention, key_only=layers.KeyOnlyAttention,
              group=layers.GroupAttention, partition=layers.PartitionAttention)
# Heads, channels, grid, batch.
SHAPES = ((1, 3, (1, 1), 1), (2, 6, (1, 5), 3), (2, 8, (7, 6), 2), (4, 12, (9, 3), 1))


class Mixer:
    """A layer in double precision, with weights that a mistake would not survive, and its input."""

    def __init__(self, name, heads, dims, grid, batch=2, trained_on=None, **options):
        torch.manual_seed(0)
        second = (trained_on or grid) if name == 'large_kernel' else heads
        layer = LAYERS[name](dims, second, **options)
        for weight in layer.parameters():
            fan_in = weight[0].numel() if weight.ndim > 1 else 1
            nn.init.normal_(weight, std=1 / math.sqrt(fan_in))
        for module in layer.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.running_mean)
                nn.init.uniform_(module.running_var, 0.5, 2)
        self.layer, self.forms = layer.double().eval(), FORMS[name]
        on_maps = name in ('group', 'partition')
        shape = (dims, *grid) if on_maps else (math.prod(grid), dims)
        self.x = torch.randn(batch, *shape, dtype=torch.float64)
        self.args = () if on_maps else (grid, )

    def __call__(self, impl='auto', x=None):
        if impl in ('merged', 'collapsed'):  # which the layer takes by cost, once it is deployed
            return ops.folded_key_only_attention(
                self.x if x is None else x, self.layer._folded_weights(), impl)
        self.layer.impl = impl
        return self.layer(self.x if x is None else x, *self.args)

    def to(self, dtype):
        """Another one, with all numbers rounded to a type."""
        other = copy.copy(self)
        other.layer, other.x = copy.deepcopy(self.layer).to(dtype), self.x.to(dtype)
        return other

    def deployed(self):
        """Another one, whose layers are folded."""
        other = self.to(self.x.dtype)
        deploy(other.layer)
        return other

    def all_forms(self):
        """Plain and deployed mixers with the names of their forms."""
        return [(one, impl) for one in (self, self.deployed()) for impl in self.forms]

    def results(self, impl, weights=True):
        """The output, and gradients of the input and, if wanted, of all weights."""
        x = self.x.clone().requires_grad_()
        out = self(impl, x)
        probe = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).view(out.shape)
        inputs = (x, *(self.layer.parameters() if weights else ()))
        return (out, *torch.autograd.grad((out * probe).sum(), inputs))


def deploy(layer):
    """Folds what folds, as backbones do."""
    for module in list(layer.modules()):
        if isinstance(module, layers.Foldable):
            module.switch_to_deploy()


def assert_close(out, expected):
    torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-10)


GRIDS = st.one_of(
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.tuples(st.integers(1, 2), st.integers(12, 40)),
    st.tuples(st.integers(12, 40), st.integers(1, 2)))
OPTIONS = dict(
    large_kernel=dict(trained_on=st.none() | GRIDS, interpolate_kernel=st.booleans(),
                      out_proj=st.booleans()),
    key_only=dict(inner_per_head=st.booleans()),
    group=dict(
        num_groups=st.integers(1, 9), kernel_sizes=st.sampled_from(((3, 5), (1, ), (7, 3, 1))),
        qkv_bias=st.booleans(), share_groups=st.booleans(),
        fusion=st.sampled_from(('separate', 'single'))),
    partition=dict(
        num_partitions=st.sampled_from((1, 2, 4, 8)), partition=st.sampled_from(('lsh', 'k-means')),
        share_partition=st.booleans(), rescale=st.booleans(), reduction=st.integers(1, 3),
        paths=st.sampled_from((('intra', ), ('inter', ), ('intra', 'inter')))))


@st.composite
def drawn(draw, name):
    """Mixers of all options and shapes."""
    heads = draw(st.integers(1, 4))
    return Mixer(name, heads, heads * draw(st.integers(1, 5)), draw(GRIDS),
                 draw(st.integers(1, 4)), **draw(st.fixed_dictionaries(OPTIONS[name])))
