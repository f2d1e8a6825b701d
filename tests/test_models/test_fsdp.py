# Copyright (c) mmvisionmix authors. All rights reserved.
"""FullyShardedDataParallel in two processes on CPUs."""
import pytest
import torch
from test_backbones import BACKBONES
from test_distributed import build, loss_of, share_of
from torch.distributed.fsdp import FullyShardedDataParallel
from two_processes import in_two_processes

from mmvisionmix.engine.fsdp import wrap_blocks


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
    from fsdp_on_cpu import stand_in
    stand_in()
    found = {}
    for name, model in models.items():
        model = FullyShardedDataParallel(
            model, auto_wrap_policy=wrap_blocks, use_orig_params=True,
            device_id=torch.device('cpu'))
        held = sum(param.numel() for param in model.parameters())
        units = len(FullyShardedDataParallel.fsdp_modules(model))
        losses = train(model, share_of(images))
        with FullyShardedDataParallel.summon_full_params(model, writeback=False):
            found[name] = losses, held, units, {
                key: param.detach().clone() for key, param in model.named_parameters()}
    return found


@pytest.fixture(scope='module')
def images():
    return torch.randn(4, 3, 24, 40, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope='module')
def both(images):
    return in_two_processes(
        train_sharded, {name: build(name, norm_eval=True) for name in BACKBONES}, images)


@pytest.mark.parametrize('name', BACKBONES)
def test_training_in_shards_equals_training_in_one_process(both, images, name):
    model = build(name, norm_eval=True)
    total = sum(param.numel() for param in model.parameters())
    losses = train(model, images)
    (first, held, units, params), (second, others, _, _) = (found[name] for found in both)
    assert units == sum(model.depths) + 1
    assert held + others == pytest.approx(total, rel=0.01) and held < 0.6 * total
    torch.testing.assert_close((first + second) / 2, losses)
    for key, param in model.named_parameters():
        torch.testing.assert_close(params[key], param)
