# Copyright (c) mmvisionmix authors. All rights reserved.
import subprocess
import sys
from collections import OrderedDict
from functools import lru_cache

import mmengine
import mmengine.config.utils
import pytest
from mmengine.registry import DefaultScope

from demo_data import SceneRecipe, write_ade20k


@pytest.fixture(scope='session', autouse=True)
def metafiles_are_read_once():
    """MMEngine reads all metafiles of a codebase for every base in it, half a second each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mmengine.config.utils, 'load', lru_cache(maxsize=None)(mmengine.load))
        yield


@pytest.fixture(autouse=True)
def fresh_scope(monkeypatch):
    """Every test starts as a new process does, and leaves no scope of registries to others."""
    monkeypatch.setattr(DefaultScope, '_instance_dict', OrderedDict())


@pytest.fixture(scope='session')
def demo_ade20k(tmp_path_factory):
    """A small demo data set in ADE20K's layout."""
    folder = tmp_path_factory.mktemp('demo') / 'ade20k'
    write_ade20k(folder, SceneRecipe(size=128, train=16, val=4))
    return folder


@pytest.fixture(scope='session')
def run_tool():
    """Runs a Python script as a user would; returns its output, or what it failed with."""
    def run(script, *args, cwd, fails=False):
        result = subprocess.run(
            [sys.executable, str(script), *map(str, args)], cwd=cwd, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=600)
        assert (result.returncode != 0) == fails, result.stdout[-4000:]
        return result.stdout
    return run
