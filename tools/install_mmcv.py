# Copyright (c) mmvisionmix authors. All rights reserved.
"""Installs mmcv with its compiled operators into the environment whose Python runs this.

In this order: a wheel built by an earlier run, OpenMMLab's prebuilt wheel, a build from source.
A built wheel is kept outside the clone, in a folder of its own for each Python, torch and
platform: mmcv is compiled against one torch, but its wheel's name does not say which.
"""
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import List, Optional

import torch
from quiet_run import quiet_run

ROOT = Path(__file__).resolve().parent.parent
PIP = [sys.executable, '-m', 'pip', '--disable-pip-version-check']
WHEEL_PAGE = 'https://download.openmmlab.com/mmcv/dist/{device}/torch{series}.0/index.html'
GIB_PER_JOB = 2  # what one compiler process may need


def main() -> None:
    """Installs mmcv by the quickest way that gives working operators."""
    pin, folder = read_pin(), wheel_folder()
    if not problem_with(pin):
        say(f'{pin} is there already')
    elif install_wheel(folder):
        say(f'{pin} from an earlier build: {folder}')
    elif install_prebuilt(pin):
        say(f'{pin} from OpenMMLab\'s prebuilt wheel')
    else:
        say(f'no prebuilt wheel of {pin} within reach: building it from source')
        build_wheel(pin, folder)
        if not install_wheel(folder):
            raise SystemExit(f'The wheel built in {folder} does not work: {problem_with(pin)}')


def read_pin() -> str:
    """Reads the pinned version, ``mmcv==...``."""
    lines = (ROOT / 'requirements' / 'classic.txt').read_text().splitlines()
    return next(line for line in lines if line.startswith('mmcv=='))


def wheel_folder() -> Path:
    """Returns the folder for wheels that fit this Python, torch and platform."""
    home_cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    cache = Path(os.environ.get('MMVISIONMIX_CACHE') or home_cache / 'mmvisionmix')
    python = f'cp{sys.version_info.major}{sys.version_info.minor}'
    device = 'cuda' if builds_cuda() else 'cpu'
    return cache / f'{python}-torch{torch.__version__}-{sysconfig.get_platform()}-{device}'


def builds_cuda() -> bool:
    """Whether a build here includes CUDA operators: that takes a GPU and the CUDA compiler."""
    return torch.cuda.is_available() and bool(shutil.which('nvcc') or os.environ.get('CUDA_HOME'))


def problem_with(pin: str) -> Optional[str]:
    """Says why the pinned mmcv's operators cannot be used; None if they can."""
    probe = 'import mmcv, mmcv.ops; print(f"mmcv=={mmcv.__version__}")'
    result = subprocess.run([sys.executable, '-c', probe], capture_output=True, text=True)
    if result.returncode:
        return (result.stderr.strip().splitlines() or [f'exit code {result.returncode}'])[-1]
    found = result.stdout.strip()
    return None if found == pin else f'{found} is installed'


def install_wheel(folder: Path) -> bool:
    """Installs the wheel kept in a folder; returns whether there is one and its operators load."""
    wheels = list(folder.glob('mmcv-*.whl'))
    return bool(wheels) and _install(['--force-reinstall', str(wheels[0])])


def install_prebuilt(pin: str) -> bool:
    """Installs OpenMMLab's own wheel; returns whether there is one and its operators load."""
    device = f'cu{torch.version.cuda.replace(".", "")}' if torch.version.cuda else 'cpu'
    series = '.'.join(torch.__version__.split('.')[:2])
    page = WHEEL_PAGE.format(device=device, series=series)
    impatient = ['--timeout', '5', '--retries', '0']
    return _install([*impatient, '--no-index', '--only-binary', ':all:', '-f', page, pin])


def _install(arguments: List[str]) -> bool:
    command = [*PIP, 'install', '--quiet', '--no-deps', *arguments]
    installed = subprocess.run(command, capture_output=True).returncode == 0
    return installed and not problem_with(read_pin())


def build_wheel(pin: str, folder: Path) -> None:
    """Builds mmcv's wheel into a folder, which holds it only once it is complete."""
    problem = missing_for_build()
    if problem:
        raise SystemExit(f'mmcv cannot be built: {problem}.')
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as unfinished:
        # pip would cache the wheel by its version alone, and install it beside another torch.
        options = ['--no-build-isolation', '--no-deps', '--no-cache-dir', '--no-binary', 'mmcv']
        command = [*PIP, 'wheel', '--verbose', *options, '--wheel-dir', unfinished, pin]
        quiet_run(command, log=folder / 'build.log', env=build_environment())
        for wheel in Path(unfinished).glob('mmcv-*.whl'):
            wheel.replace(folder / wheel.name)


def missing_for_build() -> Optional[str]:
    """Names what a build from source lacks here, and how to get it."""
    compilers = [os.environ.get('CXX', 'c++'), 'g++', 'clang++']
    if not any(map(shutil.which, compilers)):
        return 'no C++ compiler; install one (Debian and Ubuntu: apt install g++)'
    if not Path(sysconfig.get_path('include'), 'Python.h').exists():
        return (f'no headers of {sys.executable}; install them '
                '(Debian and Ubuntu: apt install python3-dev)')
    return None


def build_environment() -> dict:
    """Returns the environment variables of a build."""
    jobs = max(1, min(os.cpu_count() or 1, available_memory() // (GIB_PER_JOB << 30)))
    environment = {'MAX_JOBS': str(jobs), **os.environ, 'MMCV_WITH_OPS': '1'}
    if not builds_cuda():
        environment['CUDA_VISIBLE_DEVICES'] = ''  # else mmcv asks for nvcc wherever there is a GPU
    return environment


def available_memory() -> int:
    """Returns the bytes of memory that programs can still take."""
    import psutil  # here, since a build alone needs it
    return psutil.virtual_memory().available


def say(text: str) -> None:
    """Tells the user something, in line with the steps of setup_env.sh."""
    print(f'      {text}', flush=True)


if __name__ == '__main__':
    main()
