# Copyright (c) mmvisionmix authors. All rights reserved.
"""Runs of a few numbers that draw from every generator, and what their checkpoints hold."""
import random
from itertools import count

import numpy as np
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

NUMBERS = count()  # MMEngine wants a new name for every run of a process


class KilledError(Exception):
    """Stands in for SIGKILL."""


class Noise(Dataset):
    """Samples drawn anew each time, from the generators that transforms draw from."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        noise = [np.random.rand(), random.random(), torch.rand(()).item(), index / 8]
        return dict(x=torch.tensor(noise, dtype=torch.float32))


class Net(BaseModel):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Dropout(), nn.Linear(8, 1))

    def forward(self, x, mode='tensor'):
        out = self.layers(x.float() + np.random.rand())  # as Mixup draws in the main process
        return dict(loss=out.square().mean()) if mode == 'loss' else [out]


class Score(BaseMetric):
    """What it is told, else the iteration: every validation finds a better model."""
    told = iter(())

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return next(self.told, dict(mIoU=MessageHub.get_current_instance().get_info('iter')))


class KillAt(Hook):
    """Ends the run within an iteration, counted from 0."""
    priority = 'VERY_HIGH'

    def __init__(self, iteration):
        self.iteration = iteration

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == self.iteration:
            raise KilledError


def train(work_dir, checkpoint, by_epoch=False, length=8, workers=0, hooks=(), seed=1,
          resume=False, scores=(), reseed=True, val_interval=4):
    """Trains, 4 iterations an epoch; by epochs, it validates after each. Returns the runner."""
    def loader(sampler):
        return dict(batch_size=2, num_workers=workers, persistent_workers=workers > 0,
                    dataset=Noise(), sampler=dict(type=sampler, shuffle=True),
                    collate_fn=dict(type='default_collate'))

    default_hooks = dict(checkpoint=dict(by_epoch=by_epoch, **checkpoint))
    if reseed:
        default_hooks['reseed'] = dict(type='mmvisionmix.ReseedHook')
    torch.manual_seed(0)  # of the weights at the start
    Score.told = iter(scores)
    runner = Runner(
        Net(), str(work_dir), val_cfg=dict(), val_evaluator=Evaluator(Score()),
        train_cfg=dict(by_epoch=True, max_epochs=length // 4, val_interval=1) if by_epoch else
        dict(by_epoch=False, max_iters=length, val_interval=val_interval),
        train_dataloader=loader('DefaultSampler' if by_epoch else 'InfiniteSampler'),
        val_dataloader=loader('DefaultSampler'),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=.01)), resume=resume,
        param_scheduler=dict(type='PolyLR', by_epoch=False, end=100),
        default_hooks=default_hooks, custom_hooks=list(hooks), randomness=dict(seed=seed),
        experiment_name=f'toy{next(NUMBERS)}')
    try:
        runner.train()
    finally:  # end the workers, which would wait for five seconds each
        for loop in (runner._train_loop, runner._val_loop):
            if not isinstance(loop, dict):
                loop.dataloader_iterator = loop.dataloader._iterator = None
    return runner


def trained(path):
    """What training would go on from."""
    checkpoint = torch.load(path, map_location='cpu')
    return {key: checkpoint[key] for key in ('state_dict', 'optimizer', 'param_schedulers')}


def assert_bit_equal(one, other):
    """Compares what two checkpoints go on from."""
    assert one.pop('param_schedulers') == other.pop('param_schedulers')
    torch.testing.assert_close(one, other, rtol=0, atol=0)
