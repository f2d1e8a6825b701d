# Copyright (c) mmvisionmix authors. All rights reserved.
"""The tools that prepare and check the environment."""
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / 'requirements'


@pytest.fixture
def install_mmcv(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    import install_mmcv
    return install_mmcv


@pytest.fixture
def check_env(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    import check_env
    return check_env


# ------------------------------------------------------------------ setup_env.sh
@pytest.fixture
def machine(tmp_path):
    """Runs a script where these Pythons are on the PATH; they say what they are, and no more."""
    def run(script, *pythons, **environment):
        for name, version in pythons:
            python = tmp_path / name
            python.write_text(
                f'#!{sys.executable}\nimport sys\nsys.version_info = {version}\n'
                'if sys.argv[1] != "-c": sys.exit("made by " + sys.argv[0])\nexec(sys.argv[2])\n')
            python.chmod(0o755)
        for name in ('bash', 'cut', 'dirname', 'grep', 'paste', 'sed', 'sleep', 'tail'):
            (tmp_path / name).symlink_to(f'/bin/{name}')
        (tmp_path / 'clone').mkdir()
        (tmp_path / 'clone/tools').symlink_to(ROOT / 'tools')
        result = subprocess.run(
            ['bash', str(tmp_path / 'clone' / script)], text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, env=dict(environment, PATH=str(tmp_path)))
        assert result.returncode
        return result.stdout
    return run


@pytest.mark.parametrize('pythons, environment, chosen, told', (
    ([('python3', (3, 11))], {}, 'python3', '/.venv '),
    ([('python3.12', (2, 7)), ('python3', (3, 10))], {}, 'python3', '/.venv '),  # not what it says
    ([('python3.13', (3, 13))], {}, 'python3.13', 'Without detection'),
    ([('python3.9', (3, 9))], {}, 'python3.9', '/.venv-classic '),
    ([('python3.12', (3, 12))], dict(STACK='onedl'), 'python3.12', '/.venv-onedl '),
    ([('python3', (3, 14))], {}, None, 'install Python 3.12'),
    ([], {}, None, 'install Python 3.12'),
    ([('python3', (3, 11))], dict(STACK='future'), None,
     'ERROR: there is no stack future; there are modern, lite, onedl and classic\n')))
def test_any_python_serves_or_is_told_what_to_install(machine, pythons, environment, chosen, told):
    out = machine('tools/setup_env.sh', *pythons, **environment)
    assert told in out
    assert out.endswith(f'/{chosen}\n') if chosen else 'ERROR: ' in out and 'made by' not in out


# ------------------------------------------------------------------ install_mmcv.py
@pytest.mark.parametrize('pins, pin, wheel', (
    ('modern', 'mmcv==2.1.0', 'mmcv-2.1.0-cp311-cp311-linux_x86_64.whl'),
    ('onedl', 'onedl-mmcv==2.3.6', 'onedl_mmcv-2.3.6-cp311-cp311-linux_x86_64.whl')))
def test_wheels_of_the_families_are_told_apart(install_mmcv, tmp_path, pins, pin, wheel):
    assert install_mmcv.read_pin(REQUIREMENTS / f'{pins}.txt') == pin
    for name in ('mmcv-2.1.0-cp311', 'onedl_mmcv-2.3.6-cp311', 'mmcv-2.2.0-cp311'):
        (tmp_path / f'{name}-cp311-linux_x86_64.whl').touch()
    assert install_mmcv.find_wheel(pin, tmp_path).name == wheel
    assert install_mmcv.find_wheel(pin, tmp_path / 'none') is None
    with pytest.raises(SystemExit, match='no file with a version of mmcv'):
        install_mmcv.read_pin(tmp_path / 'none.txt')


def test_wheels_are_kept_apart_by_torch(install_mmcv, tmp_path, monkeypatch):
    monkeypatch.setenv('MMVISIONMIX_CACHE', str(tmp_path))
    folders = set()
    for version in ('2.1.2', '2.1.2+cu121', '2.11.0'):
        monkeypatch.setattr(torch, '__version__', version)
        folders.add(install_mmcv.wheel_folder())
    assert len(folders) == 3 and {folder.parent for folder in folders} == {tmp_path}


# ------------------------------------------------------------------ check_env.py
def test_the_pins_of_both_families_serve(check_env):
    """What the stacks install is what the requirements ask for."""
    own = ('mminstall', 'cls', 'seg', 'det')
    for stack, extras in (('modern', own), ('classic', own), ('onedl', ('forks', ))):
        pins = check_env.read_requirements(REQUIREMENTS / f'{stack}.txt')
        for extra in (*extras, 'runtime'):
            wanted = check_env.read_requirements(REQUIREMENTS / f'{extra}.txt')
            for name, versions in wanted.items():
                pinned = [pin.version for pin in pins.get(name, ()) if pin.operator == '==']
                assert all(versions.contains(version) for version in pinned), (stack, name)
                assert pinned or name in ('packaging', 'ftfy', 'regex', 'scipy')


def test_this_environment_is_as_it_should_be(check_env, capsys, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['check_env.py', '--extras', 'seg', 'demo'])
    monkeypatch.setattr(
        check_env, 'check_package', lambda: check_env.Row('mmvisionmix', '', '', True))
    assert check_env.main() == 0
    assert re.search(r'^scikit-image +any +\S+ +yes$', capsys.readouterr().out, re.MULTILINE)
