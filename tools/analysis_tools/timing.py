# Copyright (c) mmvisionmix authors. All rights reserved.
"""What the benchmarks share: times of things that take turns, and memory of fresh processes."""
import argparse
import json
import math
import re
import statistics
import timeit
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence, Type, TypeVar

import torch
from rich.progress import track
from torch.utils.benchmark import Timer

SLOW = 1.
"""Seconds. A slower run is called once per round, and not twice more to warm up."""
STATUS = Path('/proc/self/status')  # of Linux
Case = TypeVar('Case', bound=NamedTuple)
Runs = Dict[str, Callable[[], object]]


def time_interleaved(
        runs: Runs, rounds: int, title: str, slow_rounds: Optional[int] = None) -> Dict[str, float]:
    """Times runs that take turns, round after round, so that all meet the same disturbances.

    Args:
        runs (dict[str, Callable]): What to time, by name.
        rounds (int): Number of rounds, after one that warms up.
        title (str): What to write beside the progress bar.
        slow_rounds (int, optional): Rounds of a run that takes longer than ``SLOW``. Defaults to
            None: as many as of the others.

    Returns:
        dict[str, float]: Median seconds of each run.
    """
    times = time_rounds(runs, rounds, title, slow_rounds)
    return {name: statistics.median(seen) for name, seen in times.items()}


def time_rounds(runs: Runs, rounds: int, title: str,
                slow_rounds: Optional[int] = None) -> Dict[str, List[float]]:
    """As :func:`time_interleaved`, but gives the seconds of all rounds."""
    timers = {name: Timer('run()', globals=dict(run=run), num_threads=torch.get_num_threads())
              for name, run in runs.items()}
    times: Dict[str, List[float]] = {name: [] for name in runs}
    for _ in track(range(rounds + 1), description=title):
        for name, seen in times.items():
            if seen and min(seen) <= SLOW:
                seen.append(timers[name].timeit(1).median)
            elif slow_rounds is None or len(seen) <= slow_rounds:
                seen.append(timeit.timeit(runs[name], number=1))
    return {name: seen[1:] for name, seen in times.items()}


def spread(times: Sequence[float]) -> float:
    """Half the distance between the quartiles; 0 of a single round."""
    if len(times) < 2:
        return 0.
    first, _, third = statistics.quantiles(times, n=4, method='inclusive')
    return (third - first) / 2


def peak_memory(prepare: Callable[..., Callable[[], object]], warm_up: Sequence,
                case: Sequence, gradients: bool = False) -> float:
    """Memory that a run needs on top of its inputs and weights.

    Args:
        prepare (Callable): Function of a module, which a fresh process can import. Its result is
            the run.
        warm_up (Sequence): Arguments of ``prepare`` for a small run, which loads libraries.
        case (Sequence): Arguments of ``prepare`` for the run in question.
        gradients (bool): Whether the run needs gradients. Defaults to False.

    Returns:
        float: MiB that the run adds to the peak of a fresh process; NaN where unknown.
    """
    if not STATUS.exists():
        return math.nan
    with ProcessPoolExecutor(  # whose processes may start others, as torch.compile does
            1, get_context('spawn'), _set_threads, (torch.get_num_threads(), )) as pool:
        return pool.submit(_added_memory, prepare, warm_up, case, gradients).result()


def positive(text: str) -> int:
    """Reads a positive integer from the command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'must be a positive integer, got {text!r}')
    return int(text)


def read_case(kind: Type[Case], text: str) -> Case:
    """Reads numbers with commas between them from the command line.

    Args:
        kind (type[NamedTuple]): What they are, ``dims`` and ``heads`` among them.
        text (str): As many positive integers as it has fields.
    """
    numbers, fields = text.split(','), ','.join(kind._fields)
    if len(numbers) != len(kind._fields):
        raise argparse.ArgumentTypeError(f'must be {fields}, got {text!r}')
    case = kind(*map(positive, numbers))
    if case.dims % case.heads:
        raise argparse.ArgumentTypeError(f'dims must be a multiple of heads, got {text!r}')
    return case


def add_options(parser: argparse.ArgumentParser, rounds: int) -> None:
    """Adds the options that all benchmarks of layers and networks have."""
    parser.add_argument(
        '--rounds', type=positive, default=rounds, help='(default: %(default)s)')
    parser.add_argument(
        '--threads', type=positive, default=2, help='CPU threads (default: %(default)s)')
    parser.add_argument('--json', type=Path, metavar='FILE', help='also write all figures')


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [f'| {" | ".join(row)} |' for row in (header, *rows)]
    return '\n'.join((lines[0], '|---' * len(header) + '|', *lines[1:]))


def with_unit(value: Optional[float], unit: str, scale: float = 1.) -> str:
    """A figure times ``scale`` with three digits or more, or a dash if it is not known."""
    if value is None or math.isnan(value):
        return '-'
    value *= scale
    return f'{value:.0f} {unit}' if value >= 100 else f'{value:.3g} {unit}'


def ratio(slower: Optional[float], faster: Optional[float]) -> str:
    """How many times faster something is, or a dash if either time is not known."""
    return f'{slower / faster:.3g}x' if slower and faster else '-'


def write_rows(rows: List[dict], path: Path) -> None:
    """Writes all figures as JSON."""
    path.write_text(json.dumps(rows, indent=1) + '\n', encoding='utf-8')


def _set_threads(threads: int) -> None:
    torch.set_num_threads(threads)


def _added_memory(prepare: Callable[..., Callable[[], object]], warm_up: Sequence,
                  case: Sequence, gradients: bool) -> float:
    with torch.set_grad_enabled(gradients):
        prepare(*warm_up)()
        run = prepare(*case)
        before = _peak()
        run()
    return _peak() - before


def _peak() -> float:
    """Peak resident memory in MiB; getrusage would carry over that of the parent process."""
    return int(re.search(r'VmHWM:\s+(\d+) kB', STATUS.read_text()).group(1)) / 1024
