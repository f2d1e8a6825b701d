# Copyright (c) mmvisionmix authors. All rights reserved.
"""The version guard, ``mmvisionmix::`` inheritance and ``config_path``."""
import subprocess
import sys
from pathlib import Path

import mmcv
import mmengine
import pytest
from mmengine.config import Config

from mmvisionmix import _compat, _configs, config_path

CONFIGS = Path(__file__).resolve().parent.parent / 'configs'
NAMES = sorted(p.relative_to(CONFIGS).as_posix() for p in CONFIGS.rglob('*.py'))


def test_import_brings_no_codebase() -> None:
    code = ('import sys, mmvisionmix; '
            'print({"mmseg", "mmdet", "mmpretrain", "torchvision"} & set(sys.modules))')
    result = subprocess.run([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True)
    assert result.stdout.strip() == 'set()'


@pytest.mark.parametrize('version', ['0.10.7', '0.10.99'])
def test_suitable_mmengine(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmengine, '__version__', version)
    _compat.require_mmengine()


@pytest.mark.parametrize('version', ['0.10.6', '0.11.0', '0.11.0rc1', '1.0'])
def test_unsuitable_mmengine(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmengine, '__version__', version)
    with pytest.raises(ImportError) as error:
        _compat.require_mmengine()
    message = str(error.value)
    assert 'needs mmengine>=0.10.7,<0.11' in message
    assert f'found mmengine {version}' in message
    assert 'pip install "mmengine>=0.10.7,<0.11"' in message


@pytest.mark.parametrize('version', ['2.1.0', '2.1.9'])
def test_suitable_mmcv(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmcv, '__version__', version)
    _compat.require_mmcv()


@pytest.mark.parametrize('version', ['2.0.1', '2.2.0', '2.2.0rc1'])
@pytest.mark.parametrize('distribution, command', [('mmcv', 'mim install'),
                                                   ('mmcv-lite', 'pip install')])
def test_unsuitable_mmcv(
        version: str, distribution: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmcv, '__version__', version)
    monkeypatch.setattr(_compat, '_is_installed', lambda name: name == distribution)
    with pytest.raises(ImportError) as error:
        _compat.require_mmcv()
    message = str(error.value)
    assert f'found mmcv {version}' in message
    assert message.endswith(f'\n    {command} "{distribution}>=2.1.0,<2.2.0"')


def test_missing_mmcv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'mmcv', None)
    monkeypatch.setattr(_compat, '_is_installed', lambda name: False)
    with pytest.raises(ImportError) as error:
        _compat.require_mmcv()
    message = str(error.value)
    assert 'found none' in message
    assert 'mim install "mmcv>=2.1.0,<2.2.0"' in message
    assert 'pip install "mmcv-lite>=2.1.0,<2.2.0"' in message


def test_broken_mmcv_shows_its_own_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, 'mmcv')
    monkeypatch.setitem(sys.modules, 'cv2', None)
    for name in [name for name in sys.modules if name.startswith('mmcv.')]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ModuleNotFoundError, match='cv2'):
        _compat.require_mmcv()


def test_is_installed() -> None:
    assert _compat._is_installed('mmengine')
    assert not _compat._is_installed('mmengine-of-another-world')


def test_guard_agrees_with_requirements() -> None:
    folder = CONFIGS.parent / 'requirements'
    mminstall = (folder / 'mminstall.txt').read_text().splitlines()
    assert 'mmengine>=0.10.7,<0.11' in (folder / 'runtime.txt').read_text().splitlines()
    assert f'mmengine{_compat._ordered(_compat.MMENGINE)}' in mminstall
    assert f'mmcv{_compat._ordered(_compat.MMCV)}' in mminstall


@pytest.mark.parametrize('name', NAMES)
def test_config_path_by_relative_path(name: str) -> None:
    path = config_path(name)
    assert Path(path).is_absolute()
    assert Path(path).samefile(CONFIGS / name)
    assert config_path(name[:-len('.py')]) == path


@pytest.mark.parametrize('name', [name for name in NAMES if not name.startswith('_base_')])
def test_config_path_by_basename(name: str) -> None:
    assert config_path(Path(name).name) == config_path(Path(name).stem) == config_path(name)


def test_config_path_lists_near_matches() -> None:
    with pytest.raises(FileNotFoundError) as error:
        config_path('upernet_lkca_ade20k')
    assert "no config 'upernet_lkca_ade20k'" in str(error.value)
    assert 'Did you mean: upernet_lkca_s_ade20k' in str(error.value)


def test_config_path_without_near_matches() -> None:
    with pytest.raises(FileNotFoundError, match='All configs are in'):
        config_path('%%%')


def test_config_path_says_what_a_clone_without_links_needs(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_configs, 'CONFIGS', tmp_path / 'configs')
    with pytest.raises(FileNotFoundError, match='configs leads nowhere.*core.symlinks=true'):
        config_path('upernet_lkca_s_ade20k')


def test_config_path_refuses_what_lies_outside() -> None:
    with pytest.raises(FileNotFoundError):
        config_path('../setup.py')


def test_config_path_refuses_ambiguous_names(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ('a', 'b'):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / 'same.py').touch()
    monkeypatch.setattr(_configs, 'CONFIGS', tmp_path)
    assert config_path('b/same') == str(tmp_path / 'b' / 'same.py')
    with pytest.raises(ValueError, match='a/same, b/same'):
        config_path('same')


def test_inheritance_by_package_name(tmp_path: Path) -> None:
    child = tmp_path / 'child.py'
    child.write_text("_base_ = 'mmvisionmix::lkca/lkca-s_upernet_1xb16-20k_ade20k-512x512.py'\n")
    assert Config.fromfile(child).model.backbone.type == 'mmvisionmix.LKCAViT'


def test_inheritance_by_expression(tmp_path: Path) -> None:
    child = tmp_path / 'child.py'
    child.write_text("_base_ = [__import__('mmvisionmix').config_path('upernet_lkca_s_ade20k')]\n")
    assert Config.fromfile(child).model.backbone.type == 'mmvisionmix.LKCAViT'
