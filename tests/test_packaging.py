# Copyright (c) mmvisionmix authors. All rights reserved.
"""Every kind of install has a usable ``.mim``, and uninstalling it leaves nothing.

Each install goes into a virtual environment of its own, which sees the packages of the running one.
"""
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import mmvisionmix
from mmvisionmix._compat import is_installed

ROOT = Path(__file__).resolve().parent.parent
PARTS = ('LICENSE', 'MANIFEST.in', 'README.md', 'setup.py', 'model-index.yml', 'requirements',
         'configs', 'tools', 'mmvisionmix')
LOCAL = ['--no-deps', '--no-build-isolation']
CONFIG = 'upernet_lkca_s_ade20k'
FORKS = is_installed('onedl-mim')  # takes its own packages' layout for everyone's

# What a downstream project does, in a folder outside the clone.
PROBE = f"""
import json
import mim.utils
import mmengine.utils
from mmengine.config import Config
import mmvisionmix

inherited = Config.fromfile('inherits.py')
print(json.dumps(dict(
    module=mmvisionmix.__file__,
    mmengine=mmengine.utils.get_installed_path('mmvisionmix'),
    mim=mim.utils.get_installed_path('mmvisionmix'),
    config=mmvisionmix.config_path('{CONFIG}'),
    backbone=inherited.model.backbone.type)))
"""


class Environment:
    """A throw-away virtual environment without pip of its own: the running pip serves it."""

    def __init__(self, folder):
        venv.create(folder, with_pip=False)
        self.python = folder / 'bin' / 'python'
        self.site = Path(sysconfig.get_path('purelib', vars={'base': str(folder)}))
        (self.site / 'running-environment.pth').write_text(sysconfig.get_path('purelib'))

    def pip(self, *arguments):
        run([sys.executable, '-m', 'pip', '--python', self.python, *arguments])

    def probe(self, cwd):
        """Runs ``PROBE`` in a folder that holds a config which inherits one of ours."""
        inherits = "_base_ = 'mmvisionmix::lkca/lkca-s_upernet_1xb16-20k_ade20k-512x512.py'\n"
        (cwd / 'inherits.py').write_text(inherits)
        return json.loads(run([self.python, '-W', 'ignore', '-c', PROBE], cwd=cwd))

    def files(self):
        return {p.relative_to(self.site).as_posix() for p in self.site.rglob('*')}


def run(command, **options):
    """Runs a command and returns its output; a failure shows what it wrote."""
    clean = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    result = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env=clean, **options)
    assert result.returncode == 0, f'{command}\n{result.stdout}\n{result.stderr}'
    return result.stdout


def build_wheel(tree, out):
    run([sys.executable, '-m', 'pip', 'wheel', *LOCAL, '-w', out, tree])
    return next(out.glob('mmvisionmix-*.whl'))


def build_sdist(tree, out):
    run([sys.executable, 'setup.py', 'sdist', '--dist-dir', out], cwd=tree)
    return next(out.glob('mmvisionmix-*.tar.gz'))


def mim_files(root):
    """Lists the files that belong into .mim, as they lie in the clone."""
    entries = [p for part in ('configs', 'tools') for p in (root / part).rglob('*')]
    files = [p for p in entries if p.is_file() and p.suffix != '.pyc']
    return {p.relative_to(root).as_posix() for p in [*files, root / 'model-index.yml']}


@pytest.fixture
def tree(tmp_path):
    """A copy of what git holds of the package, links included."""
    copy = tmp_path / 'a clone'
    copy.mkdir()
    ignored = shutil.ignore_patterns('__pycache__', '*.egg-info')
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, copy / part, symlinks=True, ignore=ignored)
        else:
            shutil.copy2(source, copy / part)
    return copy


def install_wheel(environment, tree):
    environment.pip('install', '--no-deps', build_wheel(tree, tree.parent))


def install_sdist(environment, tree):
    environment.pip('install', *LOCAL, build_sdist(tree, tree.parent))


def install_editable(environment, tree):
    """PEP 660, as a new pip does it: in isolation, with the newest setuptools from PyPI."""
    environment.pip('install', '--no-deps', '--use-pep517', '-e', tree)


def install_develop(environment, tree):
    """What an old pip runs for an editable install."""
    run([environment.python, 'setup.py', 'develop', '--no-deps'], cwd=tree)


COPYING = [install_wheel, install_sdist]
LINKING = [install_editable, install_develop]


@pytest.mark.parametrize('install', COPYING + LINKING)
def test_install(install, tree, tmp_path):
    environment = Environment(tmp_path / 'environment')
    before = environment.files()
    install(environment, tree)

    package = (tree if install in LINKING else environment.site) / 'mmvisionmix'
    found = environment.probe(cwd=tmp_path)
    assert Path(found['module']) == package / '__init__.py'
    assert Path(found['mmengine']) == package
    assert FORKS or Path(found['mim']) == package
    assert Path(found['config']).samefile(package / '.mim' / 'configs' / f'{CONFIG}.py')
    assert found['backbone'] == 'mmvisionmix.LKCAViT'
    assert mim_files(package / '.mim') == mim_files(tree)

    environment.pip('uninstall', '--yes', 'mmvisionmix')
    # setuptools keeps one easy-install.pth for all packages, and leaves it empty.
    assert environment.files() - before <= {'easy-install.pth'}
    assert not any(str(tree) in pth.read_text() for pth in environment.site.glob('*.pth'))


def test_links_lead_to_the_clone():
    links = list((ROOT / 'mmvisionmix' / '.mim').iterdir())
    assert {link.name for link in links} == {'configs', 'tools', 'model-index.yml'}
    for link in links:
        assert os.readlink(link) == f'../../{link.name}'


def test_wheel_holds_the_package_alone_and_needs_no_family(tree, tmp_path):
    with zipfile.ZipFile(build_wheel(tree, tmp_path)) as wheel:
        names = wheel.namelist()
        metadata = wheel.read(next(name for name in names if name.endswith('/METADATA'))).decode()
    assert {name.split('/')[0].partition('-')[0] for name in names} == {'mmvisionmix'}
    assert not [name for name in names if '__pycache__' in name]
    fields = Parser().parsestr(metadata)
    assert fields['Version'] == mmvisionmix.__version__
    assert {'cls', 'det', 'forks', 'mim', 'seg'} < set(fields.get_all('Provides-Extra'))
    # An mmengine here would be put over the one of the forks, and mmcv over mmcv-lite.
    plain = [text for text in fields.get_all('Requires-Dist') if 'extra' not in text]
    assert sorted(Requirement(text).name for text in plain) == ['packaging', 'torch']
