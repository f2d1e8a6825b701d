# Copyright (c) mmvisionmix authors. All rights reserved.
"""What the studies share: many short trainings in parallel, none of them twice."""
import json
import statistics
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Dict, List, Optional, Protocol, Sequence, Tuple, TypeVar

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from rich.progress import track

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
sys.path[:0] = [str(TOOLS), str(TOOLS / 'dataset_tools'), str(TOOLS / 'analysis_tools')]

LOADERS = ('train_dataloader', 'val_dataloader')
History = List[Tuple[int, float]]
"""How far the training was, in epochs or iterations, and the metric then, in percent."""


class Run(Protocol):
    """One training of a study; hashable, and it can be sent to another process."""

    @property
    def folder(self) -> Path:
        """Where logs and the result go."""

    def train(self) -> History:
        """Trains, unless that was done."""


Trained = TypeVar('Trained', bound=Run)


class Recorder(Hook):
    """Keeps a validation metric, as :data:`History`.

    Args:
        metric: Its name.
        scale: What makes it percent.
    """

    def __init__(self, metric: str, scale: float) -> None:
        self.metric, self.scale = metric, scale
        self.history: History = []

    def after_val_epoch(self, runner: Runner, metrics: Optional[Dict[str, float]] = None) -> None:
        """Notes the metric; there is none, and it is 0, if a detector finds nothing at all."""
        value = self.scale * float(metrics[self.metric]) if metrics else 0.
        self.history.append((runner.epoch or runner.iter, value))  # iterations have no epochs


def prepare(cfg: Config, folder: Path, seed: int) -> Config:
    """Makes a config part of a study: it keeps no checkpoints, tests nothing and hardly logs."""
    for name in LOADERS:
        cfg[name].num_workers, cfg[name].persistent_workers = 0, False
    cfg.test_dataloader = cfg.test_cfg = cfg.test_evaluator = None
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=-1, save_last=False)
    cfg.randomness = dict(seed=seed)
    cfg.work_dir, cfg.log_level = str(folder), 'ERROR'
    cfg.env_cfg.mp_cfg.mp_start_method = 'spawn'  # as train_all starts processes
    return cfg


def train_once(cfg: Config, metric: str, scale: float = 1.) -> History:
    """Trains on one thread, unless the work dir has a result.

    Args:
        cfg: What :func:`prepare` gave.
        metric: Name of the validation metric, such as ``'mIoU'``.
        scale: What makes it percent. Defaults to 1.

    Returns:
        The metric at every validation.
    """
    result = Path(cfg.work_dir, 'result.json')
    if not result.exists():
        torch.set_num_threads(1)
        runner = Runner.from_cfg(cfg)
        recorder = Recorder(metric, scale)
        runner.register_hook(recorder)
        runner.train()
        result.write_text(json.dumps({metric: recorder.history}))
    return list(map(tuple, json.loads(result.read_text())[metric]))


def train_all(runs: Sequence[Trained], workers: int) -> Dict[Trained, History]:
    """Trains in parallel processes, in the order of the runs; after a failure, no more of them.

    Returns:
        The history of every run, in that order.
    """
    with ProcessPoolExecutor(workers, mp_context=get_context('spawn')) as pool:
        futures = {run: pool.submit(run.train) for run in runs}
        finished = as_completed(futures.values())
        try:
            for future in track(finished, description='Training', total=len(runs)):
                future.result()
        finally:
            for future in futures.values():
                future.cancel()  # what has not begun; else the pool would train it first
        return {run: future.result() for run, future in futures.items()}


def mean_and_spread(values: Sequence[float]) -> str:
    """Mean, sample standard deviation and, in parentheses, all values: ``91.0 ± 1.4 (...)``."""
    every = ', '.join(f'{value:.1f}' for value in values)
    spread = f' ± {statistics.stdev(values):.1f}' if len(values) > 1 else ''
    return f'{statistics.mean(values):.1f}{spread} ({every})'
