# Copyright (c) mmvisionmix authors. All rights reserved.
"""Training with several processes, and the words given to Slurm."""
import os
import re
import socket
import subprocess

import pytest
from test_entry_recipes import ROOT, TASKS
from test_train_and_test import toy_options

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
    options = ['--work-dir', 'work', *toy_options(demo_ade20k, 2)]
    common = dict(cwd=tmp_path, PORT=free_port(), OMP_NUM_THREADS=1)
    code, out = run_script('dist_train.sh', TOY, 2, *options, **common)
    assert code == 0, out[-4000:]
    assert "launcher = 'pytorch'" in out and 'find_unused_parameters' not in out
    code, out = run_script('dist_test.sh', TOY, 'work/iter_2.pth', 2, *options, **common)
    assert code == 0, out[-4000:]
    shared = re.findall(r'mIoU: ([\d.]+)', out)[-1]
    out = run_tool(ROOT / 'tools/test.py', TOY, 'work/iter_2.pth', *options, cwd=tmp_path)
    assert re.findall(r'mIoU: ([\d.]+)', out)[-1] == shared


@pytest.mark.parametrize('recipe, task, iterations', (
    ('linglo_b0_imagenet', 'imagenet', 2),
    pytest.param('retinanet_linglo_b0_coco', 'retinanet', 1, marks=pytest.mark.slow)))
def test_two_processes_share_the_images_of_other_tasks(tmp_path, recipe, task, iterations):
    """Half as many iterations as one process has, and the validation of all images."""
    _, write, amount, options, metrics = TASKS[task]
    write(tmp_path / 'data', amount)
    options = [option.format(data=tmp_path / 'data') for option in options]
    options += ['default_hooks.logger.interval=1',
                f'train_dataloader.batch_size={5 if task == "imagenet" else 2}']
    for split in ('train', 'val'):
        options += [f'{split}_dataloader.dataset.data_root={tmp_path / "data"}',
                    f'{split}_dataloader.num_workers=0',
                    f'{split}_dataloader.persistent_workers=False']
    code, out = run_script(
        'dist_train.sh', ROOT / f'configs/{recipe}.py', 2, '--work-dir', 'work', '--cfg-options',
        *options, cwd=tmp_path, PORT=free_port(), OMP_NUM_THREADS=1)
    assert code == 0 and f'[1][{iterations}/{iterations}]' in out, out[-4000:]
    assert re.search(metrics.replace('2/2', '1/1'), out)


@pytest.fixture
def srun(tmp_path):
    """Calls a script with a stand-in for srun; returns the words that it was given."""
    stand_in = tmp_path / 'bin/srun'
    stand_in.parent.mkdir()
    stand_in.write_text('#!/bin/sh\nfor word in "$@"; do echo "$word"; done\n')
    stand_in.chmod(0o755)
    path = f'{stand_in.parent}{os.pathsep}{os.environ["PATH"]}'

    def call(*args, **environment):
        code, out = run_script(*args, cwd=tmp_path, PATH=path, **environment)
        assert code == 0, out
        return out.splitlines()
    return call


def test_slurm_is_asked_for_one_task_per_gpu(srun):
    words = srun('slurm_train.sh', 'gpu', 'a job', TOY, '--amp', GPUS=4, GPUS_PER_NODE=2,
                 CPUS_PER_TASK=3, SRUN_ARGS='--time=1 --exclusive --exclude=node[1-2]')
    command = words.index('python')
    assert {'--partition=gpu', '--job-name=a job', '--ntasks=4', '--ntasks-per-node=2',
            '--gres=gpu:2', '--cpus-per-task=3', '--kill-on-bad-exit=1', '--time=1', '--exclusive',
            '--exclude=node[1-2]'} == set(words[:command])
    assert words[command:] == ['python', '-u', str(ROOT / 'tools/train.py'), str(TOY), '--amp',
                               '--launcher', 'slurm']


@pytest.mark.parametrize('script, args, message', (
    ('dist_train.sh', (), 'CONFIG GPUS'), ('dist_test.sh', (), 'CONFIG CHECKPOINT'),
    ('slurm_test.sh', (), 'usage: slurm_test.sh PARTITION JOB_NAME'),
    ('dist_train.sh', (TOY, '--work-dir', 'work'), 'error: the number of GPUS must be 1 or more')))
def test_missing_words_are_asked_for(tmp_path, script, args, message):
    code, out = run_script(script, *args, cwd=tmp_path)
    assert code and message in out and 'Traceback' not in out


def test_a_port_in_use_is_named_before_anything_starts(tmp_path):
    with socket.create_server(('127.0.0.1', 0)) as server:
        port = server.getsockname()[1]
        code, out = run_script('dist_train.sh', TOY, 2, cwd=tmp_path, PORT=port)
    assert code == 2 and 'Traceback' not in out
    assert f'error: port {port} is not free' in out and 'PORT=' in out


@pytest.mark.parametrize('launcher, starter', (('pytorch', 'dist_train.sh'), ('slurm', 'srun')))
def test_launchers_say_what_starts_their_processes(run_tool, tmp_path, launcher, starter):
    out = run_tool(
        ROOT / 'tools/train.py', TOY, '--launcher', launcher, cwd=tmp_path, fails=True)
    assert f'error: --launcher {launcher} is for processes started by ' in out and starter in out


def test_torchrun_tells_why_a_process_failed(demo_ade20k, tmp_path):
    """In its summary, instead of the advice to read a web page; here of a misspelt runner."""
    code, out = run_script(
        'dist_train.sh', TOY, 1, '--cfg-options', 'runner_type=FlexibelRunner',
        *[f'{split}_dataloader.dataset.data_root={demo_ade20k}' for split in ('train', 'val')],
        cwd=tmp_path, PORT=free_port())
    summary = out[out.index('Root Cause'):]
    assert code and 'FlexibelRunner is not in the runner registry' in summary
    assert 'To enable traceback' not in summary
