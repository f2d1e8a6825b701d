# Copyright (c) mmvisionmix authors. All rights reserved.
"""Times the layer of key-only attention against its literal form, and softmax attention beside.

    python tools/analysis_tools/benchmark_key_only.py
    python tools/analysis_tools/benchmark_key_only.py --batch 1 --pairs 784,64,2 196,160,5

All run in one process, in turn, round after round; a figure is the median over rounds. `auto` is
the layer as it trains, weights folded for every batch; `cached` is the layer in evaluation, weights
folded once. SDPA is torch's scaled_dot_product_attention between its own projections. Backward
passes are to the tokens and all weights.
"""
import argparse
from functools import partial
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
from timing import (
    add_options,
    positive,
    ratio,
    read_case,
    table,
    time_interleaved,
    with_unit,
    write_rows,
)
from torch import Tensor, nn

from mmvisionmix.models.layers import KeyOnlyAttention, SelfAttention
from mmvisionmix.ops import choose_key_only_impl

MAX_PEER_TOKENS = 4096
"""Softmax attention over more tokens is left out: it would take most of the time."""
FORWARD_HEADER = ('tokens x channels (heads)', 'literal', 'auto', 'over literal', 'cached',
                  'over literal', 'SDPA', 'cached over SDPA')
BACKWARD_HEADER = (
    'tokens x channels (heads)', 'literal', 'auto', 'over literal', 'SDPA', 'auto over SDPA')


class Case(NamedTuple):
    """Tokens N of an image, channels D and heads of a layer."""
    tokens: int
    dims: int
    heads: int

    def __str__(self) -> str:
        return f'{self.tokens} x {self.dims} ({self.heads})'


CASES = (  # LinGlo b0 to b2
    Case(3136, 32, 1), Case(3136, 64, 1),  # 224 x 224 pixels: first stage,
    Case(784, 64, 2), Case(784, 128, 2),  # second,
    Case(196, 160, 5), Case(196, 320, 5),  # third,
    Case(49, 256, 8), Case(49, 512, 8),  # fourth
    Case(16384, 64, 1), Case(4096, 128, 2),  # 512 x 512 pixels: first stage, second
)


def make_layers(case: Case) -> Dict[str, nn.Module]:
    """The layers to time; all but ``'cached'`` are in training mode."""
    torch.manual_seed(0)
    auto = KeyOnlyAttention(case.dims, case.heads)
    literal = KeyOnlyAttention(case.dims, case.heads, impl='literal')
    cached = KeyOnlyAttention(case.dims, case.heads).eval()
    for layer in (literal, cached):
        layer.load_state_dict(auto.state_dict())
    layers = dict(literal=literal, auto=auto, cached=cached)
    if case.tokens <= MAX_PEER_TOKENS:
        layers['sdpa'] = SelfAttention(case.dims, case.heads)
    return layers


def train(layer: nn.Module, x: Tensor, grad: Tensor) -> Tuple[Tensor, ...]:
    """A forward and a backward pass, with gradients of the tokens and all weights."""
    return torch.autograd.grad(layer(x, None), (x, *layer.parameters()), grad)


def measure(case: Case, batch: int, rounds: int) -> dict:
    """All figures of one case; times are in seconds, by name of the layer."""
    layers = make_layers(case)
    x = torch.randn(batch, case.tokens, case.dims, requires_grad=True)
    grad = torch.randn_like(x)
    with torch.no_grad():
        forward = time_interleaved(
            {name: partial(layer, x, None) for name, layer in layers.items()}, rounds,
            f'{case}: forward')
    both = time_interleaved(
        {name: partial(train, layer, x, grad) for name, layer in layers.items()
         if name != 'cached'}, rounds, f'{case}: forward+backward')
    return dict(
        case._asdict(), batch=batch,
        auto_impl=choose_key_only_impl(batch, case.tokens, case.dims, folded=False),
        cached_impl=choose_key_only_impl(batch, case.tokens, case.dims, folded=True),
        forward=forward, forward_backward=both)


def markdown(rows: List[dict]) -> str:
    """All figures as two tables: forward passes, and forward with backward passes."""
    ms = partial(with_unit, unit='ms', scale=1e3)
    inference, training = [], []
    for row in rows:
        name = str(Case(*(row[field] for field in Case._fields)))
        seconds = row['forward']
        inference.append((
            name, ms(seconds['literal']),
            f'{ms(seconds["auto"])} ({row["auto_impl"]})',
            ratio(seconds['literal'], seconds['auto']),
            f'{ms(seconds["cached"])} ({row["cached_impl"]})',
            ratio(seconds['literal'], seconds['cached']),
            ms(seconds.get('sdpa')), ratio(seconds.get('sdpa'), seconds['cached'])))
        seconds = row['forward_backward']
        training.append((
            name, ms(seconds['literal']),
            f'{ms(seconds["auto"])} ({row["auto_impl"]})',
            ratio(seconds['literal'], seconds['auto']),
            ms(seconds.get('sdpa')), ratio(seconds.get('sdpa'), seconds['auto'])))
    return (f'Forward, batch {rows[0]["batch"]}:\n\n{table(FORWARD_HEADER, inference)}\n\n'
            f'Forward and backward, batch {rows[0]["batch"]}:\n\n'
            f'{table(BACKWARD_HEADER, training)}')


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--pairs', type=partial(read_case, Case), nargs='+', default=CASES, metavar='N,D,heads',
        help='tokens, channels and heads (default: those of LinGlo at 224 x 224 pixels and two at '
        '512 x 512)')
    parser.add_argument('--batch', type=positive, default=4, help='(default: %(default)s)')
    add_options(parser, rounds=15)
    return parser.parse_args(argv)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Prints the tables that the command line asks for."""
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    rows = [measure(case, args.batch, args.rounds) for case in args.pairs]
    print(f'\n{markdown(rows)}')
    if args.json:
        write_rows(rows, args.json)


if __name__ == '__main__':
    main()
