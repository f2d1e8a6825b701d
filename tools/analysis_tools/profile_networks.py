# Copyright (c) mmvisionmix authors. All rights reserved.
"""Where the time of networks goes, and how much of it this machine could spare.

    python tools/analysis_tools/profile_networks.py linglo-b0 timm:pvt_v2_b0
    python tools/analysis_tools/profile_networks.py mcganet-base --outputs maps --batch 1
        --sizes 800x1280 --modes inference training

An operator cannot be quicker than its multiply-adds at the rate of a large matrix product, nor than
its inputs and outputs at the rate of a copy from memory. The floor of a network is the sum over its
operators of the longer of the two: what they would take one after the other, without other costs
and without help of the caches. Both rates are measured here. Networks are named and run as by
benchmark.py, which lies beside this file.
"""
import argparse
import math
import sys
from functools import partial
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence

import torch
from benchmark import Settings, network_parser, prepare, settings_of
from networks import Images
from timing import time_interleaved, with_unit, write_rows
from torch import Tensor
from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEventAvg
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import errors_in_a_line, table  # noqa: E402  beside this folder

HEADER = ('case', 'mode', 'name', 'multiply-adds', 'moved', 'time', 'floor', 'floor of time')
KIND_HEADER = ('case', 'mode', 'name', 'operators', 'time', 'of all', 'floor')
# Operators by what is in their names, in the order in which it is looked for.
KINDS = {
    'convolutions': ('conv', ),
    'matrix products': ('mm', 'attention'),
    'norms': ('norm', ),
    'activations': ('gelu', 'relu', 'silu', 'sigmoid', 'swish', 'softmax'),
    'copies': ('copy', 'clone', 'cat', 'index', 'gather', 'scatter', 'pad', 'fill', 'zero'),
    'elementwise, sums': ('add', 'mul', 'sub', 'div', 'sum', 'mean', 'pow', 'sqrt', 'lerp'),
    'other': ('', ),
}


class Machine(NamedTuple):
    """What the machine does at best: multiply-adds and bytes per second."""
    macs: float
    bytes: float


class Work(NamedTuple):
    """What operators of one kind do: multiply-adds, bytes, and seconds at least."""
    macs: float = 0.
    bytes: float = 0.
    floor: float = 0.

    def __add__(self, other: 'Work') -> 'Work':
        return Work(*map(sum, zip(self, other)))


def kind_of(operator: str) -> str:
    """The kind of an operator, by its name."""
    return next(kind for kind, parts in KINDS.items() if any(part in operator for part in parts))


def measure_machine(settings: Settings, side: int = 2048) -> Machine:
    """Measures a product of square matrices and a copy that no cache holds."""
    options = dict(device=settings.device, dtype=getattr(torch, settings.dtype))
    matrix, long = torch.rand(side, side, **options), torch.rand(16 * side**2, **options)
    target = torch.empty_like(long)
    seconds = time_interleaved(
        dict(product=lambda: matrix @ matrix, copy=lambda: target.copy_(long)), 10, 'machine')
    return Machine(side**3 / seconds['product'],
                   2 * long.numel() * long.element_size() / seconds['copy'])


def count_convolution_backward(grad: Sequence[int], x: Sequence[int], weight: Sequence[int],
                               *settings: object, **results: object) -> int:
    """Operations of a convolution's backward pass; torch's own count passes over groups.

    Args:
        grad: Shape of the output's gradient, (B, C', H', W').
        x: Shape of the input, not used.
        weight: Shape of the kernels, (C', C / groups, kH, kW).
        settings: Last of them is which gradients are computed, of input, kernels and bias.
        results: Shapes of the results, not used.
    """
    forward = 2 * math.prod(grad) * math.prod(weight[1:])
    return forward * sum(settings[-1][:2])


class Ledger(TorchDispatchMode):
    """Writes down the work of all operators that run under it, by kind."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self.machine = machine
        self.work: Dict[str, Work] = {}
        self.counter = FlopCounterMode(display=False, custom_mapping={
            torch.ops.aten.convolution_backward: count_convolution_backward})

    def __enter__(self) -> 'Ledger':
        self.counter.__enter__()
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self.counter.__exit__(*error)

    def __torch_dispatch__(self, func: Callable, types: Sequence[type], args: tuple = (),
                           kwargs: Optional[dict] = None) -> object:
        before = self.counter.get_total_flops()
        out = func(*args, **(kwargs or {}))
        if not is_view(func):
            macs = (self.counter.get_total_flops() - before) / 2
            moved = sum(x.numel() * x.element_size() for x in tree_flatten((args, kwargs, out))[0]
                        if isinstance(x, Tensor))
            floor = max(macs / self.machine.macs, moved / self.machine.bytes)
            kind = kind_of(func.__name__)
            self.work[kind] = self.work.get(kind, Work()) + Work(macs, moved, floor)
        return out


def is_view(func: Callable) -> bool:
    """Whether an operator gives its input in another form, without moving any of it."""
    aliases = [result.alias_info for result in func._schema.returns]
    return any(alias is not None and not alias.is_write for alias in aliases)


def seconds_by_kind(run: Callable[[], object], device: str, passes: int = 3) -> Dict[str, float]:
    """How a run's time is shared between kinds of operators, their own work only."""
    on_gpu = device.startswith('cuda')
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as profiled:
        for _ in range(passes):
            run()
    seconds = dict.fromkeys(KINDS, 0.)
    for event in profiled.key_averages():
        own = self_gpu_time(event) if on_gpu else event.self_cpu_time_total
        seconds[kind_of(event.key)] += own / passes / 1e6
    return seconds


def self_gpu_time(event: FunctionEventAvg) -> float:
    """Microseconds that a GPU spends on an operator; its kernels are listed again by themselves."""
    if event.device_type != DeviceType.CPU:
        return 0.
    new = hasattr(event, 'self_device_time_total')  # the name from torch 2.4 on
    return event.self_device_time_total if new else event.self_cuda_time_total


def examine(name: str, images: Images, mode: str, settings: Settings, machine: Machine,
            rounds: int) -> dict:
    """Counts, times and profiles one network."""
    run = prepare(name, images, mode, settings)
    # Inference mode would hide the operators that a composed one stands for.
    plainly = partial(getattr(run.func, '__wrapped__', run.func), *run.args)
    with torch.set_grad_enabled(mode == 'training'), Ledger(machine) as ledger:
        plainly()
    seconds = time_interleaved({name: run}, rounds, f'{name}, {images}, {mode}')[name]
    shares = seconds_by_kind(run, settings.device)
    scale = seconds / sum(shares.values())  # the profiler slows operators down
    kinds = {kind: dict(seconds=own * scale, floor=ledger.work.get(kind, Work()).floor)
             for kind, own in shares.items()}
    total = sum(ledger.work.values(), Work())
    return dict(case=str(images), mode=mode, name=name, seconds=seconds, kinds=kinds,
                **total._asdict())


def markdown(rows: List[dict]) -> str:
    """A table of networks, and one of the kinds of operators in each."""
    networks = [(row['case'], row['mode'], f'`{row["name"]}`', with_unit(row['macs'], 'G', 1e-9),
                 with_unit(row['bytes'], 'GB', 1e-9), with_unit(row['seconds'], 'ms', 1e3),
                 with_unit(row['floor'], 'ms', 1e3), f'{row["floor"] / row["seconds"]:.0%}')
                for row in rows]
    kinds = [(row['case'], row['mode'], f'`{row["name"]}`', kind,
              with_unit(own['seconds'], 'ms', 1e3), f'{own["seconds"] / row["seconds"]:.0%}',
              with_unit(own['floor'], 'ms', 1e3))
             for row in rows for kind, own in row['kinds'].items()
             if max(own.values()) > 0.005 * row['seconds']]
    return f'{table(HEADER, networks)}\n\n{table(KIND_HEADER, kinds)}'


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Parses the command line."""
    return network_parser(__doc__, rounds=10).parse_args(argv)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Prints the tables that the command line asks for."""
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    settings = settings_of(args)
    with errors_in_a_line(args.traceback):
        machine = measure_machine(settings)
        print(f'A matrix product does {machine.macs / 1e9:.3g} G multiply-adds a second, a copy '
              f'moves {machine.bytes / 1e9:.3g} GB.')
        rows = [
            examine(name, Images(args.batch, *size, args.outputs), mode, settings, machine,
                    args.rounds)
            for size in args.sizes for mode in args.modes for name in args.networks]
        print(f'\n{markdown(rows)}')
        write_rows(rows, args.json)


if __name__ == '__main__':
    main()
