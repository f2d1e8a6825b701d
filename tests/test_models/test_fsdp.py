# Copyright (c) mmvisionmix authors. All rights reserved.
"""FullyShardedDataParallel in two processes on CPUs."""
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine._strategy import FSDPStrategy
from mmengine.config import Config
from mmengine.registry import RUNNERS
from small_backbones import BACKBONES
from test_distributed import build as build_backbone
from test_distributed import loss_of, share_of
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel
from two_processes import in_two_processes

from mmvisionmix.engine.fsdp import wrap_blocks

ROOT = Path(__file__).resolve().parents[2]


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
        train_sharded, {name: build(name) for name in BACKBONES}, images)


@pytest.mark.parametrize('name', BACKBONES)
def test_training_in_shards_equals_training_in_one_process(both, images, name):
    model = build(name)
    total = sum(param.numel() for param in model.parameters())
    losses = train(model, images)
    (first, held, units, params), (second, others, _, _) = (found[name] for found in both)
    assert units == sum(model.depths) + 1
    assert held + others == pytest.approx(total, rel=0.01) and held < 0.6 * total
    torch.testing.assert_close((first + second) / 2, losses)
    for key, param in model.named_parameters():
        torch.testing.assert_close(params[key], param)


def documented_config(base, data, work_dir):
    """The config of docs/reliability.md on another base, two iterations long, and on CPUs."""
    page = (ROOT / 'docs/reliability.md').read_text()
    snippet, = re.findall(r'```python\n(_base_ =.*?FSDPStrategy.*?)```', page, re.DOTALL)
    cfg = Config.fromstring(snippet.replace('upernet_lkca_s_ade20k', base), '.py')
    cfg.merge_from_dict({
        'launcher': 'pytorch', 'work_dir': work_dir, 'train_cfg.max_iters': 2,
        'train_cfg.val_interval': 2, 'train_dataloader.batch_size': 2,
        'optim_wrapper.constructor': 'mmvisionmix.LayerDecayOptimWrapperConstructor',
        'optim_wrapper.paramwise_cfg': dict(layer_decay_rate=0.5),
        'default_hooks.checkpoint': dict(save_optimizer=False, interval=2)})
    cfg.strategy.model_wrapper.device_id = 'cpu'
    # Moved to the CPU, where it is, a state dict would be freed with the whole parameters.
    cfg.strategy.state_dict_cfg = dict(
        state_dict_type='FULL_STATE_DICT',
        state_dict_config=dict(type='FullStateDictConfig', rank0_only=True),
        optim_state_dict_config=dict(type='FullOptimStateDictConfig', rank0_only=True))
    for split in ('train', 'val'):
        cfg[f'{split}_dataloader'].update(num_workers=0, persistent_workers=False)
        cfg[f'{split}_dataloader'].dataset.data_root = data
    return cfg


def run_strategy(*args):
    from fsdp_on_cpu import stand_in
    stand_in()
    os.environ['LOCAL_RANK'] = os.environ['RANK'] = str(torch.distributed.get_rank())
    runner = RUNNERS.build(documented_config(*args))
    runner.train()
    groups = runner.strategy.optim_wrapper.optimizer.param_groups
    rates = sorted({group['initial_lr'] for group in groups})
    metric = runner.message_hub.get_scalar('val/mIoU').current()
    with FullyShardedDataParallel.summon_full_params(runner.model, writeback=False):
        params = {key: param.detach().clone() for key, param in runner.model.named_parameters()}
    return rates, metric, params


@pytest.mark.slow
def test_documented_config_trains_validates_and_saves_what_a_plain_model_loads(
        demo_ade20k, run_tool, tmp_path):
    """With learning rates by depth: 8 blocks, the stem and what follows the blocks."""
    results = in_two_processes(
        run_strategy, 'lkca_upernet_demo-ade20k', str(demo_ade20k), str(tmp_path))
    for rates, _, params in results:
        assert rates == pytest.approx([1e-3 / 2**step for step in range(9, -1, -1)])
        saved = torch.load(tmp_path / 'iter_2.pth', weights_only=False)['state_dict']
        assert all(torch.equal(param, saved[key]) for key, param in params.items())
    config = ROOT / 'configs/toy/lkca_upernet_demo-ade20k.py'
    out = run_tool(
        ROOT / 'tools/test.py', config, 'iter_2.pth', '--cfg-options',
        f'test_dataloader.dataset.data_root={demo_ade20k}', cwd=tmp_path)
    assert 'unexpected key' not in out and 'missing key' not in out
    assert float(re.findall(r'mIoU: ([\d.]+)', out)[-1]) == pytest.approx(results[0][1], abs=0.05)


def test_mmengine_cannot_restore_the_optimizer():
    """Once it can, docs/reliability.md is outdated."""
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    strategy = SimpleNamespace(model=model, optim_wrapper=SimpleNamespace(optimizer=optimizer))
    with pytest.raises(TypeError, match="unhashable type: 'dict'"):
        FSDPStrategy.load_optim_state_dict(strategy, optimizer.state_dict())
