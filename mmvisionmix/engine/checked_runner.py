# Copyright (c) mmvisionmix authors. All rights reserved.
"""MMEngine's runner, with data sets that are checked while they are read."""
import json
from typing import Any, List, Optional

from mmengine.dist import all_reduce
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner
from torch.utils.data import DataLoader

from mmvisionmix.datasets.bad_data import (
    BadDataError,
    install_checks,
    reading,
    require_samples,
    source,
)
from mmvisionmix.registry import RUNNERS

MAX_SHARE = 0.1
"""Share of bad training samples that are skipped, unless the config says otherwise."""
MAX_NAMED = 20
"""How many skipped files a report names."""


@RUNNERS.register_module()
class CheckedRunner(Runner):
    """Fails clearly on bad data, or skips it in training.

    Annotations that cannot be read, data sets without samples, and samples that cannot be loaded or
    cannot be right end in a ``BadDataError``, which names the files. The config may say::

        bad_samples = dict(skip=True, max_share=0.1)

    Then bad training samples are replaced by others drawn at random, and counted; more than
    ``max_share`` of them (default: a tenth) are an error. Validation and tests skip nothing.

    Stock tools use it with ``runner_type = 'mmvisionmix.CheckedRunner'`` in the config.
    """

    _skipping = False

    def build_train_loop(self, loop: Any) -> BaseLoop:
        """Builds the training loop, whose data alone may have bad samples skipped."""
        self._skipping = self._bad_samples.get('skip', False)
        try:
            return super().build_train_loop(loop)
        finally:
            self._skipping = False

    def build_dataloader(self, dataloader: Any, seed: Optional[int] = None,
                         diff_rank_seed: bool = False) -> DataLoader:
        """Builds a data loader, with checks in its data sets.

        It has to happen here: MMEngine's iteration-based loop starts the workers, which have
        copies of the data sets, as soon as it is built.
        """
        with reading():
            loader = Runner.build_dataloader(dataloader, seed, diff_rank_seed)
        require_samples(loader.dataset)
        share = self._bad_samples.get('max_share', MAX_SHARE) if self._skipping else None
        checked = install_checks(loader.dataset, self.cfg.get('model') or {}, share)
        if self._skipping:
            self.register_hook(SkippedSamplesHook(checked))
        return loader

    def build_evaluator(self, evaluator: Any) -> Evaluator:
        """Builds the metrics; COCO's read annotations of their own."""
        try:
            return super().build_evaluator(evaluator)
        except json.JSONDecodeError as error:
            metrics = evaluator if isinstance(evaluator, list) else [evaluator]
            files = ', '.join(str(metric['ann_file']) for metric in metrics if 'ann_file' in metric)
            raise BadDataError(f'the evaluator cannot read {files}: {error}') from error

    @property
    def _bad_samples(self) -> dict:
        return self.cfg.get('bad_samples') or {}


class SkippedSamplesHook(Hook):
    """Logs how many training samples were skipped, of all processes together.

    It does so before each validation and at the end of each epoch, if there are new ones.

    Args:
        datasets: Data sets whose pipelines take note of what is skipped, since training started.
    """

    def __init__(self, datasets: List[Any]) -> None:
        # Other hooks may give a data set another pipeline later, and it is checked no more.
        self.records = [(dataset, dataset.pipeline.skipped) for dataset in datasets]
        self.reported = [0] * len(datasets)

    def before_val(self, runner: Runner) -> None:
        """Reports."""
        self.report(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Reports; an iteration-based training is one epoch."""
        self.report(runner)

    def report(self, runner: Runner) -> None:
        """Logs a line for every data set of which more was skipped than at the last report."""
        for number, (dataset, skipped) in enumerate(self.records):
            flags = skipped.flags.clone()
            all_reduce(flags, 'max')
            found = flags.nonzero().flatten().tolist()
            if len(found) == self.reported[number]:
                continue
            self.reported[number] = len(found)
            names = [str(dataset.get_data_info(index).get('img_path', f'sample {index}'))
                     for index in found[:MAX_NAMED]]
            more = ', ...' if len(found) > MAX_NAMED else ''
            runner.logger.warning(
                f'skipped {len(found)} of {len(flags)} training samples of {source(dataset)} so '
                f'far: {", ".join(names)}{more}')
