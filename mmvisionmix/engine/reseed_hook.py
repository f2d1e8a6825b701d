# Copyright (c) mmvisionmix authors. All rights reserved.
"""Random numbers that depend on the iteration alone, so that a resumed run draws them again."""
import random
from functools import partial
from itertools import islice
from typing import Any, Iterator, Optional

import numpy as np
import torch
from mmengine.dataset import worker_init_fn
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from mmvisionmix.registry import HOOKS


@HOOKS.register_module()
class ReseedHook(Hook):
    """Seeds the generators of torch (all devices), numpy and Python before every iteration.

    MMEngine seeds them once and saves no state of theirs: a resumed run continues with other random
    numbers than the one that was interrupted. With this hook they follow from the seed of the run
    and the number of the iteration, which every checkpoint has, in each process by itself
    (``randomness.diff_rank_seed`` decides whether processes differ, as without the hook). Seeded is

    - before the batch of an iteration is fetched: ``num_workers=0`` draws from the same generators;
    - after a validation, which thus leaves no trace in the training;
    - in epoch-based training, every worker of the data loader at the start of every epoch. They are
      started anew for it, ``persistent_workers`` or not, and no epoch repeats the random numbers of
      another, as MMEngine's seeding does where they do not persist.

    Iteration-based training needs no more for its workers: MMEngine's loop fetches, on resuming,
    all batches from the first one on.
    """

    priority = 'LOWEST'  # what other hooks draw at the same moment leaves no trace either

    def before_train_epoch(self, runner: Runner) -> None:
        """Seeds the first iteration of an epoch; of iteration-based training, of the whole run."""
        loop = runner.train_loop
        if isinstance(loop, IterBasedTrainLoop):
            if runner.iter:
                loop.dataloader_iterator = _Replay(runner, loop.dataloader_iterator)
        else:
            _start_workers_anew(runner)
        _seed(runner, runner.iter)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                         outputs: Optional[dict] = None) -> None:
        """Seeds the next iteration."""
        _seed(runner, runner.iter + 1)

    def after_val(self, runner: Runner) -> None:
        """Seeds the iteration that follows the validation, again."""
        _seed(runner, runner.iter)


def _seed(runner: Runner, iteration: int) -> None:
    """Seeds all generators of this process for one iteration, counted from 0."""
    words = _seed_words(runner, iteration)
    np.random.seed(words)
    random.seed(words.tobytes())
    torch.manual_seed(int(words[0]))  # CUDA's and other devices' too


def _seed_words(runner: Runner, iteration: int) -> np.ndarray:
    """Mixes seed and iteration to 4 numbers of 32 bits, unrelated to those of any other pair."""
    return np.random.SeedSequence([runner.seed, iteration]).generate_state(4)


class _Replay:
    """Passes batches on; seeds between those that the loop skips on resuming and the first used."""

    def __init__(self, runner: Runner, batches: Iterator) -> None:
        self.batches = self._replay(runner, batches)

    def __next__(self) -> Any:
        return next(self.batches)

    def skip_iter(self, count: int) -> None:
        """Fetches batches in vain, where MMEngine's fork would leave workers other numbers."""
        for _ in range(count):
            next(self.batches)

    @staticmethod
    def _replay(runner: Runner, batches: Iterator) -> Iterator:
        yield from islice(batches, runner.iter)
        _seed(runner, runner.iter)
        yield from batches


def _start_workers_anew(runner: Runner) -> None:
    """Lets the next epoch start workers, with seeds of its own."""
    loop = runner.train_loop
    if loop.dataloader.persistent_workers:
        loop.dataloader = _without_persistent_workers(loop.dataloader)
    init = loop.dataloader.worker_init_fn
    if isinstance(init, partial) and init.func is worker_init_fn:  # adds rank and worker
        seed = int(_seed_words(runner, runner.iter)[0]) % 2**31
        loop.dataloader.worker_init_fn = partial(init, seed=seed)


def _without_persistent_workers(loader: DataLoader) -> DataLoader:
    """The same loader, but for that; torch does not let the attribute be set."""
    same = ('dataset', 'num_workers', 'collate_fn', 'pin_memory', 'timeout', 'worker_init_fn',
            'multiprocessing_context', 'generator', 'prefetch_factor')
    batches = (dict(batch_sampler=loader.batch_sampler) if loader.batch_size is None else
               dict(batch_size=loader.batch_size, sampler=loader.sampler,
                    drop_last=loader.drop_last))
    return DataLoader(**{name: getattr(loader, name) for name in same}, **batches)
