# Copyright (c) mmvisionmix authors. All rights reserved.
"""Times networks side by side: backbones of this package, networks of configs, and peers.

    python tools/analysis_tools/benchmark.py linglo-b0 linglo-b0@literal timm:pvt_v2_b0
    python tools/analysis_tools/benchmark.py mcganet-base timm:pvt_v2_b0 --modes inference training
    python tools/analysis_tools/benchmark.py mcganet-base timm:pvt_v2_b0 --outputs maps --batch 1
        --sizes 224x224 512x512 800x1280 --plot curves.png
    python tools/analysis_tools/benchmark.py configs/fpn_linglo_b0_ade20k.py --sizes 512x512

All run in one process, in turn, round after round; a figure is the median over rounds, and "spread"
half the distance between their quartiles. Images and weights are random. networks.py, beside this
file, tells how networks are named.

Inference is of networks folded for it, without gradients; in bfloat16 and float16 weights are cast.
A training step is forward, backward and AdamW, with the mean square of the outputs for a loss; in
bfloat16 and float16 it runs under autocast. Memory is what a pass adds to the peak.
"""
import argparse
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Callable, List, NamedTuple, Optional, Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from mmengine.device import get_device
from networks import EXPORTED, Images, build
from timing import MODES, gpu_memory, make_parser, markdown, measure, peak_memory, write_rows
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import errors_in_a_line, positive_int, read_size  # noqa: E402  beside this folder

DTYPES = dict(float32=torch.float32, bfloat16=torch.bfloat16, float16=torch.float16)
SMALL = Images(1, 64, 64, 'vectors')  # loads libraries before memory is measured


class Settings(NamedTuple):
    """How all networks are run."""
    device: str = 'cpu'
    dtype: str = 'float32'


def prepare(name: str, images: Images, mode: str, settings: Settings) -> partial:
    """Builds a network and returns its inference or its training step, on images that stay."""
    training = mode == 'training'
    if (name.rpartition('@')[2] in EXPORTED
            and (settings.device, settings.dtype) != ('cpu', 'float32')):
        raise ValueError(f'{name} runs on the CPU in float32')
    model = build(name, images, training).to(settings.device)
    x = torch.randn(images.batch, 3, images.height, images.width, device=settings.device)
    dtype = DTYPES[settings.dtype]
    if training:
        return partial(step, model, torch.optim.AdamW(model.parameters()), x, dtype)
    return partial(infer, model.to(dtype), x.to(dtype))


@torch.inference_mode()
def infer(model: nn.Module, x: Tensor) -> object:
    """A forward pass without gradients."""
    return model(x)


def step(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor,
         dtype: torch.dtype) -> None:
    """A forward pass, a backward pass and an update of the weights."""
    lower = nullcontext() if dtype == torch.float32 else torch.autocast(x.device.type, dtype)
    with lower:
        outputs = tree_flatten(model(x))[0]
        loss = sum(out.float().square().mean() for out in outputs)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def measure_networks(names: Sequence[str], images: Images, mode: str, settings: Settings,
                     rounds: int, memory: bool) -> List[dict]:
    """Times networks in one mode on images of one size: a row each."""
    runs = {name: prepare(name, images, mode, settings) for name in names}
    return measure(
        runs, images, mode, images.batch, rounds,
        (lambda name: added_memory(runs[name], name, images, mode, settings)) if memory else None,
        height=images.height, width=images.width, outputs=images.outputs, **settings._asdict())


def added_memory(run: Callable[[], object], name: str, images: Images, mode: str,
                 settings: Settings) -> float:
    """MiB that a run adds to what is there: of a GPU, or of a fresh process on a CPU."""
    if not settings.device.startswith('cuda'):
        return peak_memory(prepare, (name, SMALL._replace(outputs=images.outputs), mode, settings),
                           (name, images, mode, settings), gradients=mode == 'training')
    return gpu_memory(run)


def draw(rows: List[dict]) -> Figure:
    """Draws time, and memory where it was measured, over the pixels of an image; a row per mode."""
    figures = {'seconds': 'seconds'}
    if any(row['mib'] for row in rows):
        figures['mib'] = 'MiB that it adds'
    modes = sorted({row['mode'] for row in rows})
    names = len({row['name'] for row in rows})
    height = 3.6 * len(modes) + .22 * (names + 1)
    figure = Figure(figsize=(5 * len(figures), height), layout='constrained')
    panels = figure.subplots(len(modes), len(figures), squeeze=False)
    for mode, line in zip(modes, panels):
        for (field, label), ax in zip(figures.items(), line):
            draw_panel(ax, [row for row in rows if row['mode'] == mode], field)
            ax.set(title=f'{mode}, batch {rows[0]["batch"]}', ylabel=label)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside upper left', frameon=False)
    return figure


def draw_panel(ax: Axes, rows: List[dict], field: str) -> None:
    """Draws a curve per network, and a line that grows in proportion to the pixels."""
    names = list(dict.fromkeys(row['name'] for row in rows))
    for name, marker in zip(names, 'osD^vP*X' * len(names)):
        points = sorted((row['height'] * row['width'], row[field]) for row in rows
                        if row['name'] == name)
        ax.plot(*zip(*points), label=name, marker=marker, markersize=4)
    sizes = {row['height'] * row['width']: f'{row["height"]}x{row["width"]}' for row in rows}
    lowest, smallest = min(row[field] for row in rows), min(sizes)
    ax.plot(sorted(sizes), [lowest * pixels / smallest for pixels in sorted(sizes)], color='gray',
            linestyle=':', label='in proportion to pixels')
    ax.set(xscale='log', yscale='log', xlabel='image')
    ax.set_xticks(list(sizes), list(sizes.values()), rotation=30, ha='right')
    ax.xaxis.set_minor_locator(NullLocator())
    ax.grid(alpha=.3, which='both')


def network_parser(description: str, rounds: int) -> argparse.ArgumentParser:
    """A parser with the options that say which networks are run, on what images and how."""
    parser = make_parser(description, rounds)
    parser.add_argument('networks', nargs='+', metavar='NETWORK', help='see above')
    parser.add_argument(
        '--sizes', type=read_size, nargs='+', default=[(224, 224)], metavar='HEIGHTxWIDTH',
        help='pixels of the images (default: 224x224)')
    parser.add_argument('--batch', type=positive_int, default=4, help='(default: %(default)s)')
    parser.add_argument(
        '--outputs', choices=('vectors', 'maps'), default='vectors',
        help='one vector per image, as classifiers need, or four maps (default: vectors)')
    parser.add_argument('--modes', nargs='+', choices=MODES, default=['inference'])
    parser.add_argument('--device', default=get_device(), help='(default here: %(default)s)')
    parser.add_argument('--dtype', choices=DTYPES, default='float32')
    return parser


def settings_of(args: argparse.Namespace) -> Settings:
    """How the command line wants networks to be run."""
    return Settings(args.device, args.dtype)


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = network_parser(__doc__, rounds=15)
    parser.add_argument('--memory', action='store_true', help='measure memory too')
    parser.add_argument(
        '--baseline', metavar='NETWORK', help='what ratios refer to (default: the first)')
    parser.add_argument(
        '--plot', type=Path, metavar='PNG', help='draw the figures over several sizes')
    args = parser.parse_args(argv)
    args.baseline = args.baseline or args.networks[0]
    if args.baseline not in args.networks:
        parser.error(f'the baseline {args.baseline} is none of {", ".join(args.networks)}')
    if args.plot and len(set(args.sizes)) < 2:
        parser.error('--plot draws curves over image sizes: give several to --sizes')
    return args


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Prints the table that the command line asks for."""
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    settings = settings_of(args)
    rows: List[dict] = []
    with errors_in_a_line(args.traceback):
        for size in args.sizes:
            for mode in args.modes:
                rows += measure_networks(
                    args.networks, Images(args.batch, *size, args.outputs), mode, settings,
                    args.rounds, args.memory)
        print(f'\n{markdown(rows, args.baseline)}')
        write_rows(rows, args.json)
        if args.plot:
            args.plot.parent.mkdir(parents=True, exist_ok=True)
            draw(rows).savefig(args.plot, dpi=120)


if __name__ == '__main__':
    main()
