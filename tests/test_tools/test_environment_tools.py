# Copyright (c) mmvisionmix authors. All rights reserved.
"""The tools that prepare and check the environment."""
import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from packaging.specifiers import SpecifierSet

TOOLS = Path(__file__).resolve().parent.parent.parent / 'tools'


def load_tool(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module(name)


@pytest.fixture
def quiet_run(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load_tool('quiet_run', monkeypatch)


@pytest.fixture
def install_mmcv(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load_tool('install_mmcv', monkeypatch)


@pytest.fixture
def check_env(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load_tool('check_env', monkeypatch)


def test_quiet_run_keeps_the_output_in_its_log(
        quiet_run: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    log = tmp_path / 'new folder' / 'log.txt'
    quiet_run.quiet_run([sys.executable, '-c', 'print("secret")'], log)
    assert log.read_text() == 'secret\n'
    assert capsys.readouterr().out.strip() == 'done in 0:00'


def test_quiet_run_shows_the_end_of_a_failure(quiet_run: ModuleType, tmp_path: Path) -> None:
    code = 'import sys; [print(f"line {i};") for i in range(100)]; sys.exit(3)'
    with pytest.raises(SystemExit) as error:
        quiet_run.quiet_run([sys.executable, '-c', code], tmp_path / 'log.txt')
    message = str(error.value)
    assert 'line 99;' in message
    assert 'line 9;' not in message
    assert message.endswith(f'The whole log: {tmp_path / "log.txt"}')


@pytest.mark.parametrize('text, expected', [
    ('', ''),
    ('Collecting torch\nInstalling torch\n\n', 'Installing torch'),
    ('  [9/77] c++ a.cpp\n  [10/77] c++ b.cpp\nnote: [1]\n', '10/77 files compiled'),
])
def test_progress(quiet_run: ModuleType, text: str, expected: str) -> None:
    assert quiet_run.progress(text) == expected


def test_wheels_are_kept_apart_by_torch(
        install_mmcv: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('MMVISIONMIX_CACHE', str(tmp_path))
    folders = set()
    for version in ('2.1.2', '2.1.2+cu121', '2.2.0'):
        monkeypatch.setattr(torch, '__version__', version)
        folders.add(install_mmcv.wheel_folder())
    assert len(folders) == 3
    assert all(folder.parent == tmp_path for folder in folders)


@pytest.mark.parametrize('memory_gib, cores, jobs', [(64, 4, '4'), (5, 16, '2'), (1, 4, '1')])
def test_build_jobs_fit_into_memory(
        install_mmcv: ModuleType, memory_gib: int, cores: int, jobs: str,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv('MAX_JOBS', raising=False)
    monkeypatch.setattr(install_mmcv, 'available_memory', lambda: memory_gib << 30)
    monkeypatch.setattr(install_mmcv.os, 'cpu_count', lambda: cores)
    assert install_mmcv.build_environment()['MAX_JOBS'] == jobs


def test_missing_compiler_is_named(
        install_mmcv: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install_mmcv.shutil, 'which', lambda name: None)
    assert 'apt install g++' in install_mmcv.missing_for_build()


def test_pin_is_the_tested_one(install_mmcv: ModuleType) -> None:
    assert install_mmcv.read_pin() == 'mmcv==2.1.0'


def test_both_stacks_hold_the_same_codebases(check_env: ModuleType) -> None:
    classic, modern = (
        check_env.read_requirements(TOOLS.parent / f'requirements/{stack}.txt')
        for stack in ('classic', 'modern'))
    for name in ('mmcv', 'mmcv-lite', 'mmdet', 'mmengine', 'mmpretrain', 'mmsegmentation',
                 'mypy', 'openmim', 'ruff'):
        assert classic[name] == modern[name] != SpecifierSet()
    assert not (classic['torch'] == modern['torch'] or classic['numpy'] == modern['numpy'])


def test_unknown_stack_is_answered_with_the_known_ones() -> None:
    result = subprocess.run(
        ['bash', str(TOOLS / 'run_tests.sh'), '--stack', 'future'], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True)
    assert result.returncode == 1
    assert result.stderr == 'ERROR: there is no stack future; there are classic, modern and lite\n'


def test_extras_choose_what_is_checked(check_env: ModuleType) -> None:
    names = {row.name for row in check_env.check_dependencies(extras=['seg'])}
    assert {'torch', 'mmcv', 'mmsegmentation'} <= names
    assert not names & {'mmdet', 'mmpretrain', 'pytest'}


def test_mmcv_lite_serves_all_but_detection(
        check_env: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {'mmcv': None, 'mmcv-lite': '2.1.0'}
    monkeypatch.setattr(check_env, 'installed_version', lambda name: versions.get(name, '1.0'))
    rows = {row.name: row.ok for row in check_env.check_dependencies(extras=['cls', 'seg'])}
    assert rows['mmcv-lite'] and 'mmcv' not in rows
    rows = {row.name: row.ok for row in check_env.check_dependencies(extras=['det'])}
    assert not rows['mmcv'] and 'mmcv-lite' not in rows


def test_installed_packages_are_found(check_env: ModuleType) -> None:
    rows = {row.name: row for row in check_env.check_dependencies()}
    found = rows['torch'].found.partition('+')[0]  # some wheels leave +cpu out of their metadata
    assert found == torch.__version__.partition('+')[0]
    assert rows['python'].ok and rows['torch'].ok and rows['mmcv'].ok
    assert check_env.check_operators().ok


def test_requirements_are_read(check_env: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / 'requirements.txt'
    file.write_text('# why\nnumpy<2  # because\n\ntorch\n')
    assert check_env.read_requirements(file) == {
        'numpy': SpecifierSet('<2'), 'torch': SpecifierSet()}


def test_constraints_narrow_what_is_installed(check_env: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / 'constraints.txt'
    file.write_text('torch==0.1\nsomething-not-installed==1.0\n')
    rows = {row.name: row for row in check_env.check_dependencies(file)}
    assert 'something-not-installed' not in rows
    assert not rows['torch'].ok


def test_verdicts(check_env: ModuleType) -> None:
    good = check_env.Row('torch', '>=2.1', '2.1.2', True)
    bad = check_env.Row('torch', '>=2.1', '1.0', False)
    absent = check_env.Row('mmvisionmix', 'here', 'none', False)
    elsewhere = check_env.Row('mmvisionmix', 'here', 'there', False)
    assert check_env.verdict([good]) == (0, '')
    assert check_env.verdict([good, absent]) == (2, check_env.MEND_SELF)
    assert check_env.verdict([bad])[0] == 1
    assert check_env.verdict([good, elsewhere])[0] == 1
