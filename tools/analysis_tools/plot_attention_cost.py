# Copyright (c) mmvisionmix authors. All rights reserved.
"""Draws what key-only and dot-product attention cost LinGlo-b0 over input sizes (Fig. 4).

    python tools/analysis_tools/plot_attention_cost.py --out attention_cost.png
    python tools/analysis_tools/plot_attention_cost.py --sizes 224 384 --batch 4 --json cost.json
    python tools/analysis_tools/plot_attention_cost.py --device cuda --budget 24
    python tools/analysis_tools/plot_attention_cost.py --draw cost.json

The networks are deployed. Latency is the median over rounds in which all take their turn; memory is
what a forward pass adds to weights and images: to the peak of a fresh process or, on a GPU, to what
PyTorch has allocated there. Dot-product attention is run twice: as torch's fused attention, which
never holds the N x N matrix of weights between all tokens, and with that matrix, as it was written
when the paper was. What would need more memory than --budget for the matrices, or more time than
--patience, is left out.
"""
import argparse
import json
import math
import sys
from functools import partial
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from timing import gpu_memory, make_parser, peak_memory, time_interleaved, with_unit, write_rows
from torch import Tensor, nn

from mmvisionmix.models import LinGlo
from mmvisionmix.models.layers import SelfAttention

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import errors_in_a_line, positive_int, table  # noqa: E402  beside this folder

SLOW_ROUNDS = 2  # of a network that takes longer than timing.SLOW
SMALL = 32, 1  # pixels and images that load libraries


class Curve(NamedTuple):
    """How one attention is called and drawn.

    Attributes:
        label: Its name in the legend.
        attention: LinGlo's option.
        color: One that the colour-blind can tell from the others.
        marker: Its symbol.
    """
    label: str
    attention: str
    color: str
    marker: str


CURVES = {
    'key-only': Curve('key-only', 'key-only', '#0072b2', 'o'),
    'fused': Curve('dot-product, fused', 'dot-product', '#d55e00', 's'),
    'matrix': Curve('dot-product, matrix kept', 'dot-product', '#7f7f7f', '^'),
}


class MatrixAttention(SelfAttention):
    """Softmax attention that holds the matrix of weights between all tokens."""

    def forward(self, x: Tensor, grid: Sequence[int]) -> Tensor:
        """Mixes tokens (B, N, C); ``grid`` is not used."""
        batch, tokens, channels = x.shape
        dims = channels // self.num_heads
        qkv = self.qkv(x).view(batch, tokens, 3, self.num_heads, dims)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, N, d) each
        weights = (query / math.sqrt(dims) @ key.transpose(2, 3)).softmax(3)
        return self.proj((weights @ value).transpose(1, 2).reshape(batch, tokens, channels))


def build(name: str) -> nn.Module:
    """LinGlo-b0 with the attention of a curve, as a deployed classifier's backbone."""
    torch.manual_seed(0)
    model = LinGlo('b0', out_indices=-1, attention=CURVES[name].attention, gap_before_norm=True)
    model.switch_to_deploy()
    if name == 'matrix':
        for block in (block for stage in model.stages for block in stage.blocks):
            fused = block.mixer
            block.mixer = MatrixAttention(fused.qkv.in_features, fused.num_heads, qkv_bias=True)
            block.mixer.load_state_dict(fused.state_dict())
    return model.eval()


def prepare(name: str, size: int, batch: int, device: str = 'cpu') -> Callable[[], object]:
    """A forward pass on square images of ``size`` pixels, to its end on a GPU."""
    run = partial(build(name).to(device), torch.rand(batch, 3, size, size, device=device))
    return run if device == 'cpu' else lambda: (run(), torch.cuda.synchronize())


def matrix_gib(size: int, batch: int) -> float:
    """GiB of what :class:`MatrixAttention` holds at once: the logits and their softmax.

    The first stage needs most: one head, and a token for every 4 x 4 pixels.
    """
    tokens = math.ceil(size / 4)**2
    return 2 * 4 * batch * tokens**2 / 2**30


def predicted_seconds(rows: List[dict], name: str, size: int) -> float:
    """What a pass will take, from the largest size that was run; 0 if none was.

    Time grows with the tokens for key-only attention, and in the end with their square for others.
    """
    run = [row for row in rows if row['curve'] == name and row['seconds'] is not None]
    if not run:
        return 0.
    growth = 2 if name == 'key-only' else 4
    return run[-1]['seconds'] * (size / run[-1]['size'])**growth


def left_out(rows: List[dict], size: int, args: argparse.Namespace) -> Dict[str, str]:
    """The curves that are not run at a size, and why; ``rows`` are those of smaller sizes."""
    reasons = {}
    for name in CURVES:
        if name == 'matrix' and matrix_gib(size, args.batch) > args.budget:
            reasons[name] = f'the matrices need more than {args.budget:g} GiB'
        elif predicted_seconds(rows, name, size) > args.patience:
            reasons[name] = f'a pass takes more than {args.patience:g} s'
    return reasons


def measure_all(args: argparse.Namespace) -> List[dict]:
    """All figures that the command line asks for, from the smallest size on."""
    rows: List[dict] = []
    for size in sorted(args.sizes):
        rows += measure(size, args.batch, args.rounds, left_out(rows, size, args), args.device)
    return rows


def measure(size: int, batch: int, rounds: int, reasons: Dict[str, str],
            device: str) -> List[dict]:
    """Seconds and MiB of all curves at one input size, a row each; None where left out."""
    names = [name for name in CURVES if name not in reasons]
    runs = {name: prepare(name, size, batch, device) for name in names}
    with torch.inference_mode():
        seconds = time_interleaved(runs, rounds, f'{batch} x {size} x {size}', SLOW_ROUNDS)
        memory = {
            name: gpu_memory(run) if device == 'cuda' else
            peak_memory(prepare, (name, *SMALL), (name, size, batch)) for name, run in runs.items()}
    return [dict(size=size, batch=batch, device=device, curve=name, seconds=seconds.get(name),
                 mib=memory.get(name), left_out=reasons.get(name)) for name in CURVES]


def markdown(rows: List[dict]) -> str:
    """All figures as a table, a line per input size, and a note on what was left out."""
    header = ['pixels', *(f'{curve.label}: {figure}' for figure in ('latency', 'memory')
                          for curve in CURVES.values())]
    lines = []
    for size in sorted({row['size'] for row in rows}):
        by_curve = {row['curve']: row for row in rows if row['size'] == size}
        lines.append((
            f'{size} x {size}', *(with_unit(by_curve[name]['seconds'], 's') for name in CURVES),
            *(with_unit(by_curve[name]['mib'], 'MiB') for name in CURVES)))
    note = missing_note(rows)
    return table(header, lines) + (f'\n\n{note}' if note else '')


def missing_note(rows: List[dict]) -> str:
    """A sentence on the sizes at which curves were left out, empty if none was."""
    sizes: Dict[Tuple[str, str], List[str]] = {}
    for row in rows:
        if row['left_out']:
            sizes.setdefault((row['curve'], row['left_out']), []).append(str(row['size']))
    parts = [f'"{CURVES[name].label}" at {", ".join(at)} pixels, where {reason}'
             for (name, reason), at in sizes.items()]
    return f'Not run: {"; ".join(parts)}' if parts else ''


def draw(rows: List[dict]) -> Figure:
    """Draws the figures of :func:`measure`, latency and memory side by side."""
    figure = Figure(figsize=(9, 4.2), layout='constrained')
    latency, memory = figure.subplots(1, 2)
    draw_panel(latency, rows, 'seconds', 1, f'latency of a batch of {rows[0]["batch"]} (s)')
    draw_panel(memory, rows, 'mib', 1 / 1024, 'memory added by a forward pass (GiB)')
    handles, labels = latency.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc='outside upper center', ncols=len(labels), frameon=False)
    figure.supxlabel(
        missing_note(rows).replace('; ', '\n'), fontsize='small', color='dimgray')
    return figure


def draw_panel(ax: Axes, rows: List[dict], field: str, scale: float, title: str) -> None:
    """Draws one curve per attention, and crosses at the upper edge for what was left out."""
    sizes = sorted({row['size'] for row in rows})
    for index, (name, curve) in enumerate(CURVES.items()):
        values = {row['size']: row[field] for row in rows if row['curve'] == name}
        run = [size for size in sizes if values[size] is not None]
        ax.plot(run, [values[size] * scale for size in run], label=curve.label,
                color=curve.color, marker=curve.marker, linewidth=2)
        missing = [size for size in sizes if values[size] is None]
        if missing:
            ax.plot(missing, [1.1 - 0.05 * index] * len(missing), color=curve.color, marker='x',
                    linestyle='none', clip_on=False, transform=ax.get_xaxis_transform())
    ax.set(yscale='log', ylabel=title, xlabel='side of the input (pixels)', xticks=sizes)
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter('{x:g}')
    ax.yaxis.set_minor_locator(NullLocator())
    ax.grid(color='gainsboro')
    ax.set_axisbelow(True)
    ax.spines[['top', 'right']].set_visible(False)


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = make_parser(__doc__, rounds=5)
    parser.add_argument(
        '--sizes', type=positive_int, nargs='+', default=[224, 384, 512, 640, 768, 896, 1024],
        help='sides of the input in pixels (default: %(default)s)')
    parser.add_argument('--batch', type=positive_int, default=16, help='(default: %(default)s)')
    parser.add_argument(
        '--device', choices=('cpu', 'cuda'), default='cpu', help='(default: %(default)s)')
    parser.add_argument(
        '--budget', type=float, default=8., metavar='GIB',
        help='largest memory of the N x N matrices, logits and weights (default: %(default)s)')
    parser.add_argument(
        '--patience', type=float, default=60., metavar='S',
        help='longest forward pass in seconds, as smaller sizes let expect (default: %(default)s)')
    parser.add_argument(
        '--out', type=Path, default=Path('attention_cost.png'),
        help='picture (default: %(default)s)')
    parser.add_argument(
        '--draw', type=Path, metavar='FILE', help='draw what --json wrote; nothing is run')
    return parser.parse_args(argv)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Draws the picture that the command line asks for, and prints its figures."""
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    with errors_in_a_line(args.traceback):
        if args.device == 'cuda' and not torch.cuda.is_available():
            raise ValueError('--device cuda: torch finds no CUDA device here')
        drawn = args.draw and json.loads(args.draw.read_text(encoding='utf-8'))
        rows = drawn or measure_all(args)
        write_rows(rows, args.json)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        draw(rows).savefig(args.out, dpi=150)
        print(f'\n{markdown(rows)}\n\n{args.out}')


if __name__ == '__main__':
    main()
