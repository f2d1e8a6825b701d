# Copyright (c) mmvisionmix authors. All rights reserved.
"""The version guard, ``mmvisionmix::`` inheritance and ``config_path``."""
import re
import subprocess
import sys
from pathlib import Path

import mmcv
import mmengine
import pytest
from mmengine.config import Config
from mmengine.config import utils as mmengine_utils

from mmvisionmix import _compat, _configs, config_path

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / 'configs'
NAMES = sorted(p.relative_to(CONFIGS).as_posix() for p in CONFIGS.rglob('*.py'))


def test_import_brings_no_codebase():
    code = ('import sys, mmvisionmix; '
            'print({"mmseg", "mmdet", "mmpretrain", "torchvision"} & set(sys.modules))')
    result = subprocess.run([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True)
    assert result.stdout.strip() == 'set()'


@pytest.fixture
def having(monkeypatch):
    """Pretends that these distributions are installed, and that the modules have these versions."""
    def pretend(*distributions, mmengine_version='0.10.7', mmcv_version='2.1.0'):
        monkeypatch.setattr(_compat, 'is_installed', lambda name: name in distributions)
        monkeypatch.setattr(mmengine, '__version__', mmengine_version)
        monkeypatch.setattr(mmcv, '__version__', mmcv_version)
    return pretend


@pytest.mark.parametrize('distributions, mmengine_version, mmcv_version', (
    (('mmengine', 'mmcv'), '0.10.7', '2.1.0'), (('mmengine', 'mmcv-lite'), '0.10.99', '2.1.9'),
    (('onedl-mmengine', 'onedl-mmcv'), '0.10.12', '2.3.6'), ((), '0.10.7', '2.1.0')))
def test_versions_of_either_family_serve(having, distributions, mmengine_version, mmcv_version):
    having(*distributions, mmengine_version=mmengine_version, mmcv_version=mmcv_version)
    _compat.check_versions()


@pytest.mark.parametrize('distributions, versions, found, command', (
    (('mmengine', ), dict(mmengine_version='0.10.6'), 'mmengine>=0.10.7,<0.11, but found 0.10.6',
     'pip install "mmengine>=0.10.7,<0.11"'),
    (('onedl-mmengine', ), dict(mmengine_version='0.11.0rc1'), 'but found 0.11.0rc1',
     'pip install "onedl-mmengine>=0.10.7,<0.11"'),
    (('mmengine', 'mmcv'), dict(mmcv_version='2.2.0'), 'mmcv>=2.1.0,<2.2.0, but found 2.2.0',
     'pip install --no-build-isolation "mmcv>=2.1.0,<2.2.0"'),
    (('mmengine', 'mmcv-lite'), dict(mmcv_version='2.0.1'), 'but found 2.0.1',
     'pip install "mmcv-lite>=2.1.0,<2.2.0"'),
    (('onedl-mmengine', 'onedl-mmcv'), dict(mmcv_version='2.1.0'), 'mmcv>=2.3.0,<2.4.0, but found',
     'pip install --no-build-isolation "onedl-mmcv>=2.3.0,<2.4.0"'),
    (('mmengine', 'onedl-mmengine'), {}, 'mmengine and onedl-mmengine overwrite each other',
     'pip uninstall -y mmengine onedl-mmengine'),
    (('mmcv', 'mmcv-lite'), {}, 'overwrite', 'pip uninstall -y mmcv mmcv-lite')))
def test_other_versions_are_named_with_what_fixes_them(
        having, distributions, versions, found, command):
    having(*distributions, **versions)
    with pytest.raises(ImportError) as error:
        _compat.check_versions()
    assert found in str(error.value) and f'\n    {command}' in str(error.value)


@pytest.mark.parametrize('engine, offered, others', (
    ('mmengine', ('mmcv', 'mmcv-lite'), 'onedl'), ('onedl-mmengine', ('onedl-mmcv', ), 'lite')))
def test_a_missing_mmcv_is_offered_from_the_family_that_is_there(
        having, monkeypatch, engine, offered, others):
    having(engine)
    monkeypatch.setitem(sys.modules, 'mmcv', None)
    with pytest.raises(ImportError, match='found none') as error:
        _compat.check_versions()
    assert all(f'"{name}>=' in str(error.value) for name in offered)
    assert others not in str(error.value)


def test_broken_mmcv_shows_its_own_error(having, monkeypatch):
    having('mmengine', 'mmcv')
    for name in [name for name in sys.modules if name.partition('.')[0] == 'mmcv']:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'cv2', None)
    with pytest.raises(ModuleNotFoundError, match='cv2'):
        _compat.check_versions()


def test_guard_agrees_with_requirements():
    wanted = (ROOT / 'requirements/mminstall.txt').read_text()
    wanted += (ROOT / 'requirements/forks.txt').read_text().replace('.3,<2.4', '.3.0,<2.4.0')
    for versions in _compat.VERSIONS.values():
        for name, version in versions.items():
            assert name == 'mmcv-lite' or f'\n{name}{version}\n' in wanted
    assert 'mmengine' not in (ROOT / 'requirements/runtime.txt').read_text()


@pytest.mark.parametrize('name', NAMES)
def test_config_path_by_path_and_by_basename(name):
    path = config_path(name)
    assert Path(path).is_absolute() and Path(path).samefile(CONFIGS / name)
    assert config_path(name[:-len('.py')]) == path
    if not name.startswith('_base_'):
        assert config_path(Path(name).name) == config_path(Path(name).stem) == path


@pytest.mark.parametrize('name, message', (
    ('upernet_lkca_ade20k', "no config 'upernet_lkca_ade20k'. Did you mean: upernet_lkca_s_ade20k"),
    ('%%%', 'All configs are in'), ('../setup.py', 'no config')))
def test_unknown_configs_are_named_with_those_near(name, message):
    with pytest.raises(FileNotFoundError) as error:
        config_path(name)
    assert message in str(error.value)


def test_config_path_says_what_a_clone_without_links_needs(tmp_path, monkeypatch):
    monkeypatch.setattr(_configs, 'CONFIGS', tmp_path / 'configs')
    with pytest.raises(FileNotFoundError, match='configs leads nowhere.*core.symlinks=true'):
        config_path('upernet_lkca_s_ade20k')


def test_config_path_refuses_ambiguous_names(tmp_path, monkeypatch):
    for folder in ('a', 'b'):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / 'same.py').touch()
    monkeypatch.setattr(_configs, 'CONFIGS', tmp_path)
    assert config_path('b/same') == str(tmp_path / 'b' / 'same.py')
    with pytest.raises(ValueError, match='a/same, b/same'):
        config_path('same')


@pytest.mark.parametrize('base', (
    "'mmvisionmix::lkca/lkca-s_upernet_1xb16-20k_ade20k-512x512.py'",
    "[__import__('mmvisionmix').config_path('upernet_lkca_s_ade20k')]"))
def test_inheritance(tmp_path, base):
    (tmp_path / 'child.py').write_text(f'_base_ = {base}\n')
    assert Config.fromfile(tmp_path / 'child.py').model.backbone.type == 'mmvisionmix.LKCAViT'


def test_bases_of_mmseg_are_found_whatever_its_distribution_is_called(monkeypatch):
    """As the onedl fork of MMEngine looks for a distribution that its mmseg does not have."""
    packages = dict(mmengine_utils.MODULE2PACKAGE, mmseg='mmseg-of-another-name')
    monkeypatch.setattr(mmengine_utils, 'MODULE2PACKAGE', packages)
    with pytest.raises(ModuleNotFoundError, match='mmseg-of-another-name'):
        Config.fromfile(CONFIGS / '_base_/models/fpn_r50.py')
    monkeypatch.setattr(_compat, 'is_installed', lambda name: name == 'onedl-mmsegmentation')
    _compat.make_configs_inheritable()
    assert Config.fromfile(config_path('upernet_lkca_s_ade20k')).model.type == 'EncoderDecoder'


def test_every_segmentor_imports_mmvisionmix_before_it_names_mmseg():
    """Stock tools read our configs before they import anything of ours."""
    for name in NAMES:
        text = (CONFIGS / name).read_text()
        if '_base_/' not in name.partition('/')[0] + '/' and 'mmseg::' in text:
            first = re.search(r"segmentation_runtime.py|__import__\('mmvisionmix'\)", text)
            assert first and first.start() < text.index('mmseg::'), name
