# Copyright (c) mmvisionmix authors. All rights reserved.
"""Trains small backbones on the demo data, by a loop of a few lines.

As a script: ``tiny_training.py DATA ITERATIONS WORK_DIR`` prints a checksum of the weights of each,
trained by MMEngine with ``randomness=dict(seed=0, deterministic=True)``.
"""
import hashlib
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmengine.runner import Runner
from PIL import Image
from small_backbones import BACKBONES, SMALL
from torch import nn
from torch.utils.data import Dataset

SIDE, CLASSES = 64, 10


class Scenes(Dataset):
    """Crops at random places of demo scenes in ADE20K's layout."""

    def __init__(self, folder):
        self.files = sorted(Path(folder).glob('images/training/*.jpg'))

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        file = self.files[index]
        labels = file.parents[2] / 'annotations/training' / f'{file.stem}.png'
        image, truth = (np.asarray(Image.open(one)) for one in (file, labels))
        row, column = (int(np.random.randint(side - SIDE + 1)) for side in truth.shape)
        here = slice(row, row + SIDE), slice(column, column + SIDE)
        pixels = torch.from_numpy(image[here].copy()).permute(2, 0, 1).float() / 64 - 2
        return dict(inputs=pixels, truth=torch.from_numpy(truth[here].astype(np.int64) - 1))


class Segmentor(BaseModel):
    """A backbone, and one layer that classifies every fourth pixel."""

    def __init__(self, name, **settings):
        super().__init__()
        if name == 'LKCAViT':
            settings['img_size'] = SIDE
        self.backbone = BACKBONES[name](**{**SMALL[name], **settings})
        widths = self.backbone.norms.values()
        self.head = nn.Conv2d(sum(norm.weight.numel() for norm in widths), CLASSES, 1)
        self.backbone.init_weights()

    def forward(self, inputs, truth, mode='loss'):
        maps = [F.interpolate(out, (SIDE // 4, ) * 2) for out in self.backbone(inputs)]
        logits = self.head(torch.cat(maps, 1))
        return dict(loss=F.cross_entropy(logits.float(), truth[:, ::4, ::4]))


def train(name, folder, iterations, dtype=torch.float32):
    """Losses of all iterations; those in bfloat16 are run under autocast."""
    torch.manual_seed(0)
    np.random.seed(0)
    scenes, model = Scenes(folder), Segmentor(name, drop_path_rate=0.1).train()
    optimizer, losses = torch.optim.AdamW(model.parameters(), 2e-3), []
    for step in range(iterations):
        batch = [scenes[(4 * step + i) % len(scenes)] for i in range(4)]
        inputs, truth = (torch.stack([one[key] for one in batch]) for key in ('inputs', 'truth'))
        with torch.autocast('cpu', dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = model(inputs, truth)['loss']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        assert all(param.isfinite().all() for param in model.parameters())
    return losses


def train_by_mmengine(name, folder, iterations, work_dir):
    """A checksum of all weights after training with everything random on.

    One of the backbones has data workers, whose start and end take seconds.
    """
    workers = 2 if name == 'LKCAViT' else 0
    runner = Runner(
        model=dict(type=Segmentor, name=name, drop_path_rate=0.3, drop_rate=0.1),
        work_dir=str(Path(work_dir) / name),
        train_dataloader=dict(
            dataset=Scenes(folder), batch_size=4, num_workers=workers,
            sampler=dict(type='InfiniteSampler'), collate_fn=dict(type='default_collate')),
        train_cfg=dict(by_epoch=False, max_iters=iterations),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=2e-3)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=-1, save_last=False)),
        randomness=dict(seed=0, deterministic=True), default_scope='mmengine',
        experiment_name=f'{name}_{iterations}_{torch.initial_seed()}', log_level='WARNING')
    runner.train()
    assert torch.are_deterministic_algorithms_enabled()
    sha = hashlib.sha256()
    for value in runner.model.state_dict().values():
        sha.update(value.numpy().tobytes())
    return sha.hexdigest()


if __name__ == '__main__':
    for backbone in BACKBONES:
        print(backbone, train_by_mmengine(backbone, sys.argv[1], int(sys.argv[2]), sys.argv[3]))
