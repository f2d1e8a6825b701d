# Copyright (c) mmvisionmix authors. All rights reserved.
"""What the benchmarks share: times of things that take turns, and memory of fresh processes."""
import argparse
import ctypes
import gc
import json
import math
import re
import statistics
import sys
import timeit
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np
import torch
from rich.markup import escape
from rich.progress import track
from torch.utils.benchmark import Timer, timer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import add_traceback, positive_int, table  # noqa: E402  beside this folder

MODES = ('inference', 'training')
SLOW = 1.
"""Seconds. A slower run is called once per round, and not twice more to warm up."""
STATUS = Path('/proc/self/status')  # of Linux
Runs = Dict[str, Callable[[], object]]


def time_rounds(runs: Runs, rounds: int, title: str,
                slow_rounds: Optional[int] = None) -> Dict[str, List[float]]:
    """Times runs that take turns, round after round, so that all meet the same disturbances.

    Args:
        runs (dict[str, Callable]): What to time, by name.
        rounds (int): Number of rounds, after one that warms up.
        title (str): What to write beside the progress bar.
        slow_rounds (int, optional): Rounds of a run that takes longer than ``SLOW``. Defaults to
            None: as many as of the others.

    Returns:
        dict[str, list[float]]: Seconds of each run in every round.
    """
    timers = {name: Timer('run()', globals=dict(run=run), num_threads=torch.get_num_threads())
              for name, run in runs.items()}
    times: Dict[str, List[float]] = {name: [] for name in runs}
    for _ in track(range(rounds + 1), description=escape(title)):
        for name, seen in times.items():
            if seen and min(seen) <= SLOW:
                seen.append(timers[name].timeit(1).median)
            elif slow_rounds is None or len(seen) <= slow_rounds:
                seen.append(timeit.timeit(runs[name], timer=timer, number=1))
    return {name: seen[1:] for name, seen in times.items()}


def time_interleaved(*args: Any) -> Dict[str, float]:
    """As :func:`time_rounds`, but gives the median seconds of each run."""
    return {name: statistics.median(seen) for name, seen in time_rounds(*args).items()}


def measure(runs: Runs, case: object, mode: str, batch: int, rounds: int,
            memory: Optional[Callable[[str], float]] = None, **facts: Any) -> List[dict]:
    """Times what is to be compared.

    Args:
        runs (dict[str, Callable]): What to time, by name.
        case (object): What they run on, to be written as a string.
        mode (str): One of ``MODES``.
        batch (int): Number of images.
        rounds (int): See :func:`time_rounds`.
        memory (Callable, optional): Gives the MiB that a run needs, by its name.
        facts: Anything else that rows are to hold.

    Returns:
        list[dict]: A row per run, in seconds and MiB. ``spread`` is half the distance between the
        quartiles, 0 of a single round.
    """
    rows = []
    for name, seen in time_rounds(runs, rounds, f'{case}, {mode}').items():
        first, median, third = np.percentile(seen, [25, 50, 75]).tolist()
        rows.append(dict(
            facts, case=str(case), mode=mode, name=name, batch=batch, seconds=median,
            spread=(third - first) / 2, images_per_second=batch / median,
            mib=memory(name) if memory else None))
    return rows


def markdown(rows: List[dict], baseline: str) -> str:
    """The rows of :func:`measure` as a table, with times over those of a baseline."""
    base = {(row['case'], row['mode']): row['seconds'] for row in rows if row['name'] == baseline}
    return table(
        ('case', 'mode', 'name', 'per batch', 'spread', 'images/s', 'memory',
         f'time over {baseline}'),
        [(row['case'], row['mode'], f'`{row["name"]}`', with_unit(row['seconds'], 'ms', 1e3),
          f'{row["spread"] / row["seconds"]:.1%}', f'{row["images_per_second"]:.3g}',
          with_unit(row['mib'], 'MiB'), ratio(row['seconds'], base.get((row['case'], row['mode']))))
         for row in rows])


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
            1, get_context('spawn'), torch.set_num_threads, (torch.get_num_threads(), )) as pool:
        return pool.submit(_added_memory, prepare, warm_up, case, gradients).result()


def _added_memory(prepare: Callable[..., Callable[[], object]], warm_up: Sequence,
                  case: Sequence, gradients: bool) -> float:
    with torch.set_grad_enabled(gradients):
        prepare(*warm_up)()
        run = prepare(*case)
        before = _start_peak()
        for _ in range(2 if gradients else 1):  # an optimizer's state is there in the second step
            run()
    return _peak() - before


def _start_peak() -> float:
    """Begins the peak anew, without what was freed: a run would take that first."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    STATUS.with_name('clear_refs').write_text('5')
    return _peak()


def gpu_memory(run: Callable[[], object]) -> float:
    """MiB that a run adds to what the tensors on this process's GPU take."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def _peak() -> float:
    """Peak resident memory in MiB; getrusage would carry over that of the parent process."""
    return int(re.search(r'VmHWM:\s+(\d+) kB', STATUS.read_text()).group(1)) / 1024


def make_parser(description: str, rounds: int) -> argparse.ArgumentParser:
    """A parser with the options that all benchmarks have."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--rounds', type=positive_int, default=rounds, help='(default: %(default)s)')
    parser.add_argument(
        '--threads', type=positive_int, default=2, help='CPU threads (default: %(default)s)')
    parser.add_argument('--json', type=Path, metavar='FILE', help='also write all figures')
    add_traceback(parser)
    return parser


def with_unit(value: Optional[float], unit: str, scale: float = 1.) -> str:
    """A figure times ``scale`` with three digits or more, or a dash if it is not known."""
    if value is None or math.isnan(value):
        return '-'
    value *= scale
    return f'{value:.0f} {unit}' if value >= 100 else f'{value:.3g} {unit}'


def ratio(figure: Optional[float], base: Optional[float]) -> str:
    """How many times as large a figure is, or a dash if either is not known."""
    return f'{figure / base:.3g}x' if figure and base else '-'


def write_rows(rows: List[dict], path: Optional[Path]) -> None:
    """Writes all figures as JSON, if there is a path."""
    if path:
        path.write_text(json.dumps(rows, indent=1) + '\n', encoding='utf-8')
