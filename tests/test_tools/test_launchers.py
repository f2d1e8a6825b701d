# Copyright (c) mmvisionmix authors. All rights reserved.
"""Training with several processes, and the words given to Slurm."""
import os
import re
import socket
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOY = ROOT / 'configs/toy/lkca_upernet_demo-ade20k.py'


def free_port():
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        return sock.getsockname()[1]


def run_script(name, *args, cwd, **environment):
    result = subprocess.run(
        ['bash', str(ROOT / 'tools' / name), *map(str, args)], cwd=cwd, text=True, timeout=600,
        env={**os.environ, **{key: str(value) for key, value in environment.items()}},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return result.returncode, result.stdout


def test_two_processes_train_without_unused_parameters_and_test_as_one(
        run_tool, demo_ade20k, tmp_path):
    """DistributedDataParallel would stop at a parameter that receives no gradient."""
    options = ['--work-dir', 'work', '--cfg-options', 'train_cfg.max_iters=3',
               'train_cfg.val_interval=3', 'train_dataloader.batch_size=2']
    for split in ('train', 'val', 'test'):
        options += [f'{split}_dataloader.dataset.data_root={demo_ade20k}',
                    f'{split}_dataloader.num_workers=0',
                    f'{split}_dataloader.persistent_workers=False']
    common = dict(cwd=tmp_path, PORT=free_port(), OMP_NUM_THREADS=1)
    code, out = run_script('dist_train.sh', TOY, 2, *options, **common)
    assert code == 0, out[-4000:]
    assert "launcher = 'pytorch'" in out and 'find_unused_parameters' not in out
    code, out = run_script('dist_test.sh', TOY, 'work/iter_3.pth', 2, *options, **common)
    assert code == 0, out[-4000:]
    shared = re.findall(r'mIoU: ([\d.]+)', out)[-1]
    out = run_tool(ROOT / 'tools/test.py', TOY, 'work/iter_3.pth', *options, cwd=tmp_path)
    assert re.findall(r'mIoU: ([\d.]+)', out)[-1] == shared


def test_slurm_is_asked_for_one_task_per_gpu(tmp_path):
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\nfor word in "$@"; do echo "$word"; done\n')
    srun.chmod(0o755)
    path = f'{tmp_path}{os.pathsep}{os.environ["PATH"]}'
    code, out = run_script('slurm_train.sh', 'gpu', 'job', TOY, '--amp', cwd=tmp_path, PATH=path,
                           GPUS=4, GPUS_PER_NODE=2, SRUN_ARGS='--time=1 --quiet')
    words = out.split()
    assert code == 0
    assert {'--partition=gpu', '--job-name=job', '--ntasks=4', '--ntasks-per-node=2',
            '--gres=gpu:2', '--time=1', '--quiet'} <= set(words)
    assert words[-6:] == ['-u', str(ROOT / 'tools/train.py'), str(TOY), '--amp', '--launcher',
                          'slurm']


def test_missing_words_are_answered_with_the_usage(tmp_path):
    for script, usage in (('dist_train.sh', 'CONFIG GPUS'), ('dist_test.sh', 'CONFIG CHECKPOINT'),
                          ('slurm_test.sh', 'usage: slurm_test.sh PARTITION JOB_NAME')):
        code, out = run_script(script, cwd=tmp_path)
        assert code and usage in out
