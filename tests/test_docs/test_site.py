# Copyright (c) mmvisionmix authors. All rights reserved.
"""The site that mkdocs builds of the pages, and the API reference in it."""
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mmvisionmix

pytest.importorskip('material', reason='mkdocs-material makes the site: pip install ".[docs]"')

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = [info.name for info in pkgutil.walk_packages(mmvisionmix.__path__, 'mmvisionmix.')
            if info.ispkg and hasattr(importlib.import_module(info.name), '__all__')]


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """The site, built with warnings, of broken links among others, as errors."""
    folder = tmp_path_factory.mktemp('site')
    result = subprocess.run(
        [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--site-dir', str(folder)], cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    assert result.returncode == 0, result.stdout[-4000:]
    return folder


def test_pages_load_nothing_from_elsewhere(site):
    for page in site.rglob('*.html'):
        assert not re.findall(r'(?:src|stylesheet" href)="(?:https?:)?//', page.read_text())


@pytest.mark.parametrize('package', PACKAGES)
def test_everything_public_is_in_the_api_reference(site, package):
    listed = {place for page in site.glob('api/*.html')
              for place in re.findall(r'\sid="(mmvisionmix[^"]*)"', page.read_text())}
    parent = package.rpartition('.')[0]  # mmvisionmix.models has what its backbones/ has
    missing = [
        name for name in importlib.import_module(package).__all__
        if not listed & {f'{package}.{name}', f'{package}.{name}.{name}', f'{parent}.{name}'}]
    assert not missing


def test_reference_is_free_of_other_markup(site):
    for page in site.glob('api/*.html'):
        assert not re.search(r':(func|class|meth|mod|attr):|</code>_|::</p>', page.read_text())
