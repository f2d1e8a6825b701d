# Copyright (c) mmvisionmix authors. All rights reserved.
"""Counts parameters and multiply-adds of the papers' networks and shows the published ones beside.

    python tools/analysis_tools/paper_tables.py            print the tables of all papers
    python tools/analysis_tools/paper_tables.py lkca       of one
    python tools/analysis_tools/paper_tables.py --write    write them into docs/model_zoo.md

The published figures are in tools/analysis_tools/published. The exit code is 1 if a row leaves its
tolerance.
"""
import argparse
import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

import yaml
from mmengine.config import Config

from mmvisionmix import config_path
from mmvisionmix.complexity import count_complexity

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import put_between, table  # noqa: E402  beside this folder

PUBLISHED = Path(__file__).resolve().parent / 'published'
PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'model_zoo.md'
HEADER = ('config', 'parameters', 'paper', 'error', 'MACs', 'paper', 'error')
FOLDED_HEADER = (
    'config', 'parameters', 'folded', 'paper', 'error', 'MACs', 'folded', 'paper', 'error')


class Row(NamedTuple):
    """One network as a paper prints it; see the files in ``published``.

    Attributes:
        config: Basename of its config.
        options: Options of the backbone that differ from the config's.
        parameters: Published parameters, in millions.
        macs: Published multiply-adds, in millions.
        counting: How :func:`count_complexity` counts the mixing product.
        without_auxiliary_head: Whether the published parameters leave it out.
        deployed: Whether to count the deployed network too, and compare that one; from the table.
        size: Height and width of the image, if not those that :func:`image_size` takes from the
            config; from the table.
        tolerance: Largest relative error.
        macs_tolerance: Likewise of multiply-adds; ``tolerance`` if None.
        rounding: Half of the last digit that the paper prints of either, in millions: what differs
            by less meets the published figure, whatever the tolerance; from the table.
        held: Whether to hold the row to its tolerance, or to show it only.
    """
    config: str
    parameters: Optional[float] = None
    macs: Optional[float] = None
    options: Mapping[str, Any] = {}
    counting: str = 'literal'
    without_auxiliary_head: bool = False
    deployed: bool = False
    size: Optional[Sequence[int]] = None
    tolerance: float = 0.01
    macs_tolerance: Optional[float] = None
    rounding: Sequence[float] = (0., 0.)
    held: bool = True


class Line(NamedTuple):
    """A row with what was counted, in millions.

    Attributes:
        row: The row.
        parameters: Of the network; then, if the row says so, of the deployed one.
        macs: Multiply-adds of the same.
    """
    row: Row
    parameters: Sequence[float]
    macs: Sequence[float]

    @property
    def misses(self) -> bool:
        """Whether the row is held and a figure leaves its tolerance."""
        row = self.row
        macs_tolerance = row.tolerance if row.macs_tolerance is None else row.macs_tolerance
        return row.held and (
            _leaves(self.parameters, row.parameters, row.tolerance, row.rounding[0])
            or _leaves(self.macs, row.macs, macs_tolerance, row.rounding[1]))

    @property
    def cells(self) -> List[str]:
        """What stands in the table."""
        name = ', '.join([self.row.config, *(
            f'{key}={value}' for key, value in self.row.options.items())])
        return [name, *_figures(self.parameters, self.row.parameters),
                *_figures(self.macs, self.row.macs)]


def _leaves(counted: Sequence[float], published: Optional[float], tolerance: float,
            rounding: float) -> bool:
    return published is not None and (
        abs(counted[-1] - published) > max(tolerance * published, rounding))


def _figures(counted: Sequence[float], published: Optional[float]) -> List[str]:
    paper = ['', '']
    if published:
        paper = [_short(published, exact=True), f'{counted[-1] / published - 1:+.1%}']
    return [*map(_short, counted), *paper]


def _short(millions: float, exact: bool = False) -> str:
    unit, value = ('G', millions / 1e3) if millions >= 1e3 else ('M', millions)
    return f'{value:g}{unit}' if exact else f'{value:.4g}{unit}'


def count(row: Row) -> Line:
    """Builds a row's network and counts it."""
    cfg = Config.fromfile(config_path(row.config))
    if row.options:
        cfg.model.backbone.update(row.options)
    networks = (False, True) if row.deployed else (False, )
    size = tuple(row.size) if row.size else None
    counts = [count_complexity(cfg, row.counting, deployed, size) for deployed in networks]
    parameters = [
        found.parameters - found.auxiliary * row.without_auxiliary_head for found in counts]
    return Line(row, [number / 1e6 for number in parameters],
                [found.macs / 1e6 for found in counts])


def read_papers() -> Dict[str, dict]:
    """Reads the published figures of all papers, by the papers' short names."""
    files = sorted(PUBLISHED.glob('*.yml'))
    return {file.stem: yaml.safe_load(file.read_text(encoding='utf-8')) for file in files}


def count_tables(paper: dict) -> Dict[str, List[Line]]:
    """Counts all rows of a paper, by the titles of its tables."""
    return {part['title']: [count(row) for row in rows_of(part)] for part in paper['tables']}


def rows_of(part: dict) -> List[Row]:
    """The rows of a table, with what it says of them all."""
    common = {key: part[key] for key in ('deployed', 'rounding', 'size') if key in part}
    return [Row(**row, **common) for row in part['rows']]


def render(paper: dict, counted: Dict[str, List[Line]]) -> str:
    """Writes a paper's tables in Markdown."""
    parts = [f'## {paper["title"]}']
    for part in paper['tables']:
        lines = table(FOLDED_HEADER if part.get('deployed') else HEADER,
                      [line.cells for line in counted[part['title']]])
        parts += [f'### {part["title"]}', part['note'].strip(), lines]
    return '\n\n'.join(parts)


def insert(page: str, name: str, text: str) -> str:
    """Replaces what stands between a paper's marks in a page.

    Raises:
        ValueError: If the page has no such marks.
    """
    return put_between(
        page, f'<!-- begin {name}: paper_tables.py --write -->', f'<!-- end {name} -->', text)


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = sorted(read_papers())
    parser.add_argument('papers', nargs='*', metavar='PAPER', help=f'of {", ".join(names)}')
    parser.add_argument('--write', action='store_true', help=f'write into {PAGE.name}')
    args = parser.parse_args(argv)
    unknown = set(args.papers) - set(names)
    if unknown:
        parser.error(f'no paper {", ".join(sorted(unknown))}; there are {", ".join(names)}')
    args.papers = args.papers or names
    return args


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Prints or writes the tables; returns the exit code."""
    args = parse_args(argv)
    papers, missed = read_papers(), []
    for name in args.papers:
        counted = count_tables(papers[name])
        text = render(papers[name], counted)
        if args.write:
            page = PAGE.read_text(encoding='utf-8')
            PAGE.write_text(insert(page, name, text), encoding='utf-8')
        else:
            print(text)
        missed += [line for lines in counted.values() for line in lines if line.misses]
    for line in missed:
        print(f'outside its tolerance: {" | ".join(line.cells)}', file=sys.stderr)
    return bool(missed)


if __name__ == '__main__':
    sys.exit(main())
