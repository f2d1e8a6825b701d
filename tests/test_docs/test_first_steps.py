# Copyright (c) mmvisionmix authors. All rights reserved.
"""The commands of docs/first_steps.md, as they stand there, on a checkpoint of a short training."""
import os
import re
import subprocess
import sys
from pathlib import Path

import mmcv
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / 'docs/first_steps.md').read_text(encoding='utf-8')
CONFIG = 'configs/toy/lkca_upernet_demo-ade20k.py'
TRAIN = f'''
python tools/dataset_tools/make_demo_data.py ade20k --train 8 --val 8
python tools/train.py {CONFIG} --work-dir work_dirs/quickstart --cfg-options \
    train_cfg.max_iters=2 default_hooks.checkpoint.interval=2
mv work_dirs/quickstart/iter_2.pth work_dirs/quickstart/iter_600.pth
'''


def blocks(heading, language):
    """The blocks of code below a heading of the page."""
    section = re.search(rf'^## {heading}\n(.*?)(?=^## |\Z)', PAGE, re.DOTALL | re.MULTILINE)
    return re.findall(rf'^```{language}\n(.*?)^```', section.group(1), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope='module')
def clone(tmp_path_factory):
    """A folder with tools, configs, data and a checkpoint where the quickstart leaves it."""
    folder = tmp_path_factory.mktemp('clone')
    for name in ('tools', 'configs'):
        (folder / name).symlink_to(ROOT / name)
    run(folder, TRAIN)
    return folder


def run(folder, commands):
    """Runs commands in a shell whose ``python`` is this one; returns what they print."""
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    result = subprocess.run(
        ['bash', '-ec', commands], cwd=folder, timeout=500, text=True,
        env={**os.environ, 'PATH': path}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert result.returncode == 0, result.stdout[-4000:]
    return result.stdout


def follow(folder, heading):
    """Writes the files below a heading, named in their first lines, and runs the commands."""
    for block in blocks(heading, 'python'):
        (folder / block.partition('\n')[0].split()[-1]).write_text(block)
    return run(folder, '\n'.join(blocks(heading, 'bash')))


def test_a_picture_is_segmented(clone):
    follow(clone, 'A picture of your own')
    drawn, = (clone / 'work_dirs/first_steps/vis').iterdir()
    classes, = (clone / 'work_dirs/first_steps/pred').iterdir()
    assert mmcv.imread(str(drawn)).shape == (128, 128, 3)
    assert mmcv.imread(str(classes), 'unchanged').max() < 10


def test_partitions_and_kernels_are_drawn(clone):
    follow(clone, 'What a mixer looks at')
    for name in ('partitions', 'kernels'):
        assert mmcv.imread(str(clone / f'work_dirs/first_steps/{name}.png')).std() > 20


def test_an_onnx_file_is_written_and_run(clone):
    out = follow(clone, 'ONNX')
    shares = re.findall(r'^(\w+) +(\d+)%$', out, re.MULTILINE)
    assert shares and sum(int(share) for _, share in shares) == pytest.approx(100, abs=len(shares))


def test_a_config_of_ones_own_is_trained_and_tested(clone):
    short = '\n'.join(blocks('A config of your own', 'python')).replace('=100', '=2')
    (clone / 'my_config.py').write_text(short)
    train, test = blocks('A config of your own', 'bash')[0].splitlines()
    run(clone, train + ' --cfg-options default_hooks.checkpoint.interval=2')
    assert 'mIoU:' in run(clone, test.replace('iter_100', 'iter_2'))
