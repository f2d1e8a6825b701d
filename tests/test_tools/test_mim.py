# Copyright (c) mmvisionmix authors. All rights reserved.
"""What mim does with the installed package, from a folder outside the repository.

onedl-mim finds a package only where it is linked to a clone, and configs by their path alone.
"""
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config
from test_packaging import FORKS, LOCAL, PARTS, Environment, run
from test_train_and_test import toy_options

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs'
ROWS = {row['Name']: row for file in CONFIGS.glob('*/metafile.yml')
        for row in yaml.safe_load(file.read_text())['Models']}
NAME = 'lkca_upernet_demo-ade20k.py'
TOY = CONFIGS / 'toy' / NAME if FORKS else NAME
LR = 'optim_wrapper.optimizer.lr'
# Counts what `mim train` and `mim test` find by each basename.
FIND = """
import json, sys
from mim.utils import get_installed_path, recursively_find

home = get_installed_path('mmvisionmix')
print(json.dumps({name: len(recursively_find(home, name, followlinks=True))
                  for name in sys.argv[1:]}))
"""
pytestmark = pytest.mark.xdist_group('mim')  # one install serves all


@pytest.fixture(scope='module')
def environment(tmp_path_factory):
    """An environment with a copy of the package."""
    folder = tmp_path_factory.mktemp('mim')
    environment = Environment(folder / 'environment')
    (folder / 'clone').mkdir()
    run(['cp', '-RP', *(ROOT / part for part in PARTS), folder / 'clone'])
    environment.pip('install', *LOCAL, *(['-e'] if FORKS else []), folder / 'clone')
    return environment


@pytest.fixture
def mim(environment, tmp_path):
    """Runs mim in a folder of its own; returns its output, or what it failed with."""
    def call(*args, fails=False):
        clean = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
        result = subprocess.run(
            [str(environment.python), '-m', 'mim', *map(str, args)], cwd=tmp_path, env=clean,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
        assert (result.returncode != 0) == fails, result.stdout[-4000:]
        return result.stdout
    return call


@pytest.fixture
def search(mim, tmp_path):
    """Searches; returns the fields that are found, and their values by name of the model."""
    def call(*args):
        mim('search', 'mmvisionmix', *args, '--json', 'found.json')
        return json.loads((tmp_path / 'found.json').read_text())
    return call


@pytest.mark.parametrize('collection, data, most', (
    ('LinGlo', 'ImageNet-1k', 4e6), ('DualFormer', 'COCO', 3.1e7), ('Swin', 'ADE20K', 6e7)))
def test_search_gives_the_rows_of_the_metafiles(search, collection, data, most):
    """By family, data and parameters: those that fit, with their figures, and no others."""
    rows = {name: row for name, row in ROWS.items()
            if row['In Collection'] == collection and row['Metadata']['Training Data'] == data
            and row['Metadata']['Parameters'] < most}
    fields = search('--model', collection, '--dataset', data, '--condition', f'parameters<{most}',
                    '--field', 'parameters', 'flops', 'config')
    assert rows
    for field, key in (('parameters', 'Parameters'), ('flops', 'FLOPs')):
        assert fields[field] == {name: row['Metadata'][key] for name, row in rows.items()}
    assert fields['config'] == {name: row['Config'] for name, row in rows.items()}
    assert all((ROOT / file).is_file() for file in fields['config'].values())


@pytest.mark.skipif(FORKS, reason='onedl-mim finds each config twice')
def test_every_config_is_found_by_its_name(environment, tmp_path):
    """Bases are looked through too, so that one of them must not have the name of a config."""
    names = [file.name for file in CONFIGS.rglob('*.py') if '_base_' not in file.parts]
    assert {f'{name}.py' for name in ROWS} < set(names)
    found = json.loads(run([environment.python, '-W', 'ignore', '-c', FIND, *names], cwd=tmp_path))
    assert found == dict.fromkeys(names, 1)


def test_trains_and_tests_by_name(mim, demo_ade20k, tmp_path):
    common = ['--gpus', '0', '--launcher', 'none']
    options = toy_options(demo_ade20k, 2)
    out = mim('train', 'mmvisionmix', TOY, *common, '--work-dir', 'work', *options)
    assert 'Training finished successfully' in out
    validated = re.search(r'Iter\(val\) \[1/1\] +aAcc: [\d.]+ +mIoU: ([\d.]+)', out).group(1)
    out = mim('test', 'mmvisionmix', TOY, '--checkpoint', 'work/iter_2.pth', *common, *options)
    assert 'Testing finished successfully' in out
    tested = re.search(r'Iter\(test\) \[1/1\] +aAcc: [\d.]+ +mIoU: ([\d.]+)', out).group(1)
    assert tested == validated and float(tested) > 0
    out = mim('run', 'mmvisionmix', 'reparameterize', CONFIGS / 'toy' / NAME, 'work/iter_2.pth',
              'deployed.pth', '--size', '128', '128')
    assert 'relative error' in out and (tmp_path / 'deployed.pth').is_file()


def test_grid_search_runs_every_point(mim, demo_ade20k, tmp_path):
    out = mim(
        'gridsearch', 'mmvisionmix', TOY, '--gpus', '0', '--launcher', 'none', '--work-dir', 'grid',
        '--search-args', f'--{LR} 1e-3 1e-4', *toy_options(demo_ade20k, 2))
    assert len(re.findall(r'Exp .* finished successfully', out)) == 2
    for rate in (0.001, 0.0001):
        dumped, = tmp_path.glob(f'grid_search_{LR}_{rate}/*/vis_data/config.py')  # by the run
        assert Config.fromfile(dumped).optim_wrapper.optimizer.lr == rate
