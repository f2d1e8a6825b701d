# Copyright (c) mmvisionmix authors. All rights reserved.
"""Compares this Python environment with what mmvisionmix needs.

    python tools/check_env.py                                        a table, and what fixes it
    python tools/check_env.py --extras seg demo                      only these extras
    python tools/check_env.py --constraints requirements/modern.txt  hold exact versions too
    python tools/check_env.py --quiet                                only what is wrong

mmcv-lite serves in the place of mmcv where the extra det is not asked for, and the onedl forks in
the place of OpenMMLab's packages.

Exit codes: 0 all is well, 1 a dependency is missing or unsuitable, 2 only mmvisionmix itself is
not installed.
"""
import argparse
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

try:
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet
except ImportError:
    raise SystemExit('packaging is missing; fix it with: bash tools/setup_env.sh') from None

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / 'requirements'
PACKAGE = ROOT / 'mmvisionmix'
CODEBASES = ('cls', 'seg', 'det')
EXTRAS = (*CODEBASES, 'forks', 'demo', 'docs', 'tests')
FIX = 'bash tools/setup_env.sh'
FIX_PACKAGE = 'python -m pip install --no-deps --no-build-isolation -e .'
PROBE_OPERATORS = 'import mmcv.ops; print("they load")'
PROBE_PACKAGE = """
import mmvisionmix
from mmengine.utils import get_installed_path
print(get_installed_path('mmvisionmix'))
"""


class Row(NamedTuple):
    """One line of the table."""
    name: str
    wanted: str
    found: str
    ok: bool


def main() -> int:
    """Prints the table; returns the exit code."""
    args = parse_args()
    if not REQUIREMENTS.is_dir():
        raise SystemExit(f'{Path(__file__).name} checks a clone of the repository: run it there')
    wanted = read_wanted(args.extras, args.constraints)
    rows = [check_version(name, versions) for name, versions in sorted(wanted.items())]
    if all(row.ok for row in rows) and {'mmcv', 'onedl-mmcv'} & set(wanted):
        ok, answer = probe(PROBE_OPERATORS)
        rows.append(Row('mmcv.ops', 'they load', answer, ok))
    if all(row.ok for row in rows):
        rows.append(check_package())
    show([row for row in rows if not (args.quiet and row.ok)])
    code, fix = verdict(rows)
    if fix and not args.quiet:
        print(f'Fix it with: {fix}')
    return code


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--constraints', type=Path, help='a file of versions to hold as well')
    parser.add_argument('--extras', nargs='+', choices=EXTRAS, help='what to check (default: all)',
                        default=[name for name in EXTRAS if name != 'forks'])
    parser.add_argument('--quiet', action='store_true', help='print only what is wrong')
    return parser.parse_args()


def read_wanted(
        extras: Sequence[str], constraints: Optional[Path] = None) -> Dict[str, SpecifierSet]:
    """Reads the versions that extras ask for, held by constraints on what is there."""
    extras = {*extras, 'runtime'}
    if installed_version('onedl-mmengine') or 'forks' in extras:
        extras = extras - {*CODEBASES} | {'forks'}
    else:
        extras |= {'mminstall'}
    wanted = {'python': SpecifierSet('>=3.8')}
    for name in extras:
        merge(wanted, read_requirements(REQUIREMENTS / f'{name}.txt'))
    if 'det' not in extras and installed_version('mmcv-lite') and not installed_version('mmcv'):
        wanted['mmcv-lite'] = wanted.pop('mmcv')
    if constraints:
        pins = read_requirements(constraints)
        merge(wanted, {k: v for k, v in pins.items() if k in wanted or installed_version(k)})
    return wanted


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


def check_package() -> Row:
    """Checks that mmvisionmix is installed from this clone, with a .mim that MMEngine finds."""
    if installed_version(PACKAGE.name) is None:
        return Row(PACKAGE.name, str(PACKAGE), 'none', False)
    ok, answer = probe(PROBE_PACKAGE)
    ok = ok and Path(answer).resolve() == PACKAGE and Path(answer, '.mim', 'configs').is_dir()
    return Row(PACKAGE.name, str(PACKAGE), answer, ok)


def probe(code: str) -> Tuple[bool, str]:
    """Runs code in a fresh interpreter, away from the clone; returns success and its last line."""
    result = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], cwd=ROOT.anchor,
                            capture_output=True, text=True)
    lines = (result.stderr if result.returncode else result.stdout).strip().splitlines()
    return not result.returncode, lines[-1] if lines else f'ended with code {result.returncode}'


def verdict(rows: List[Row]) -> Tuple[int, str]:
    """Returns the exit code and the command that fixes what is wrong."""
    wrong = [(row.name, row.found) for row in rows if not row.ok]
    if wrong == [(PACKAGE.name, 'none')]:
        return 2, FIX_PACKAGE
    return (1, FIX) if wrong else (0, '')


def show(rows: List[Row]) -> None:
    """Prints the table; nothing where there are no rows."""
    table = [('package', 'wanted', 'found', 'ok')]
    table += [(row.name, row.wanted, row.found, 'yes' if row.ok else 'NO') for row in rows]
    widths = [max(map(len, column)) for column in zip(*table)]
    for line in table if rows else ():
        print('  '.join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


if __name__ == '__main__':
    sys.exit(main())
