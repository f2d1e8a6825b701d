# Copyright (c) mmvisionmix authors. All rights reserved.
"""The backbone that docs/contributing.md adds, read from the page and added to a copy."""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / 'docs/contributing.md').read_text(encoding='utf-8')
COPIED = ('mmvisionmix', 'pytest.ini', 'ruff.toml', 'mypy.ini', 'conftest.py',
          'tests/test_models', 'tools')
CONFIG = '''
default_scope = 'mmpretrain'
data_preprocessor = dict(mean=[127.5] * 3, std=[127.5] * 3)
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmvisionmix.CrossNet', out_indices=-1, gap_before_norm=True),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=256))
'''
TRY = '''
import timm, torch
from mmengine.config import Config
import mmvisionmix.timm_models
from mmvisionmix.complexity import count_complexity
from mmvisionmix.export import OnnxModel, size_multiple, to_onnx
from mmvisionmix.models import switch_to_deploy
from mmvisionmix.models.backbones import CrossNet
from mmvisionmix.visualization import block_maps, mixing_rows, views_of

torch.manual_seed(0)
cfg = Config.fromfile('config.py')
plain, folded = (count_complexity(cfg, deployed=deployed, size=(64, 64))
                 for deployed in (False, True))
assert plain.parameters > folded.parameters and plain.macs > folded.macs > 1e7
parameters = sum(param.numel() for param in CrossNet(out_indices=-1).parameters())
assert round(parameters / 1e6, 2) == COUNT

model = timm.create_model('cross_t', num_classes=7)
assert model.feature_info[-1]['num_chs'] == 256 and model.feature_info[-1]['reduction'] == 32
assert model.no_weight_decay() == {name for name, _ in model.named_parameters()
                                   if name.endswith(('.row', '.column'))} != set()
backbone, images = model.backbone, torch.randn(2, 3, 64, 96)
classes = model(images)
classes.square().mean().backward()
assert all(param.grad.isfinite().all() for param in model.parameters())
features = timm.create_model('cross_t', features_only=True)(images)
assert [out.shape[2] for out in features] == [16, 8, 4, 2]

name = next(iter(mixing_rows(model.eval(), images, (0.6, 0.3))))
assert views_of(model) == ['rows'] and name == 'backbone.stages.0.blocks.0.mixer'
assert len(block_maps(backbone, images)) == sum(backbone.depths) == 10

expected = model(images)
assert size_multiple(model) == 1
axes = dict(images={0: 'batch', 2: 'height', 3: 'width'})
for deploy in (False, True):
    if deploy:
        switch_to_deploy(model)
    run = OnnxModel(to_onnx(model, images, dynamic_axes=axes))
    assert (run(images)[0] - expected).norm() < 1e-5 * expected.norm()
    other = torch.randn(3, 3, 50, 33)
    assert (run(other)[0] - model(other)).norm() < 1e-4 * model(other).norm()
'''


@pytest.fixture(scope='module')
def clone(tmp_path_factory):
    """A copy of the package, its tests and tools, with the page's files in it."""
    folder = tmp_path_factory.mktemp('clone')
    for name in COPIED:
        (folder / name).parent.mkdir(exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name, **(dict(symlinks=True) if copy is not shutil.copy else {}))
    touched = []
    for block in re.findall(r'^```python\n(.*?)^```', PAGE, re.DOTALL | re.MULTILINE):
        title, _, code = block.partition('\n')
        target = folder / title.split()[-1]
        assert target.exists() == title.startswith('# add to '), title
        target.write_text((target.read_text() if target.exists() else '') + code)
        touched.append((title, code.count('\n')))
    package = [(title, lines) for title, lines in touched if '/small_backbones' not in title]
    assert len(package) == 2 and package[1][1] == 1  # its own file, and a line that registers it
    (folder / 'config.py').write_text(CONFIG)
    documented = re.search(r"'t': dict\(  # ([\d.]+)M", PAGE).group(1)
    (folder / 'try.py').write_text(TRY.replace('COUNT', documented))
    return folder


def run(clone, *command):
    """Runs Python in the copy, on the package there."""
    path = (str(clone), os.environ.get('PYTHONPATH'))
    result = subprocess.run(
        [sys.executable, '-W', 'ignore', *command], cwd=clone, timeout=500, text=True,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, path))},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert result.returncode == 0, result.stdout[-4000:]
    return result.stdout


def test_example_gets_counts_export_panels_and_timm(clone):
    run(clone, 'try.py')


def test_example_passes_the_tests_of_every_backbone(clone):
    out = run(clone, '-m', 'pytest', 'tests/test_models/test_backbones.py', '-k', 'CrossNet',
              '-q', '-p', 'no:cacheprovider')
    assert int(re.search(r'(\d+) passed', out).group(1)) >= 20


def test_example_keeps_the_style(clone):
    run(clone, '-m', 'ruff', 'check', '--no-cache', 'mmvisionmix/models/backbones', 'tests')


@pytest.mark.slow
def test_example_has_the_types_that_it_says(clone):
    run(clone, '-m', 'mypy')
