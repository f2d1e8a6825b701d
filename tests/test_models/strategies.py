# Copyright (c) mmvisionmix authors. All rights reserved.
"""What hypothesis draws: networks of every kind, small enough to be tried often, and images."""
from typing import NamedTuple, Tuple

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from small_backbones import BACKBONES, randomise

FAMILY = dict(deadline=None, derandomize=True, database=None,
              suppress_health_check=[HealthCheck.too_slow])
BATCHES = st.integers(1, 4)
RATES = st.sampled_from((0., 0.3))


def amounts(few, many):
    """Parametrises a test by how many examples it tries, few of them in the quick suite."""
    return pytest.mark.parametrize('examples', (
        pytest.param(settings(max_examples=few, **FAMILY), id='few'),
        pytest.param(settings(max_examples=many, **FAMILY), id='many', marks=pytest.mark.slow)))


class Case(NamedTuple):
    """A backbone's name and settings, and the batch and size of images."""
    name: str
    settings: dict
    batch: int
    size: Tuple[int, int]

    def build(self, **changes):
        """The network, with values that a mistake would not survive, in double precision."""
        torch.manual_seed(0)
        model = BACKBONES[self.name](**{**self.settings, **changes})
        randomise(model)
        return model.double()

    def images(self):
        torch.manual_seed(1)
        channels = self.settings['in_channels']
        return torch.randn(self.batch, channels, *self.size, dtype=torch.float64)

    def grids(self):
        """Height and width of every output, as documented."""
        if self.name == 'LKCAViT':
            steps = (self.settings['patch_size'], ) + (1, ) * self.settings['arch']['num_layers']
        else:
            stages = len(self.settings['arch']['depths'])
            steps = self.settings.get('patch_sizes') or (4, ) + (2, ) * (stages - 1)
            steps = (1, *steps)
        grids = [self.size]
        for step in steps:
            grids.append(tuple(-(-side // step) for side in grids[-1]))
        return grids[2:]


@st.composite
def sizes(draw, largest=700):
    """Heights and widths from 1; now and then one side is long, and the other one short."""
    side = st.integers(1, 48)
    if draw(st.integers(0, 4)):
        return draw(side), draw(side)
    long, short = draw(st.integers(49, largest)), draw(st.integers(1, 8))
    return (long, short) if draw(st.booleans()) else (short, long)


@st.composite
def out_indices(draw, stages):
    """One index, or several in any order, each counted from either end."""
    count = draw(st.integers(1, stages))
    chosen = draw(st.permutations(range(stages)))[:count]
    signed = [i - stages if draw(st.booleans()) else i for i in chosen]
    return signed[0] if len(signed) == 1 and draw(st.booleans()) else tuple(signed)


def per_stage(values, stages):
    return st.lists(values, min_size=stages, max_size=stages).map(tuple)


@st.composite
def lkca_vits(draw):
    heads, layers = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return dict(
        arch=dict(
            embed_dims=heads * draw(st.integers(1, 6)), num_layers=layers,
            mlp_ratio=draw(st.sampled_from((1, 1.5, 2)))),
        img_size=draw(st.one_of(st.integers(1, 40), st.tuples(*[st.integers(1, 40)] * 2))),
        patch_size=draw(st.integers(4, 17)),
        attention_layers=draw(st.sampled_from(((), (0, ), (-1, )))),
        num_heads=heads,
        interpolate_kernel=draw(st.booleans()),
        impl=draw(st.sampled_from(('auto', 'gemm', 'spectral')))), layers


@st.composite
def linglos(draw):
    stages = draw(st.integers(1, 4))
    heads = draw(per_stage(st.integers(1, 3), stages))
    whole = draw(st.booleans())
    return dict(
        arch=dict(
            embed_dims=tuple(4 * head * draw(st.integers(1, 2)) for head in heads),
            depths=draw(per_stage(st.integers(1, 2), stages)), num_heads=heads,
            mlp_ratios=draw(per_stage(st.integers(1, 2), stages))),
        layout=''.join(draw(per_stage(st.sampled_from('hhc'), stages))),
        attention=draw(st.sampled_from(('key-only', 'key-only', 'dot-product'))),
        inner_per_head=draw(st.booleans()),
        encoding=draw(st.sampled_from((None, 'cpe', 'r-cpe', 'p-cpe', 'rp-cpe'))),
        patch_sizes=None if whole else draw(per_stage(st.integers(2, 5), stages)),
        absolute_pos=draw(st.booleans()),
        img_size=draw(st.integers(1, 40)),
        impl=draw(st.sampled_from(('auto', 'literal', 'merged', 'collapsed')))), stages


@st.composite
def mcganets(draw):
    stages = draw(st.integers(1, 4))
    dims = [draw(st.sampled_from((4, 8)))]
    for _ in range(stages - 1):
        dims.append(dims[-1] * draw(st.integers(1, 2)))
    return dict(
        arch=dict(
            embed_dims=tuple(dims), depths=draw(per_stage(st.integers(1, 2), stages)),
            num_heads=draw(per_stage(st.sampled_from((1, 2, 4)), stages)),
            mlp_ratios=draw(per_stage(st.integers(1, 2), stages))),
        num_groups=draw(st.integers(1, 9)),
        kernel_sizes=draw(st.sampled_from(((3, 5), (1, ), (7, 3, 1)))),
        qkv_bias=draw(st.booleans()),
        share_groups=draw(st.booleans()),
        fusion=draw(st.sampled_from(('separate', 'single'))),
        impl=draw(st.sampled_from(('auto', 'literal')))), stages


@st.composite
def dualformers(draw):
    stages, heads = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    dims = st.integers(1, 3).map(lambda times: 2 * heads * times)
    return dict(
        arch=dict(
            embed_dims=draw(per_stage(dims, stages)),
            depths=draw(per_stage(st.integers(1, 2), stages)),
            reductions=draw(per_stage(st.sampled_from((1, 2, 3, 4)), stages)),
            mlp_ratios=draw(per_stage(st.integers(1, 2), stages))),
        num_heads=heads,
        num_partitions=draw(st.sampled_from((2, 4, 16))),
        partition=draw(st.sampled_from(('lsh', 'k-means'))),
        share_partition=draw(st.booleans()),
        paths=draw(st.sampled_from((('intra', ), ('inter', ), ('inter', 'intra')))),
        rescale=draw(st.booleans()),
        mixing=draw(st.sampled_from(('parallel', 'serial', 'attention'))),
        impl=draw(st.sampled_from(('auto', 'literal'))),
        hash_seed=draw(st.integers(0, 9))), stages


NETWORKS = dict(
    DualFormer=dualformers(), LKCAViT=lkca_vits(), LinGlo=linglos(), MCGANet=mcganets())


@st.composite
def cases(draw, name, batches=BATCHES):
    """Networks of one backbone with all options, and images for them."""
    chosen, stages = draw(NETWORKS[name])
    chosen.update(
        in_channels=draw(st.integers(1, 4)), out_indices=draw(out_indices(stages)),
        drop_rate=draw(RATES), drop_path_rate=draw(RATES), norm_eval=draw(st.booleans()),
        with_cp=draw(st.booleans()))
    if name != 'LKCAViT':
        chosen['gap_before_norm'] = draw(st.booleans())
    return Case(name, chosen, draw(batches), draw(sizes()))
