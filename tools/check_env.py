# Copyright (c) mmvisionmix authors. All rights reserved.
"""Compares this Python environment with what mmvisionmix needs.

    python tools/check_env.py                                        a table, and what mends it
    python tools/check_env.py --constraints requirements/classic.txt   hold exact versions too
    python tools/check_env.py --extras seg                           only these extras
    python tools/check_env.py --quiet                                only what is wrong

mmcv-lite serves in the place of mmcv where the extra det is not asked for.

Exit codes: 0 all is well, 1 a dependency is missing or unsuitable, 2 only mmvisionmix itself is
not installed.
"""
import argparse
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

try:
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet
except ImportError:
    raise SystemExit('packaging is missing; mend it with: bash tools/setup_env.sh') from None

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / 'mmvisionmix'
BASE = ('runtime', 'mminstall')
EXTRAS = ('cls', 'seg', 'det', 'demo', 'docs', 'tests')
PYTHON = '>=3.8'
MEND = 'bash tools/setup_env.sh'
MEND_SELF = 'python -m pip install --no-deps --no-build-isolation -e .'

MMCV_PROBE = 'import mmcv.ops; print("they load")'
SELF_PROBE = """
import mmvisionmix
from mmengine.utils import get_installed_path
print(get_installed_path('mmvisionmix'))
"""


@dataclass
class Row:
    """One line of the table."""
    name: str
    wanted: str
    found: str
    ok: bool


def main() -> int:
    """Prints the table; returns the exit code."""
    args = parse_args()
    if not (ROOT / 'requirements').is_dir():
        raise SystemExit(f'{Path(__file__).name} checks a clone of the repository: run it there')
    rows = check_dependencies(args.constraints, args.extras)
    if not failures(rows) and any(row.name == 'mmcv' for row in rows):
        rows.append(check_operators())
    if not failures(rows):
        rows.append(check_package())
    show(failures(rows) if args.quiet else rows)
    code, mend = verdict(rows)
    if mend and not args.quiet:
        print(f'Mend it with: {mend}')
    return code


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--constraints', type=Path, help='a file of versions to hold as well')
    parser.add_argument(
        '--extras', nargs='+', choices=EXTRAS, default=EXTRAS, help='what to check (default: all)')
    parser.add_argument('--quiet', action='store_true', help='print only what is wrong')
    return parser.parse_args()


def check_dependencies(
        constraints: Optional[Path] = None, extras: Sequence[str] = EXTRAS) -> List[Row]:
    """Compares what is installed with the requirements, and with constraints on what is there."""
    wanted = {'python': SpecifierSet(PYTHON)}
    for name in (*BASE, *extras):
        merge(wanted, read_requirements(ROOT / 'requirements' / f'{name}.txt'))
    if 'det' not in extras and installed_version('mmcv-lite') and not installed_version('mmcv'):
        wanted['mmcv-lite'] = wanted.pop('mmcv')
    if constraints:
        pins = read_requirements(constraints)
        merge(wanted, {k: v for k, v in pins.items() if k in wanted or installed_version(k)})
    return [check_version(name, versions) for name, versions in sorted(wanted.items())]


def read_requirements(file: Path) -> Dict[str, SpecifierSet]:
    """Reads the versions a requirements file asks for, by package."""
    lines = (line.partition('#')[0].strip() for line in file.read_text().splitlines())
    requirements = [Requirement(line) for line in lines if line]
    return {r.name: r.specifier for r in requirements if not r.marker or r.marker.evaluate()}


def merge(wanted: Dict[str, SpecifierSet], more: Dict[str, SpecifierSet]) -> None:
    """Narrows the wanted versions by more of them."""
    for name, versions in more.items():
        wanted[name] = wanted.get(name, SpecifierSet()) & versions


def check_version(name: str, wanted: SpecifierSet) -> Row:
    """Compares an installed version with the wanted ones."""
    found = installed_version(name)
    ok = found is not None and wanted.contains(found, prereleases=True)
    return Row(name, str(wanted) or 'any', found or 'none', ok)


def installed_version(name: str) -> Optional[str]:
    """Returns the installed version of a package, or None."""
    if name == 'python':
        return '.'.join(map(str, sys.version_info[:3]))
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def check_operators() -> Row:
    """Checks that mmcv's compiled operators fit the installed torch."""
    ok, answer = probe(MMCV_PROBE)
    return Row('mmcv.ops', 'they load', answer, ok)


def check_package() -> Row:
    """Checks that mmvisionmix is installed from this clone, with a .mim that MMEngine finds."""
    if installed_version(PACKAGE.name) is None:
        return Row(PACKAGE.name, str(PACKAGE), 'none', False)
    ok, answer = probe(SELF_PROBE)
    usable = all(Path(answer, '.mim', item).exists()
                 for item in ('configs', 'tools', 'model-index.yml'))
    found = answer if usable or not ok else f'{answer} (without a usable .mim)'
    return Row(PACKAGE.name, str(PACKAGE), found, usable and Path(answer).resolve() == PACKAGE)


def probe(code: str) -> Tuple[bool, str]:
    """Runs code in a fresh interpreter, away from the clone; returns success and its last line."""
    result = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], cwd=ROOT.anchor,
                            capture_output=True, text=True)
    ok = result.returncode == 0
    lines = (result.stdout if ok else result.stderr).strip().splitlines()
    return ok, lines[-1] if lines else f'ended with code {result.returncode}'


def failures(rows: List[Row]) -> List[Row]:
    """Returns the rows that are not as wanted."""
    return [row for row in rows if not row.ok]


def verdict(rows: List[Row]) -> Tuple[int, str]:
    """Returns the exit code and the command that mends what is wrong."""
    wrong = failures(rows)
    if not wrong:
        return 0, ''
    if all(row.name == PACKAGE.name and row.found == 'none' for row in wrong):
        return 2, MEND_SELF
    return 1, MEND


def show(rows: List[Row]) -> None:
    """Prints the table; nothing where there are no rows."""
    if not rows:
        return
    table = [('package', 'wanted', 'found', 'ok')]
    table += [(row.name, row.wanted, row.found, 'yes' if row.ok else 'NO') for row in rows]
    widths = [max(map(len, column)) for column in zip(*table)]
    for line in table:
        print('  '.join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


if __name__ == '__main__':
    sys.exit(main())
