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
COPIED = ('mmvisionmix', 'pytest.ini', 'ruff.toml', 'mypy.ini', 'tests/conftest.py',
          'tests/test_ops', 'tests/test_models')


@pytest.fixture(scope='module')
def clone(tmp_path_factory):
    """A copy of the package and its tests, with the page's files in it."""
    folder = tmp_path_factory.mktemp('clone')
    for name in COPIED:
        (folder / name).parent.mkdir(exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name, **(dict(symlinks=True) if copy is not shutil.copy else {}))
    for block in re.findall(r'^```python\n(.*?)^```', PAGE, re.DOTALL | re.MULTILINE):
        title, _, code = block.partition('\n')
        target = folder / title.split()[-1]
        assert target.exists() == title.startswith('# add to '), title
        target.write_text((target.read_text() + '\n' if target.exists() else '') + code)
    return folder


def run(clone, *command):
    """Runs Python in the copy, on the package there."""
    result = subprocess.run(
        [sys.executable, '-W', 'ignore', *command], cwd=clone, timeout=500, text=True,
        env={**os.environ, 'PYTHONPATH': str(clone)}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT)
    assert result.returncode == 0, result.stdout[-4000:]
    return result.stdout


def test_example_builds_trains_and_deploys(clone):
    out = run(clone, 'try_cross_net.py')
    before, after = map(float, re.search(r'loss ([\d.]+), after one step ([\d.]+)', out).groups())
    assert after < before
    error, params = map(float, re.search(r'error (\S+), ([\d.]+)M', out).groups())
    assert error < 1e-5
    documented = re.search(r"'t': dict\(  # ([\d.]+)M", PAGE).group(1)
    assert params == pytest.approx(float(documented), abs=0.006)


def test_example_passes_its_tests_and_those_of_every_backbone(clone):
    command = re.search(r'^python (-m pytest .*)$', PAGE.split('### 4.')[1], re.MULTILINE).group(1)
    out = run(clone, *command.split(), '-q', '-p', 'no:cacheprovider')
    assert int(re.search(r'(\d+) passed', out).group(1)) > 20


def test_example_keeps_the_style(clone):
    files = re.findall(r'^# ((?:mmvisionmix|tests)/\S+\.py)$', PAGE, re.MULTILINE)
    assert len(files) == 4
    run(clone, '-m', 'ruff', 'check', '--no-cache', *files)


@pytest.mark.slow
def test_example_has_the_types_that_it_says(clone):
    run(clone, '-m', 'mypy')
