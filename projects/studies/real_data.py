# Copyright (c) mmvisionmix authors. All rights reserved.
"""Keeps what trainings on real data gave, and makes the tables and curves of docs/real_data.md.

    python tools/train.py configs/real/NAME.py --work-dir work_dirs/NAME
    python tools/test.py configs/real/NAME.py work_dirs/NAME/iter_1500.pth \
        --work-dir work_dirs/NAME/test
    python projects/studies/real_data.py record work_dirs/NAME
    python projects/studies/real_data.py write

``record`` reads a work dir, whose training may have been interrupted and resumed, and writes
``projects/studies/runs/NAME-sSEED.json``: environment, loss, metrics in the course of training and
in the end. ``write`` makes tables and curves of all that are there.
"""
import argparse
import json
import re
import sys
from functools import reduce
from itertools import permutations
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from matplotlib.figure import Figure
from mmengine.config import Config

from mmvisionmix import config_path

STUDIES = Path(__file__).resolve().parent
ROOT = STUDIES.parents[1]
RUNS, PAGE = STUDIES / 'runs', ROOT / 'docs/real_data.md'
CURVES = ROOT / 'docs/images/real_data.png'
sys.path[:0] = [str(ROOT / 'tools'), str(ROOT / 'tools/analysis_tools')]
from common import add_traceback, errors_in_a_line, put_between, table  # noqa: E402
from get_flops import count_parts  # noqa: E402

ENVIRONMENT = ('Python', 'PyTorch', 'TorchVision', 'MMEngine', 'GPU 0')
PRECISIONS = {'OptimWrapper': 'float32', 'AmpOptimWrapper': 'float16',
              'mmvisionmix.BFloat16OptimWrapper': 'bfloat16'}
LOSSES = 60  # kept of a training, averaged between


class Study(NamedTuple):
    """Networks that are trained alike.

    Attributes:
        ending: What names of configs end in.
        title: Of the panel with curves.
        size: Height and width that multiply-adds are counted at.
        metrics: Names in the logs, names for a reader and what makes them percent; the first is
            drawn.
    """
    ending: str
    title: str
    size: Tuple[int, int]
    metrics: Dict[str, Tuple[str, float]]


STUDIES_BY_NAME = {
    'cifar10': Study('_1xb128-100e_cifar10-images', 'CIFAR-10', (32, 32),
                     {'accuracy/top1': ('top-1', 1)}),
    'camvid': Study('_1xb4-1500_camvid-240x320', 'CamVid', (360, 480),
                    {'mIoU': ('mIoU', 1), 'aAcc': ('aAcc', 1)}),
    'nuclei': Study('_mask-rcnn_1xb4-1000_nuclei-256x256', 'Nuclei', (512, 512),
                    {'coco/segm_mAP': ('mask AP', 100), 'coco/bbox_mAP': ('box AP', 100),
                     'coco/segm_mAP_50': ('mask AP50', 100)}),
    'bccd': Study('_retinanet_1xb4-1000_bccd-240x320', 'BCCD', (240, 320),
                  {'pascal_voc/AP50': ('AP50', 100)}),
}


def study_of(config: str) -> str:
    """The study that a config belongs to, by its name.

    Raises:
        ValueError: If there is none.
    """
    for name, study in STUDIES_BY_NAME.items():
        if config.endswith(study.ending):
            return name
    raise ValueError(f'{config} is no config of configs/real')


def logged(work_dir: Path) -> Iterator[dict]:
    """Every entry of the logs in order of time; what was trained again after a stop comes twice."""
    for file in sorted(work_dir.glob('*/vis_data/scalars.json')):
        yield from map(json.loads, file.read_text().splitlines())


def thinned(points: Dict[int, float]) -> List[Tuple[int, float]]:
    """At most :data:`LOSSES` means over neighbours, each at its last step."""
    steps = sorted(points)
    width = -(-len(steps) // LOSSES)
    groups = [steps[at:at + width] for at in range(0, len(steps), width or 1)]
    return [(group[-1], round(sum(map(points.get, group)) / len(group), 4)) for group in groups]


def read_log(work_dir: Path, study: Study) -> Tuple[Dict[int, float], Dict[str, Dict[int, float]]]:
    """Loss by iterations, and every metric of the validations by epochs or iterations."""
    losses: Dict[int, float] = {}
    metrics: Dict[str, Dict[int, float]] = {key: {} for key in study.metrics}
    for entry in logged(work_dir):
        if 'loss' in entry:
            losses[entry['step']] = entry['loss']
        for key in metrics.keys() & entry.keys():
            metrics[key][entry['step']] = round(entry[key], 4)
    return losses, metrics


def read_result(work_dir: Path, cfg: Config, last: Dict[str, float]) -> Dict[str, float]:
    """Metrics on the test part, those of the last validation if that was on the same part.

    Raises:
        ValueError: If there are none, or they are older than the training.
    """
    tests = sorted(work_dir.glob('test/*/*.json'))
    if tests and tests[-1].parent.name < max(work_dir.glob('2*')).name:
        raise ValueError(f'{work_dir}/test is older than the training')
    if tests:
        last = json.loads(tests[-1].read_text())
    elif cfg.test_dataloader.dataset != cfg.val_dataloader.dataset:
        raise ValueError(f'{work_dir}/test holds no result of tools/test.py')
    return {key: round(value, 4) for key, value in last.items()}


def setting(cfg: Config, path: str) -> Any:
    """A setting by its path, as --cfg-options has it; None if there is none."""
    return reduce(lambda found, key: (found or {}).get(key), path.split('.'), cfg)


def record(work_dir: Path) -> Path:
    """Keeps a finished training as JSON.

    Args:
        work_dir: Of ``tools/train.py``; ``test`` in it is of ``tools/test.py``.

    Returns:
        The file that was written.

    Raises:
        ValueError: If the training has not ended or was not tested, or was of another recipe than
            the config of its name.
    """
    if len(dumps := list(work_dir.glob('*.py'))) != 1:
        raise ValueError(f'{work_dir} is no folder of one training')
    dumped, = dumps
    name, used = dumped.stem, Config.fromfile(dumped)
    study, cfg = STUDIES_BY_NAME[study_of(name)], Config.fromfile(config_path(name))
    for path in ('model', 'param_scheduler', 'train_cfg.max_iters', 'train_cfg.max_epochs',
                 'optim_wrapper.optimizer', 'optim_wrapper.paramwise_cfg',
                 'optim_wrapper.clip_grad', 'train_dataloader.batch_size',
                 'train_dataloader.dataset.pipeline'):
        if setting(cfg, path) != setting(used, path):
            raise ValueError(f'{dumped}: {path} is not that of the config {name}')
    losses, metrics = read_log(work_dir, study)
    length = cfg.train_cfg.get('max_iters', cfg.train_cfg.get('max_epochs'))
    if any(length not in values for values in metrics.values()):
        raise ValueError(f'{work_dir}: the training has not ended')
    result = read_result(work_dir, cfg, {key: metrics[key][length] for key in metrics})
    log = max(work_dir.glob('2*/*.log')).read_text()
    whole, _ = count_parts(cfg, study.size)
    file = RUNS / f'{name}-s{used.randomness.seed}.json'
    RUNS.mkdir(exist_ok=True)
    file.write_text(compact(dict(
        config=name, seed=used.randomness.seed, started=max(work_dir.glob('2*')).name[:8],
        precision=PRECISIONS[used.optim_wrapper.type],
        environment=dict(re.findall(
            rf'^ *({"|".join(ENVIRONMENT)}): (.+?)(?: \(.*)?$', log, re.MULTILINE)),
        parameters=whole.parameters, macs=whole.macs,
        result={key: result[key] for key in study.metrics},
        validation={key: sorted(values.items()) for key, values in metrics.items()},
        loss=thinned(losses))))
    return file


def compact(kept: Dict[str, Any]) -> str:
    """JSON with a line per key."""
    lines = (f'  {json.dumps(key)}: {json.dumps(value)}' for key, value in kept.items())
    return '{\n' + ',\n'.join(lines) + '\n}\n'


def recorded(study: str) -> Dict[str, List[dict]]:
    """The runs of a study by config, every seed of each, the best network first."""
    ending, metric = STUDIES_BY_NAME[study].ending, next(iter(STUDIES_BY_NAME[study].metrics))
    found: Dict[str, List[dict]] = {}
    for file in sorted(RUNS.glob(f'*{ending}-s*.json')):
        run = json.loads(file.read_text())
        found.setdefault(run['config'], []).append(run)
    return dict(sorted(
        found.items(), key=lambda item: -max(run['result'][metric] for run in item[1])))


def label(config: str, study: str) -> str:
    """The network of a config, and its decoder if the study has several."""
    return config[:-len(STUDIES_BY_NAME[study].ending)].replace('_', ', ')


def changed(study: str) -> Dict[str, str]:
    """Configs of networks that are another with a change, as NETWORK-CHANGE, and that other's."""
    pairs = permutations(recorded(study), 2)
    return {config: other for config, other in pairs
            if config.startswith(other.partition('_')[0] + '-')
            and config.partition('_')[2] == other.partition('_')[2]}


def tabulate(study: str, configs: Sequence[str]) -> str:
    """A Markdown table of a study: sizes, and every seed's metrics after the last step.

    The first metric stands there of the validation part, too, where that is another.
    """
    metrics, found = STUDIES_BY_NAME[study].metrics, recorded(study)
    key, (shown, scale) = next(iter(metrics.items()))
    last = {config: [run['validation'][key][-1][1] for run in found[config]] for config in configs}
    apart = any(last[config] != [run['result'][key] for run in found[config]] for config in configs)
    rows = []
    for config in configs:
        runs = found[config]
        first = runs[0]
        rows.append((
            f'[{label(config, study)}](../configs/real/{config}.py)',
            f'{first["parameters"] / 1e6:.2f}M', f'{first["macs"] / 1e9:.2f}G',
            ', '.join(sorted({run['precision'] for run in runs})),
            *(', '.join(f'{scale * run["result"][key]:.1f}' for run in runs)
              for key, (_, scale) in metrics.items()),
            *([', '.join(f'{scale * value:.1f}' for value in last[config])] if apart else [])))
    return table(('network', 'parameters', 'MACs', 'precision',
                  *(shown for shown, _ in metrics.values()),
                  *([f'{shown}, validation'] if apart else [])), rows)


def draw() -> Figure:
    """Draws validation metrics in the course of training, a panel per study; peers are dashed."""
    studies = [name for name in STUDIES_BY_NAME if recorded(name)]
    figure = Figure(figsize=(4.5 * len(studies), 3.8), dpi=110, layout='constrained')
    for ax, name in zip(figure.subplots(1, len(studies), squeeze=False)[0], studies):
        study = STUDIES_BY_NAME[name]
        key, (shown, scale) = next(iter(study.metrics.items()))
        others = changed(name)
        for config, runs in recorded(name).items():
            if config in others:
                continue
            ours = 'mmvisionmix' in Config.fromfile(config_path(config)).model.backbone.type
            for run in runs:
                steps, values = zip(*run['validation'][key])
                ax.plot(steps, [scale * value for value in values], '.-' if ours else '.--',
                        label=label(config, name) if run is runs[0] else None)
        ax.set_title(study.title, fontsize=10)
        ax.set_xlabel('epochs' if max(steps) < 300 else 'iterations')
        ax.set_ylabel(f'{shown} (%)')
        ax.grid(alpha=0.3)
        ax.legend(fontsize=8)
    return figure


def fill(page: str) -> str:
    """Puts the tables in their places in the page.

    Raises:
        ValueError: If the page has no place for a table.
    """
    for name in STUDIES_BY_NAME:
        found, others = recorded(name), changed(name)
        beside = sorted({*others, *others.values()}, key=lambda config: label(config, name))
        for marks, configs in ((name, [config for config in found if config not in others]),
                               (f'changed {name}', beside)):
            if configs:
                page = put_between(page, f'<!-- begin {marks}: real_data.py write -->',
                                   f'<!-- end {marks} -->', tabulate(name, configs))
    return page


def write() -> None:
    """Writes the tables into the page, and draws the curves."""
    PAGE.write_text(fill(PAGE.read_text(encoding='utf-8')), encoding='utf-8')
    draw().savefig(CURVES)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Records trainings, or writes the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest='command', required=True)
    commands.add_parser('record', help='keep trainings').add_argument(
        'work_dirs', type=Path, nargs='+')
    commands.add_parser('write', help='write tables and curves')
    add_traceback(parser)
    args = parser.parse_args(argv)
    with errors_in_a_line(args.traceback):
        if args.command == 'write':
            write()
        else:
            for work_dir in args.work_dirs:
                print(f'written: {record(work_dir)}')


if __name__ == '__main__':
    main()
