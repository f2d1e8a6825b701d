# Copyright (c) mmvisionmix authors. All rights reserved.
"""Trains backbones of equal size on the demo data, and draws how they learn.

    python projects/studies/learning_curves.py

Two tasks: segmentation with UPerNet and detection with RetinaNet, by the configs of configs/toy.
Our four backbones and two peers, a ViT and a ResNet, have 3.5 million parameters each, and see the
same images for the same number of iterations. Every network is trained from several seeds, one
thread each. The data are made where they are missing. Networks that are trained already are not
trained again, so an interrupted study goes on where it stopped.
"""
import argparse
import statistics
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mmengine.config import Config
from studies import History, mean_and_spread, prepare, train_all, train_once

from mmvisionmix import config_path

from common import positive_int, table  # isort: skip  # studies adds the tools' folders
from demo_data import SceneRecipe, write_ade20k, write_coco  # isort: skip
from get_flops import count_parts  # isort: skip

VALIDATIONS = 6  # of every training


class Task(NamedTuple):
    """What the networks learn.

    Attributes:
        config: What follows the network in the name of the config.
        metric: Its name in the logs.
        scale: What makes it percent.
        label: Its name for a reader.
        iterations: Of a training.
        write: Writes the data.
        data: Where the config expects them.
        recipe: What to draw.
    """
    config: str
    metric: str
    scale: float
    label: str
    iterations: int
    write: Callable[[str, SceneRecipe], bool]
    data: str
    recipe: SceneRecipe


class Network(NamedTuple):
    """How a network is called and drawn; peers are dashed."""
    label: str
    colour: str
    style: str = '-'


TASKS = dict(
    segmentation=Task(
        'upernet_demo-ade20k', 'mIoU', 1, 'mIoU', 300, write_ade20k, 'data/demo/ade20k',
        SceneRecipe()),
    detection=Task(
        'retinanet_demo-coco', 'coco/bbox_mAP', 100, 'box AP', 420, write_coco,
        'data/demo/coco128', SceneRecipe(size=128, train=400, val=100)))
NETWORKS = {
    'lkca-3.5m': Network('LKCA-ViT', 'tab:blue'),
    'linglo': Network('LinGlo-b0', 'tab:orange'),
    'mcganet-3.5m': Network('MCGANet', 'tab:green'),
    'dualformer-3.5m': Network('DualFormer', 'tab:red'),
    'vit-3.5m': Network('ViT', 'black', '--'),
    'resnet-3.5m': Network('ResNet', 'tab:gray', '--'),
}


class Run(NamedTuple):
    """One training: which network, on what, and where its files go."""
    network: str
    task: str
    seed: int
    iterations: int
    out: Path

    @property
    def folder(self) -> Path:
        """Where logs and the result go."""
        return self.out / f'{self.network}_{self.task}_{self.iterations}_seed{self.seed}'

    def make_config(self) -> Config:
        """The network's config with the schedule of this study."""
        cfg = read_config(self.network, self.task)
        warm_up, decay = cfg.param_scheduler
        warm_up.end = decay.begin = min(warm_up.end, self.iterations // 2)
        decay.end = self.iterations
        cfg.train_cfg.update(
            max_iters=self.iterations, val_interval=self.iterations // VALIDATIONS)
        return prepare(cfg, self.folder, self.seed)

    def train(self) -> History:
        """Trains, unless that was done; returns the metric of the task at every validation."""
        task = TASKS[self.task]
        return train_once(self.make_config(), task.metric, task.scale)


Histories = Dict[Run, History]


def read_config(network: str, task: str) -> Config:
    """The config of a network for a task."""
    return Config.fromfile(config_path(f'{network}_{TASKS[task].config}'))


def select(histories: Histories, task: str, network: str) -> List[History]:
    """The histories of all seeds of a network on a task."""
    return [history for run, history in histories.items()
            if (run.task, run.network) == (task, network)]


def tabulate(histories: Histories) -> str:
    """A Markdown table: what the networks cost, and what they reach on every task."""
    tasks = list(dict.fromkeys(run.task for run in histories))
    lines = []
    for name in dict.fromkeys(run.network for run in histories):
        _, cost = count_parts(read_config(name, 'segmentation'), (128, 128))
        reached = (mean_and_spread([history[-1][1] for history in select(histories, task, name)])
                   for task in tasks)
        lines.append((NETWORKS[name].label, f'{cost.parameters / 1e6:.2f}M',
                      f'{cost.macs / 1e9:.2f}G', *reached))
    header = ('backbone', 'parameters', 'MACs', *(TASKS[task].label for task in tasks))
    return table(header, lines)


def draw(histories: Histories) -> Figure:
    """Draws the metric by iterations, a panel per task."""
    tasks = list(dict.fromkeys(run.task for run in histories))
    figure = Figure(figsize=(4.5 * len(tasks), 3.6), dpi=110, layout='constrained')
    for ax, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks):
        draw_task(ax, task, histories)
    return figure


def draw_task(ax: Axes, task: str, histories: Histories) -> None:
    """Draws every network's mean over seeds, in a band from the worst to the best seed."""
    for name in dict.fromkeys(run.network for run in histories):
        label, colour, style = NETWORKS[name]
        seeds = select(histories, task, name)
        iterations = [at for at, _ in seeds[0]]
        by_time = list(zip(*([value for _, value in history] for history in seeds)))
        ax.plot(iterations, [statistics.mean(values) for values in by_time], style,
                color=colour, label=label)
        ax.fill_between(iterations, [min(values) for values in by_time],
                        [max(values) for values in by_time], color=colour, alpha=0.12, linewidth=0)
    ax.set_title(task.capitalize(), fontsize=10)
    ax.set_xlabel('iterations')
    ax.set_ylabel(f'{TASKS[task].label} (%)')
    ax.grid(alpha=0.3)
    ax.legend(fontsize=8)


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--tasks', nargs='+', choices=TASKS, default=list(TASKS),
                        help='(default: both)')
    parser.add_argument('--backbones', nargs='+', choices=NETWORKS, default=list(NETWORKS),
                        help='(default: all)')
    parser.add_argument(
        '--seeds', nargs='+', type=int, default=[0, 1, 2], help='(default: 0 1 2)')
    budgets = ', '.join(f'{task.iterations} for {name}' for name, task in TASKS.items())
    parser.add_argument(
        '--iterations', type=positive_int,
        help=f'length of every training, at least {VALIDATIONS} (default: {budgets})')
    parser.add_argument(
        '--workers', type=positive_int, default=2,
        help='networks trained at a time (default: %(default)s)')
    parser.add_argument(
        '--out', type=Path, default=Path('work_dirs/learning_curves'),
        help='folder for logs and results (default: %(default)s)')
    parser.add_argument('--picture', type=Path, help='where to draw the curves')
    args = parser.parse_args(argv)
    if args.iterations is not None and args.iterations < VALIDATIONS:
        parser.error(f'--iterations must be at least {VALIDATIONS}, got {args.iterations}')
    return args


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Trains what is not trained yet, prints the table and draws the curves."""
    args = parse_args(argv)
    for task in (TASKS[name] for name in args.tasks):
        task.write(task.data, task.recipe)
    histories = train_all([
        Run(network, task, seed, args.iterations or TASKS[task].iterations, args.out)
        for seed in args.seeds for task in args.tasks for network in args.backbones], args.workers)
    print(f'\nBy the backbone; percent after the last iteration: mean ± standard deviation '
          f'(every seed)\n\n{tabulate(histories)}')
    if args.picture:
        args.picture.parent.mkdir(parents=True, exist_ok=True)
        draw(histories).savefig(args.picture)
        print(f'\nDrawn: {args.picture}')


if __name__ == '__main__':
    main()
