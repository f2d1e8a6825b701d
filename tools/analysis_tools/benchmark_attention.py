# Copyright (c) mmvisionmix authors. All rights reserved.
"""Times the attention of MCGANet or DualFormer against its literal form and softmax attention.

    python tools/analysis_tools/benchmark_attention.py group
    python tools/analysis_tools/benchmark_attention.py partition --batch 1 --grids 100,160,64,2

All run in one process, in turn, round after round; a figure is the median over rounds. `fast` is
the layer as it is built by default. Literal forms follow the papers' formulas: MCGA attention on
tokens (B, N, D), partition attention image by image, head by head and partition by partition. All
are given and give maps (B, D, H, W). SDPA is torch's scaled_dot_product_attention between its own
projections, on tokens. Backward passes are to the maps and all weights.
"""
import argparse
from functools import partial
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple, Type

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

from mmvisionmix.models.layers import GroupAttention, PartitionAttention, SelfAttention

MAX_PEER_TOKENS = 4096
"""Softmax attention over more tokens is left out: it would take most of the time."""
HEADER = ('grid x channels (heads)', 'literal', 'fast', 'over literal', 'SDPA', 'over SDPA')


class Case(NamedTuple):
    """Grid H x W, channels D and heads of a layer."""
    height: int
    width: int
    dims: int
    heads: int

    def __str__(self) -> str:
        return f'{self.height} x {self.width} x {self.dims} ({self.heads})'


class Attention(NamedTuple):
    """A layer called as ``layer(dims, heads, impl=...)``, and its cases in the network."""
    layer: Type[nn.Module]
    cases: Tuple[Case, ...]


# At 224 x 224 pixels; the grids of DualFormer-XS are those that its maps are shrunk to.
ATTENTIONS = {
    'group': Attention(
        GroupAttention,
        (Case(56, 56, 32, 2), Case(28, 28, 64, 2), Case(14, 14, 128, 4), Case(7, 7, 256, 8))),
    'partition': Attention(
        PartitionAttention,
        (Case(14, 14, 32, 8), Case(14, 14, 64, 8), Case(14, 14, 160, 8), Case(7, 7, 184, 8))),
}


class TokenAttention(nn.Module):
    """Softmax attention between the tokens of maps, as the peer."""

    def __init__(self, dims: int, heads: int) -> None:
        super().__init__()
        self.attention = SelfAttention(dims, heads)

    def forward(self, x: Tensor) -> Tensor:
        """Mixes the tokens of maps (B, D, H, W)."""
        mixed = self.attention(x.flatten(2).transpose(1, 2), x.shape[2:])
        return mixed.transpose(1, 2).view_as(x)


def make_layers(name: str, case: Case) -> Dict[str, nn.Module]:
    """The layers to time; those of one kind have the same weights."""
    torch.manual_seed(0)
    kind = ATTENTIONS[name].layer
    fast, literal = kind(case.dims, case.heads), kind(case.dims, case.heads, impl='literal')
    literal.load_state_dict(fast.state_dict())
    layers: Dict[str, nn.Module] = dict(literal=literal, fast=fast)
    if case.height * case.width <= MAX_PEER_TOKENS:
        layers['sdpa'] = TokenAttention(case.dims, case.heads)
    return layers


def train(layer: nn.Module, x: Tensor, grad: Tensor) -> Tuple[Tensor, ...]:
    """A forward and a backward pass, with gradients of the maps and all weights."""
    return torch.autograd.grad(layer(x), (x, *layer.parameters()), grad)


def measure(name: str, case: Case, batch: int, rounds: int) -> dict:
    """All figures of one case; times are in seconds, by name of the layer."""
    layers = make_layers(name, case)
    x = torch.randn(batch, case.dims, case.height, case.width, requires_grad=True)
    grad = torch.randn_like(x)
    with torch.no_grad():
        forward = time_interleaved(
            {form: partial(layer.eval(), x) for form, layer in layers.items()}, rounds,
            f'{name}, {case}: forward')
    both = time_interleaved(
        {form: partial(train, layer.train(), x, grad) for form, layer in layers.items()}, rounds,
        f'{name}, {case}: forward+backward')
    return dict(case._asdict(), attention=name, batch=batch, forward=forward, forward_backward=both)


def markdown(rows: List[dict]) -> str:
    """All figures as two tables: forward passes, and forward with backward passes."""
    ms = partial(with_unit, unit='ms', scale=1e3)
    parts = []
    for field, title in (('forward', 'Forward'), ('forward_backward', 'Forward and backward')):
        lines = []
        for row in rows:
            seconds = row[field]
            lines.append((
                str(Case(*(row[name] for name in Case._fields))), ms(seconds['literal']),
                ms(seconds['fast']), ratio(seconds['literal'], seconds['fast']),
                ms(seconds.get('sdpa')), ratio(seconds.get('sdpa'), seconds['fast'])))
        parts.append(f'{title}, batch {rows[0]["batch"]}:\n\n{table(HEADER, lines)}')
    return '\n\n'.join(parts)


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('attention', choices=ATTENTIONS, help='which attention')
    parser.add_argument(
        '--grids', type=partial(read_case, Case), nargs='+', metavar='H,W,D,heads',
        help='grid, channels and heads (default: those of its network at 224 x 224 pixels)')
    parser.add_argument('--batch', type=positive, default=4, help='(default: %(default)s)')
    add_options(parser, rounds=15)
    return parser.parse_args(argv)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Prints the tables that the command line asks for."""
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    rows = [measure(args.attention, case, args.batch, args.rounds)
            for case in args.grids or ATTENTIONS[args.attention].cases]
    print(f'\n{markdown(rows)}')
    if args.json:
        write_rows(rows, args.json)


if __name__ == '__main__':
    main()
