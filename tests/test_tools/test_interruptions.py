# Copyright (c) mmvisionmix authors. All rights reserved.
"""Training as child processes that are killed by SIGKILL, resumed, and killed again."""
import os
import random
import re
import resource
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from string import Template

import mmseg
import pytest
import torch
from toy_runs import assert_bit_equal, trained

from demo_data import Recipe, write_cifar10
from mmvisionmix.engine import find_resumable

ROOT = Path(__file__).resolve().parents[2]
COMMON = '''
custom_imports = dict(imports=['killing_hook'], allow_failed_imports=False)
custom_hooks = [dict(type='KillingHook')]
loader = dict(batch_size=4, num_workers=$workers, persistent_workers=$workers > 0)
data = dict(data_root='$data')
randomness = dict(seed=3, deterministic=True)
'''
SEGMENTOR = '''
_base_ = '$root/configs/toy/lkca_upernet_demo-ade20k.py'
model = dict(
    data_preprocessor=dict(size=(64, 64)),
    backbone=dict(arch=dict(embed_dims=16, num_layers=4, mlp_ratio=2), img_size=(64, 64),
                  out_indices=(0, 1, 2, 3), drop_path_rate=0.3),
    neck=dict(in_channels=[16] * 4, out_channels=16),
    decode_head=dict(in_channels=[16] * 4, channels=16, dropout_ratio=0.3),
    auxiliary_head=dict(in_channels=16, channels=16))
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(type='RandomResize', scale=(128, 128), ratio_range=(0.6, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(64, 64), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs')
]
train_dataloader = dict(dataset=dict(pipeline=pipeline, **data), **loader)
val_dataloader = dict(dataset=data, **loader)
train_cfg = dict(max_iters=4 * $rounds, val_interval=4)
default_hooks = dict(
    logger=dict(interval=1),
    checkpoint=dict(interval=2, max_keep_ckpts=1, save_best='mIoU'))
'''
# Drops paths, and draws AutoAugment, Mixup and CutMix.
CLASSIFIER = '''
_base_ = '$root/configs/lkca/lkca-1m_1xb128-100e_cifar10.py'
model = dict(
    backbone=dict(arch=dict(_delete_=True, embed_dims=16, num_layers=3, mlp_ratio=2),
                  drop_path_rate=0.3),
    head=dict(in_channels=16))
data.update(type='mmvisionmix.DemoCIFAR10')
train_dataloader = dict(dataset=data, **loader)
val_dataloader = dict(dataset=data, **loader)
train_cfg = dict(max_epochs=$rounds)
default_hooks = dict(logger=dict(interval=1))
'''
CONFIGS = dict(segmentor=SEGMENTOR, classifier=CLASSIFIER)


class Runs:
    """Runs of one config, each in a work directory of its own.

    Args:
        folder: Where the config and the work directories are.
        kind: ``'segmentor'``, trained by iterations, or ``'classifier'``, by epochs.
        workers: Number of workers of each data loader.
        data: The segmentor's data.
        rounds: Number of times that 4 iterations are followed by a validation.
    """
    launch = (sys.executable, ROOT / 'tools/train.py', 'config.py')

    def __init__(self, folder, kind, workers, data, rounds):
        if kind == 'classifier':
            data = folder / 'data'
            write_cifar10(data, Recipe(train=16, val=8))
        text = Template(COMMON + CONFIGS[kind]).substitute(
            root=ROOT, workers=workers, data=data, rounds=rounds)
        self.folder, self.iterations = folder, 4 * rounds
        self.final = f'iter_{4 * rounds}.pth' if kind == 'segmentor' else f'epoch_{rounds}.pth'
        (folder / 'config.py').write_text(text)

    def train(self, work_dir, *options, kill='', limit=None):
        """Trains; returns the exit status and what was said."""
        paths = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
        environment = dict(os.environ, KILL=kill, OMP_NUM_THREADS='1', PYTHONPATH=paths)
        command = [*map(str, self.launch), '--work-dir', work_dir, *options]
        log = self.folder / 'output.txt'
        with open(log, 'w') as file:
            process = subprocess.Popen(
                command, cwd=self.folder, env=environment, start_new_session=True, stdout=file,
                stderr=subprocess.STDOUT, preexec_fn=limit)
            try:
                process.wait(600)
            finally:
                with suppress(ProcessLookupError):  # workers that would outlive it for seconds
                    os.killpg(process.pid, signal.SIGKILL)
        return process.returncode, log.read_text()

    def train_to_the_end(self, work_dir, *options):
        """Trains; returns what training would go on from, and what was said."""
        code, out = self.train(work_dir, *options)
        assert code == 0, out[-4000:]
        assert self.iteration(work_dir) == self.iterations
        return trained(self.folder / work_dir / self.final), out

    def kill(self, work_dir, moment):
        code, out = self.train(work_dir, '--resume', kill=moment)
        assert code == -signal.SIGKILL, f'{moment}: {out[-4000:]}'
        return out

    def iteration(self, work_dir):
        """The iteration that training would go on from."""
        path = find_resumable(str(self.folder / work_dir)).path
        return torch.load(path, map_location='cpu')['meta']['iter'] if path else 0

    def checkpoints(self, work_dir):
        return sorted(file.name for file in (self.folder / work_dir).glob('[ei]*_*.pth*'))


def test_killed_twice_and_out_of_space_training_ends_as_if_undisturbed(demo_ade20k, tmp_path):
    """By iterations; one of the kills comes while a checkpoint is being written."""
    runs = Runs(tmp_path, 'segmentor', 0, demo_ade20k, rounds=2)
    undisturbed, out = runs.train_to_the_end('whole')
    assert 'Going on' not in out
    out = runs.kill('cut', 'fetched:5')
    assert 'cut has no checkpoint yet: training starts from the beginning' in out
    out = runs.kill('cut', 'writing:0')
    assert f'Going on from {tmp_path}/cut/iter_4.pth' in out and 'resumed epoch: 0, iter: 4' in out
    assert runs.checkpoints('cut') == ['iter_4.pth', 'iter_6.pth.unfinished']

    size = (tmp_path / 'cut/iter_4.pth').stat().st_size // 2
    code, out = runs.train('cut', '--resume', limit=lambda: resource.setrlimit(
        resource.RLIMIT_FSIZE, (size, size)))
    said = out.strip().splitlines()[-1]
    assert code == 1 and 'Traceback' not in out
    assert said.startswith(f"error: [Errno 27] File too large: '{tmp_path}/cut/iter_6.pth'")
    assert runs.checkpoints('cut') == ['iter_4.pth']

    resumed, out = runs.train_to_the_end('cut', '--resume')
    assert_bit_equal(resumed, undisturbed)
    assert runs.checkpoints('cut') == ['iter_8.pth']


@pytest.mark.slow
@pytest.mark.parametrize('workers', (0, 2))
@pytest.mark.parametrize('kind', CONFIGS)
def test_training_killed_at_random_moments_ends_bit_equal(demo_ade20k, tmp_path, kind, workers):
    """Six kills each, which together come nowhere near the end."""
    runs = Runs(tmp_path, kind, workers, demo_ade20k, rounds=8)
    undisturbed, _ = runs.train_to_the_end('whole')
    draw = random.Random(f'{kind} {workers}')
    moments = ['iteration', 'writing', 'iteration', 'validating', 'iteration', 'iteration']
    draw.shuffle(moments)
    for moment in moments:
        number = draw.randint(0, 2)
        if moment == 'iteration':
            moment = draw.choice(('fetched', 'trained'))
            number = runs.iteration('cut') + draw.randint(0, 5)
        runs.kill('cut', f'{moment}:{number}')
    resumed, _ = runs.train_to_the_end('cut', '--resume')
    assert_bit_equal(resumed, undisturbed)
    assert runs.checkpoints('cut') == [runs.final]


@pytest.mark.slow
def test_two_processes_killed_and_resumed_end_bit_equal(demo_ade20k, tmp_path):
    """Each draws numbers of its own."""
    runs = Runs(tmp_path, 'segmentor', 0, demo_ade20k, rounds=3)
    with open(tmp_path / 'config.py', 'a') as file:
        file.write('randomness.update(diff_rank_seed=True)\n')
    runs.launch = (sys.executable, '-m', 'torch.distributed.run', '--standalone',
                   '--nproc_per_node=2', *runs.launch[1:], '--launcher', 'pytorch')
    undisturbed, _ = runs.train_to_the_end('whole')
    code, out = runs.train('cut', kill='trained:6')
    assert code and 'Signal 9 (SIGKILL)' in out, out[-4000:]
    resumed, out = runs.train_to_the_end('cut', '--resume')
    assert 'resumed epoch: 0, iter: 6' in out
    assert_bit_equal(resumed, undisturbed)


@pytest.mark.slow
def test_a_stock_tool_resumes_bit_equal_with_the_hooks_that_the_page_names(
        demo_ade20k, tmp_path):
    page = (ROOT / 'docs/reliability.md').read_text()
    hooks = re.search(r'```python\n(default_hooks = .*?)```', page, re.DOTALL).group(1)
    runs = Runs(tmp_path, 'segmentor', 0, demo_ade20k, rounds=2)
    (tmp_path / 'child.py').write_text(f"_base_ = 'config.py'\n{hooks}")
    runs.launch = (sys.executable, Path(mmseg.__file__).parent / '.mim/tools/train.py', 'child.py')
    undisturbed, _ = runs.train_to_the_end('whole')
    runs.train('cut', kill='fetched:3')
    out = runs.kill('cut', 'writing:1')
    assert 'resumed epoch: 0, iter: 2' in out
    resumed, out = runs.train_to_the_end('cut', '--resume')
    assert 'resumed epoch: 0, iter: 2' in out
    assert_bit_equal(resumed, undisturbed)
