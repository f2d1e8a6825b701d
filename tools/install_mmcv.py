# Copyright (c) mmvisionmix authors. All rights reserved.
"""Installs mmcv with its compiled operators into the environment whose Python runs this.

    python tools/install_mmcv.py                          OpenMMLab's own
    python tools/install_mmcv.py requirements/onedl.txt   the fork's, or any in a file of versions

In this order: a wheel built by an earlier run, OpenMMLab's prebuilt wheel, a build from source.
Wheels are kept outside the clone, in a folder of their own for each Python, torch and platform:
mmcv is compiled against one torch, but its wheel's name does not say which.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Optional

import torch

ROOT = Path(__file__).resolve().parent.parent
PIP = [sys.executable, '-m', 'pip', '--disable-pip-version-check']
WHEEL_PAGE = 'https://download.openmmlab.com/mmcv/dist/{device}/torch{series}.0/index.html'
GIB_PER_JOB = 2  # what one compiler process may need


def main() -> None:
    """Installs mmcv by the quickest way that gives working operators."""
    pins = parse_args().pins
    pin = read_pin(pins)
    if not problem_with(pin):
        print(f'{pin} is there already')
        return
    folder = wheel_folder()
    folder.mkdir(parents=True, exist_ok=True)
    wheel = find_wheel(pin, folder) or download_wheel(pin, folder) or build_wheel(pin, folder)
    subprocess.run([*PIP, 'uninstall', '-q', '-y', 'mmcv', 'mmcv-lite', 'onedl-mmcv'], check=True)
    subprocess.run([*PIP, 'install', '-q', '-c', pins, wheel], check=True)
    problem = problem_with(pin)
    if problem:
        raise SystemExit(f'error: {wheel} does not work: {problem}. Remove it to have one built.')
    print(f'{pin} is installed, from {wheel}')


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'pins', nargs='?', type=Path, default=ROOT / 'requirements' / 'modern.txt',
        help='a file of versions, of which one is of mmcv or onedl-mmcv (default: %(default)s)')
    return parser.parse_args()


def read_pin(pins: Path) -> str:
    """Reads the version of mmcv, or of its fork, as ``mmcv==...``."""
    text = pins.read_text() if pins.is_file() else ''
    if not (pin := re.search(r'^(onedl-)?mmcv==[\d.]+', text, re.MULTILINE)):
        raise SystemExit(f'error: {pins} is no file with a version of mmcv')
    return pin.group()


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
    probe = 'import mmcv, mmcv.ops; print(mmcv.__version__)'
    result = subprocess.run([sys.executable, '-c', probe], capture_output=True, text=True)
    if result.returncode:
        return (result.stderr.strip().splitlines() or [f'exit code {result.returncode}'])[-1]
    found = result.stdout.strip()
    return None if pin.endswith(f'=={found}') else f'{found} is installed'


def find_wheel(pin: str, folder: Path) -> Optional[Path]:
    """Finds the wheel in a folder."""
    name, _, version = pin.replace('-', '_').partition('==')
    return next(folder.glob(f'{name}-{version}-*.whl'), None)


def download_wheel(pin: str, folder: Path) -> Optional[Path]:
    """Downloads OpenMMLab's own wheel, where there is one for this torch and within reach."""
    device = f'cu{torch.version.cuda.replace(".", "")}' if torch.version.cuda else 'cpu'
    page = WHEEL_PAGE.format(device=device, series='.'.join(torch.__version__.split('.')[:2]))
    options = ['--no-deps', '--no-index', '--timeout', '5', '--retries', '0', '-f', page]
    subprocess.run([*PIP, 'download', '-q', *options, '-d', folder, pin], capture_output=True)
    return find_wheel(pin, folder)


def build_wheel(pin: str, folder: Path) -> Path:
    """Builds mmcv's wheel into a folder, which holds it only once it is complete."""
    problem = missing_for_build(pin)
    if problem:
        raise SystemExit(f'error: {pin} cannot be built: {problem}')
    print(f'no prebuilt wheel of {pin}: building it', flush=True)
    with tempfile.TemporaryDirectory(dir=folder) as unfinished:
        # pip would cache the wheel by its version alone, and install it beside another torch.
        options = ['--no-build-isolation', '--no-deps', '--no-cache-dir', '--no-binary', ':all:']
        subprocess.run([*PIP, 'wheel', '-v', *options, '-w', unfinished, pin], check=True,
                       env=build_environment())
        wheel = find_wheel(pin, Path(unfinished))
        return wheel.replace(folder / wheel.name)


def missing_for_build(pin: str) -> Optional[str]:
    """Names what a build from source lacks here, and how to get it."""
    if pin.startswith('mmcv') and sys.version_info >= (3, 13):
        return 'its setup.py fails on Python 3.13; take 3.10 to 3.12, or mmcv-lite'
    if not any(map(shutil.which, [os.environ.get('CXX', 'c++'), 'g++', 'clang++'])):
        return 'there is no C++ compiler (Debian and Ubuntu: apt install g++)'
    if not Path(sysconfig.get_path('include'), 'Python.h').exists():
        return f'{sys.executable} has no headers (Debian and Ubuntu: apt install python3-dev)'
    return None


def build_environment() -> dict:
    """Returns the environment variables of a build."""
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    jobs = max(1, min(os.cpu_count() or 1, memory // (GIB_PER_JOB << 30)))
    environment = {'MAX_JOBS': str(jobs), **os.environ, 'MMCV_WITH_OPS': '1'}
    if not builds_cuda():
        environment['CUDA_VISIBLE_DEVICES'] = ''  # else mmcv asks for nvcc wherever there is a GPU
    return environment


if __name__ == '__main__':
    main()
