# Copyright (c) mmvisionmix authors. All rights reserved.
"""Times the forms of token mixers side by side, and softmax attention beside them.

    python tools/analysis_tools/benchmark_layers.py
    python tools/analysis_tools/benchmark_layers.py lkca --cases 64,64,384,6 --batch 1 --memory
    python tools/analysis_tools/benchmark_layers.py key-only partition --forms literal folded packed

A mixer is a layer with its projections: lkca (LKCA-ViT), key-only (LinGlo), group (MCGANet) or
partition (DualFormer). Its forms are those of its option impl, of which literal is the paper's
formula, and deployed: weights folded for inference. sdpa is torch's scaled_dot_product_attention
between its own projections.

All forms run in one process, in turn, round after round; a figure is the median over rounds.
Training is a forward and a backward pass, to the inputs and all weights.
"""
import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple, Type

import torch
from timing import MODES, make_parser, markdown, measure, peak_memory, write_rows
from torch import Tensor, nn

from mmvisionmix.models import DualFormer, LinGlo, LKCAViT, MCGANet
from mmvisionmix.models.layers import (
    Foldable,
    GroupAttention,
    KeyOnlyAttention,
    LargeKernelAttention,
    PartitionAttention,
    SelfAttention,
)
from mmvisionmix.ops import group_attention, large_kernel, partition_attention

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import errors_in_a_line, positive_int  # noqa: E402  beside this folder

DEPLOYED, PEER = 'deployed', 'sdpa'
MAX_PEER_TOKENS = 4096
"""Softmax attention over more tokens is left out: it would take most of the time."""
SIDES = (56, 28, 14, 7)  # of the maps of four stages, of images of 224 x 224 pixels


class Case(NamedTuple):
    """Grid H x W, channels D and heads of a layer; LKCA has no heads, its peer has."""
    height: int
    width: int
    dims: int
    heads: int

    def __str__(self) -> str:
        return f'{self.height} x {self.width} x {self.dims} ({self.heads})'


class Mixer(NamedTuple):
    """How a mixer is built and called.

    Attributes:
        layer: Its class.
        impls: Its forms.
        on_maps: Whether it takes maps (B, D, H, W), and not tokens (B, N, D) and their grid.
        cases: Those of its network.
    """
    layer: Type[nn.Module]
    impls: Tuple[str, ...]
    on_maps: bool
    cases: Tuple[Case, ...]


_LKCA_S = LKCAViT.arch_settings['s']['embed_dims']
_LINGLO, _MCGANET, _DUALFORMER = (
    LinGlo.arch_settings['b0'], MCGANet.arch_settings['base'], DualFormer.arch_settings['xs'])
MIXERS: Dict[str, Mixer] = {
    'lkca': Mixer(
        LargeKernelAttention, large_kernel.IMPLS, False,
        tuple(Case(side, side, _LKCA_S, _LKCA_S // 64) for side in (14, 32))),
    'key-only': Mixer(
        KeyOnlyAttention, ('literal', ), False,
        tuple(map(Case, SIDES, SIDES, _LINGLO['embed_dims'], _LINGLO['num_heads']))),
    'group': Mixer(
        GroupAttention, group_attention.IMPLS, True,
        tuple(map(Case, SIDES, SIDES, _MCGANET['embed_dims'], _MCGANET['num_heads']))),
    'partition': Mixer(  # half the channels, on maps that are downsampled
        PartitionAttention, partition_attention.IMPLS, True,
        tuple(Case(side // step, side // step, dims // 2, 8) for side, step, dims in zip(
            SIDES, _DUALFORMER['reductions'], _DUALFORMER['embed_dims']))),
}
FORMS = tuple(dict.fromkeys([
    *(impl for mixer in MIXERS.values() for impl in mixer.impls if impl != 'auto'), DEPLOYED, PEER
]))


def build(name: str, form: str, case: Case) -> nn.Module:
    """A form of a mixer; those of one mixer have the same weights."""
    torch.manual_seed(0)
    layer = MIXERS[name].layer
    if form == PEER:
        return SelfAttention(case.dims, case.heads)
    options = {} if layer is KeyOnlyAttention else dict(
        impl='auto' if form == DEPLOYED else form)
    if layer is LargeKernelAttention:
        built = layer(case.dims, case[:2], **options)
        nn.init.trunc_normal_(built.kernel, std=0.02)
    else:
        built = layer(case.dims, case.heads, **options)
    if form == DEPLOYED:
        built.eval().switch_to_deploy()
    return built


def forms_of(name: str, case: Case, mode: str, wanted: Sequence[str] = FORMS) -> List[str]:
    """The forms, of those that are wanted, that a mixer has in a mode."""
    mixer = MIXERS[name]
    there = list(mixer.impls)
    if mode == 'inference' and issubclass(mixer.layer, Foldable):
        there.append(DEPLOYED)
    if case.height * case.width <= MAX_PEER_TOKENS:
        there.append(PEER)
    return [form for form in wanted if form in there]


def prepare(name: str, form: str, case: Sequence[int], batch: int,
            mode: str) -> Callable[[], object]:
    """A pass of a form of a mixer on a batch."""
    case = Case(*case)
    layer = build(name, form, case)
    grid = (case.height, case.width)
    if MIXERS[name].on_maps and form != PEER:
        inputs: tuple = (torch.randn(batch, case.dims, *grid), )
    else:
        inputs = (torch.randn(batch, case.height * case.width, case.dims), grid)
    if mode == 'inference':
        return partial(infer, layer.eval(), inputs)
    inputs[0].requires_grad_()
    return partial(train, layer.train(), inputs, torch.randn_like(inputs[0]))


@torch.inference_mode()
def infer(layer: nn.Module, inputs: tuple) -> Tensor:
    """A forward pass without gradients."""
    return layer(*inputs)


def train(layer: nn.Module, inputs: tuple, grad: Tensor) -> Tuple[Tensor, ...]:
    """A forward and a backward pass, with gradients of the input and all weights."""
    return torch.autograd.grad(layer(*inputs), (inputs[0], *layer.parameters()), grad)


def measure_case(name: str, case: Case, mode: str, args: argparse.Namespace) -> List[dict]:
    """Times the forms of a mixer: a row each."""
    forms = forms_of(name, case, mode, args.forms)
    runs = {form: prepare(name, form, case, args.batch, mode) for form in forms}

    def memory(form: str) -> float:
        small = Case(4, 4, case.dims, case.heads)
        return peak_memory(prepare, (name, form, small, 1, mode),
                           (name, form, case, args.batch, mode), gradients=mode == 'training')

    return measure(runs, f'{name}, {case}', mode, args.batch, args.rounds,
                   memory if args.memory else None, mixer=name, **case._asdict())


def read_case(text: str) -> Case:
    """Reads ``HEIGHT,WIDTH,DIMS,HEADS`` from the command line."""
    numbers = text.split(',')
    if len(numbers) != len(Case._fields):
        raise argparse.ArgumentTypeError(f'must be {",".join(Case._fields)}, got {text!r}')
    case = Case(*map(positive_int, numbers))
    if case.dims % case.heads:
        raise argparse.ArgumentTypeError(f'dims must be a multiple of heads, got {text!r}')
    return case


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = make_parser(__doc__, rounds=15)
    parser.add_argument(
        'mixers', nargs='*', metavar='MIXER', help=f'of {", ".join(MIXERS)} (default: all)')
    parser.add_argument(
        '--cases', type=read_case, nargs='+', metavar='H,W,D,heads',
        help='grid, channels and heads (default: those of a network at 224 x 224 pixels; of lkca '
        'at 512 x 512 too)')
    parser.add_argument(
        '--forms', nargs='+', choices=FORMS, default=FORMS, metavar='FORM',
        help=f'of {", ".join(FORMS)} (default: all that a mixer has)')
    parser.add_argument('--batch', type=positive_int, default=4, help='(default: %(default)s)')
    parser.add_argument('--modes', nargs='+', choices=MODES, default=MODES)
    parser.add_argument('--memory', action='store_true', help='measure memory too')
    args = parser.parse_args(argv)
    unknown = set(args.mixers) - set(MIXERS)
    if unknown:
        parser.error(f'no mixer {", ".join(sorted(unknown))}; there are {", ".join(MIXERS)}')
    return args


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Prints the table that the command line asks for."""
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    rows: List[dict] = []
    with errors_in_a_line(args.traceback):
        for name in args.mixers or MIXERS:
            for case in args.cases or MIXERS[name].cases:
                for mode in args.modes:
                    rows += measure_case(name, case, mode, args)
        print(f'\n{markdown(rows, "literal")}')
        write_rows(rows, args.json)


if __name__ == '__main__':
    main()
