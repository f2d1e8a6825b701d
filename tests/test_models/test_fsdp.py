# Copyright (c) mmvisionmix authors. All rights reserved.
"""FullyShardedDataParallel in two processes on CPUs, which torch has had since 2.2."""
from functools import partial

import pytest
import torch
from small_backbones import BACKBONES
from test_distributed import build as build_backbone
from test_distributed import loss_of, share_of
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.fsdp.wrap import size_based_auto_wrap_policy
from two_processes import in_two_processes

from mmvisionmix.engine.fsdp import wrap_blocks

POLICIES = dict(blocks=wrap_blocks, size=partial(size_based_auto_wrap_policy, min_num_params=300))
CASES = [(name, policy) for name in BACKBONES for policy in POLICIES]
pytestmark = pytest.mark.skipif(
    not hasattr(torch.cpu, 'current_stream'), reason='FSDP asks CPUs for streams')


def build(name):
    """Has every kind of block, and batch norms that are the same in all processes."""
    settings = dict(layout='chhh') if name == 'LinGlo' else {}
    return build_backbone(name, norm_eval=True, **settings)


def train(model, images):
    """Losses of three iterations, and of what the model infers after each."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        losses.append(loss_of(model.train()(images)))
        losses[-1].backward()
        optimizer.step()
        with torch.no_grad():
            losses.append(loss_of(model.eval()(images)))
    return torch.stack(losses).detach()


def train_sharded(models, images):
    found = {}
    for (name, policy), model in models.items():
        model = FullyShardedDataParallel(
            model, auto_wrap_policy=POLICIES[policy], use_orig_params=True,
            device_id=torch.device('cpu'))
        held = sum(param.numel() for param in model.parameters())
        units = len(FullyShardedDataParallel.fsdp_modules(model))
        losses = train(model, share_of(images))
        with FullyShardedDataParallel.summon_full_params(model, writeback=False):
            found[name, policy] = losses, held, units, {
                key: param.detach().clone() for key, param in model.named_parameters()}
    return found


@pytest.fixture(scope='module')
def images():
    return torch.randn(4, 3, 24, 40, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope='module')
def both(images):
    return in_two_processes(train_sharded, {case: build(case[0]) for case in CASES}, images)


@pytest.mark.parametrize('name, policy', CASES)
def test_training_in_shards_equals_training_in_one_process(both, images, name, policy):
    model = build(name)
    total = sum(param.numel() for param in model.parameters())
    losses = train(model, images)
    (first, held, units, params), (second, others, _, _) = (found[name, policy] for found in both)
    assert units == sum(model.depths) + 1 if policy == 'blocks' else units > sum(model.depths)
    assert held + others == pytest.approx(total, rel=0.01) and held < 0.6 * total
    torch.testing.assert_close((first + second) / 2, losses)
    for key, param in model.named_parameters():
        torch.testing.assert_close(params[key], param)
