# Copyright (c) mmvisionmix authors. All rights reserved.
"""Times the forms of LKCA's mixing product side by side, and softmax attention beside them.

    python tools/analysis_tools/benchmark_ops.py --grids 32 64 --batch 1

All forms run in one process, in turn, round after round; a figure is the median over rounds. The
floor of a form is what it cannot do without: the bare matrix products or transforms, on operands
that are ready. Peak memory is what one forward pass adds to a fresh process.
"""
import argparse
from functools import partial
from pathlib import Path
from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from timing import SLOW, Runs, peak_memory, ratio, time_interleaved, write_rows
from torch import Tensor

from mmvisionmix.ops import large_kernel_mix, toeplitz_matrix

FORMS = ('conv', 'gemm', 'spectral', 'fft')
PEER = 'sdpa'  # torch's scaled_dot_product_attention, 64 channels per head
SLOW_ROUNDS = 1  # of a form slower than SLOW
SMALL = 4, 1, 64  # a case that loads libraries


class Case(NamedTuple):
    """One problem size: a square grid, batch and channels."""
    grid: int
    batch: int
    dims: int

    def make(self, requires_grad: bool = False) -> Tuple[Tensor, Tensor]:
        """Random tokens (B, N, C) and kernel (2H-1, 2W-1)."""
        torch.manual_seed(0)
        value = torch.randn(self.batch, self.grid**2, self.dims, requires_grad=requires_grad)
        side = 2 * self.grid - 1
        return value, torch.randn(side, side, requires_grad=requires_grad)


def mix(form: str, value: Tensor, kernel: Tensor, side: int) -> Tensor:
    """One forward pass; attention takes the tokens as its queries, keys and values."""
    if form == PEER:
        heads = value.unflatten(2, (-1, 64)).transpose(1, 2)
        return F.scaled_dot_product_attention(heads, heads, heads)
    return large_kernel_mix(value, kernel, (side, side), form)


def train(form: str, value: Tensor, kernel: Tensor, side: int) -> Tuple[Tensor, ...]:
    """A forward and a backward pass, with gradients of all inputs."""
    inputs = (value, ) if form == PEER else (value, kernel)
    return torch.autograd.grad(mix(form, value, kernel, side).sum(), inputs)


def floor_runs(case: Case) -> Runs:
    """The bare products and transforms of each form, on operands that are ready."""
    side, batch, dims = case
    value, kernel = case.make()
    matrix = toeplitz_matrix(kernel, (side, side)).expand(batch, -1, -1)
    basis = torch.randn(batch, 2 * side, side)
    blocks = torch.randn(batch * side, 2 * side, 2 * side)
    images, size = value.view(batch, dims, side, side), (2 * side, 2 * side)

    def spectral() -> Tensor:
        x = torch.bmm(basis, value.view(batch, side, side * dims))
        x = torch.bmm(blocks, x.view(batch * side, 2 * side, dims))
        return torch.bmm(basis.transpose(1, 2), x.view(batch, 2 * side, side * dims))

    def fft() -> Tensor:
        return torch.fft.irfft2(torch.fft.rfft2(images, s=size), s=size)

    return dict(gemm=partial(torch.bmm, matrix, value), spectral=spectral, fft=fft)


def prepare(form: str, *case: int) -> Callable[[], Tensor]:
    """A forward pass of a :class:`Case` on operands that are ready."""
    return partial(mix, form, *Case(*case).make(), case[0])


def measure(case: Case, forms: Tuple[str, ...], rounds: int) -> List[dict]:
    """All figures of one case: a row per form."""
    side = case.grid
    title = f'{side}x{side} tokens, batch {case.batch}'
    inputs, leaves = case.make(), case.make(requires_grad=True)
    with torch.no_grad():
        runs = {form: partial(mix, form, *inputs, side) for form in forms}
        floors = {f'floor of {form}': run for form, run in floor_runs(case).items()}
        forward = time_interleaved({**runs, **floors}, rounds, f'{title}: forward', SLOW_ROUNDS)
    trained = tuple(form for form in forms if forward[form] < SLOW)
    both = time_interleaved(
        {form: partial(train, form, *leaves, side) for form in trained}, rounds,
        f'{title}: forward+backward', SLOW_ROUNDS)
    return [dict(grid=side, batch=case.batch, dims=case.dims, form=form, forward=forward[form],
                 floor=forward.get(f'floor of {form}'), forward_backward=both.get(form),
                 peak_mib=peak_memory(prepare, (form, *SMALL), (form, *case))) for form in forms]


def markdown(rows: List[dict]) -> str:
    """The rows of one case as a table, with ratios to convolution and attention."""
    by_form = {row['form']: row for row in rows}

    def ms(seconds: float) -> str:
        return f'{seconds * 1e3:.3g} ms' if seconds else '-'

    def over(form: str, figure: str, row: dict) -> str:
        return ratio(by_form.get(form, {}).get(figure), row[figure])

    first = rows[0]
    lines = [f'{first["grid"]} x {first["grid"]} tokens, {first["dims"]} channels, batch '
             f'{first["batch"]}:', '',
             '| form | forward | over conv | over SDPA | to its floor | forward+backward | '
             'over SDPA | peak memory |', '|---|---|---|---|---|---|---|---|']
    for row in rows:
        lines.append(
            f'| {row["form"]} | {ms(row["forward"])} | {over("conv", "forward", row)} | '
            f'{over(PEER, "forward", row)} | {ratio(row["forward"], row["floor"])} | '
            f'{ms(row["forward_backward"])} | {over(PEER, "forward_backward", row)} | '
            f'{row["peak_mib"]:.0f} MiB |')
    return '\n'.join(lines)


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--grids', type=int, nargs='+', default=[32, 64], help='sides of grids')
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument('--dims', type=int, default=384, help='channels, a multiple of 64')
    parser.add_argument('--rounds', type=int, default=15)
    parser.add_argument('--threads', type=int, default=2, help='CPU threads')
    parser.add_argument('--no-conv', action='store_true', help='leave the slow convolution out')
    parser.add_argument('--out', type=Path, metavar='FILE.json', help='also write all figures')
    return parser.parse_args(argv)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Prints the tables that the command line asks for."""
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    forms = tuple(form for form in (*FORMS, PEER) if not (args.no_conv and form == 'conv'))
    rows = []
    for grid in args.grids:
        rows.append(measure(Case(grid, args.batch, args.dims), forms, args.rounds))
        print('\n' + markdown(rows[-1]) + '\n')
    if args.out:
        write_rows(sum(rows, []), args.out)


if __name__ == '__main__':
    main()
