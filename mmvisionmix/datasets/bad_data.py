# Copyright (c) mmvisionmix authors. All rights reserved.
"""Data that cannot be read, or cannot be right: errors that name the file, or samples skipped.

The checks go into data sets that are already built, in the place of their pipelines; a config needs
no change, and a data set stays of its class. :class:`mmvisionmix.engine.CheckedRunner` puts them
there.
"""
import logging
import traceback
from contextlib import contextmanager
from typing import Any, Iterator, List, NamedTuple, Optional

import numpy as np
import torch
from mmengine.dataset import Compose
from mmengine.logging import print_log

from .image_files import beyond_8_bits, cut_short, read_fault

PARTS = {'img_path': 'image', 'seg_map_path': 'label'}
"""Keys of a sample that name its files, and what these are."""

NO_SAMPLES = ('no samples in {}: are there files, and do the suffixes, class names and filters of '
              'the config fit them?')


class BadDataError(ValueError):
    """Data that cannot be read or cannot be right; the message names the files."""


class Labels(NamedTuple):
    """Which labels a model takes: 0 to ``classes - 1``, and ``ignored`` in segmentation."""
    classes: Optional[int] = None
    ignored: int = 255

    @classmethod
    def of(cls, model: dict, metainfo: dict) -> 'Labels':
        """Reads them off a model's config and a data set's class names.

        Args:
            model: Config of a segmentor or classifier, or of one inside a test-time wrapper.
            metainfo: The data set's. Where both know a number of classes, the lower counts.
        """
        model = model.get('module') or model
        heads = model.get('decode_head') or model.get('head') or {}
        head = heads[-1] if isinstance(heads, (list, tuple)) else heads
        numbers = (head.get('num_classes'), len(metainfo.get('classes') or ()))
        # A head of one class is a foreground told from a background, which labels count, too.
        return cls(min((number for number in numbers if number and number > 1), default=None),
                   head.get('ignore_index', cls().ignored))


class SkippedSamples:
    """Which samples of a data set were skipped; worker processes share the record.

    Args:
        total: Number of samples.
        max_share: Share of bad samples beyond which skipping ends in an error.
    """

    def __init__(self, total: int, max_share: float) -> None:
        self.max_share = max_share
        self.flags = torch.zeros(total, dtype=torch.uint8).share_memory_()

    def add(self, index: int, fault: str) -> None:
        """Notes a bad sample, and logs it when it is met for the first time.

        Raises:
            BadDataError: If more than ``max_share`` of all samples are bad.
        """
        if not self.flags[index]:
            self.flags[index] = 1
            print_log(f'skipped a bad sample: {fault}', 'current', logging.WARNING)
        count, total = int(self.flags.sum()), len(self.flags)
        if count > self.max_share * total:
            raise BadDataError(
                f'{count} of {total} training samples are bad, more than {self.max_share:.0%} '
                f'(bad_samples.max_share); the last one: {fault}')


class CheckedPipeline(Compose):
    """A data set's pipeline with checks around its steps.

    Args:
        pipeline: The pipeline.
        labels: Which labels are right.
        source: Where annotations come from, for messages.
        skipped: Takes note of bad samples, which become None: the data set then draws another, as
            MMEngine's ``BaseDataset`` does in training. Without it they are errors. Default: None.
        thorough: Whether to decode all files to their end. Default: False.
    """

    def __init__(self,
                 pipeline: Compose,
                 labels: Labels,
                 source: str,
                 skipped: Optional[SkippedSamples] = None,
                 thorough: bool = False) -> None:
        super().__init__(pipeline.transforms)
        self.labels = labels
        self.source = source
        self.skipped = skipped
        self.thorough = thorough

    def __call__(self, data: dict) -> Optional[dict]:
        """Runs the steps on a sample.

        Raises:
            BadDataError: If a step fails, or what was loaded cannot be right.
        """
        info = dict(data)
        try:
            return self.run(data)
        except Exception as error:  # whatever the steps raise, it came with this sample
            fault = f'{self.reason(error, info)} [{self.names(info)}]'
            if self.skipped is None:
                raise BadDataError(fault) from error
            self.skipped.add(info['sample_idx'], fault)
            return None

    def fault(self, data: dict) -> Optional[str]:
        """What is wrong with a sample; None if nothing is."""
        info = dict(data)
        try:
            self.run(data)
        except Exception as error:  # as above
            return self.reason(error, info)
        return None

    def run(self, data: dict) -> Optional[dict]:
        """Runs the steps, and checks images and labels as soon as they are there."""
        self.check_class(data)
        size = (data.get('height'), data.get('width'))
        checks = {'ori_shape': lambda data: self.check_image(data, size),
                  'gt_seg_map': self.check_label_map}
        for transform in self.transforms:
            data = transform(data)
            if data is None:
                return None
            for key in [key for key in checks if key in data]:
                checks.pop(key)(data)
        return data

    def check_class(self, data: dict) -> None:
        """Checks the class of an image, or its classes."""
        found = np.atleast_1d(data.get('gt_label', ()))
        if self.labels.classes and not np.all((found >= 0) & (found < self.labels.classes)):
            raise BadDataError(
                f'the class of the image is {data["gt_label"]}, and should be 0 to '
                f'{self.labels.classes - 1}')

    def check_image(self, data: dict, size: tuple) -> None:
        """Checks that an image is complete, and as large as its annotations say."""
        fault = cut_short(data.get('img_path') or '', self.thorough)
        if fault:
            raise BadDataError(f'the image {fault}')
        if 'reduce_zero_label' in data and 1 in data['ori_shape'][:2]:
            raise BadDataError(
                'the image is one pixel high or wide, and mmsegmentation cannot load such a label')
        if None not in size and tuple(data['ori_shape'][:2]) != size:
            raise BadDataError(
                f'the image is {_by(data["ori_shape"])} pixels, and {_by(size)} in the '
                'annotations (height x width)')

    def check_label_map(self, data: dict) -> None:
        """Checks size and values of a label map that mmsegmentation loaded."""
        if 'reduce_zero_label' not in data:
            return
        path, label = data.get('seg_map_path') or '', data['gt_seg_map']
        fault = cut_short(path, self.thorough) or beyond_8_bits(path)
        if fault:
            raise BadDataError(f'the label {fault}')
        size = tuple(data['ori_shape'][:2])
        if label.ndim > 2:
            raise BadDataError(f'the label has {label.shape[2]} channels, and should have one')
        if label.shape != size:
            raise BadDataError(
                f'the label is {_by(label.shape)} pixels, and the image {_by(size)} '
                '(height x width)')
        wrong = self.wrong_values(label)
        if len(wrong):
            shift = int(data['reduce_zero_label'] and not data.get('label_map'))
            raise BadDataError(
                f'the label has the values {_some(wrong + shift)}; classes are {shift} to '
                f'{self.labels.classes - 1 + shift}, and {0 if shift else self.labels.ignored} is '
                'ignored')

    def wrong_values(self, label: np.ndarray) -> np.ndarray:
        """The values of a label map (H, W), as loaded, that no class has."""
        classes, ignored = self.labels
        if not classes or label.max() < classes:
            return np.empty(0, int)
        return np.unique(label[(label >= classes) & (label != ignored)]).astype(int)

    def reason(self, error: Exception, info: dict) -> str:
        """Says what is wrong with a sample whose steps ended in an error."""
        if isinstance(error, BadDataError):
            return str(error)
        for key, part in PARTS.items():
            fault = read_fault(info.get(key) or '')
            if fault:
                return f'the {part} {fault}'
        return f'{type(error).__name__}: {error}'

    def names(self, info: dict) -> str:
        """Names a sample's files, and its place in the annotations."""
        files = [f'{part} {info[key]}' for key, part in PARTS.items() if info.get(key)]
        return ', '.join([*files, f'sample {info.get("sample_idx")} of {self.source}'])


def install_checks(dataset: Any, model: dict, max_share: Optional[float] = None) -> List[Any]:
    """Puts checks into the pipelines of a data set, or of those inside a wrapper.

    Args:
        dataset: The data set.
        model: Config of the model, which tells the labels that it takes.
        max_share: Which share of bad samples may be skipped. None (default) skips none of them.

    Returns:
        The data sets whose pipelines have checks now.
    """
    checked = list(leaves(dataset))
    for leaf in checked:
        skipped = None if max_share is None else SkippedSamples(len(leaf), max_share)
        labels = Labels.of(model, leaf.metainfo)
        leaf.pipeline = CheckedPipeline(leaf.pipeline, labels, source(leaf), skipped)
    return checked


def leaves(dataset: Any) -> Iterator[Any]:
    """The data sets inside wrappers, such as RepeatDataset, that run a pipeline on samples."""
    inner: List[Any] = []
    for name in ('dataset', '_dataset', 'datasets'):  # '_dataset': MMEngine's num_batch_per_epoch
        found = vars(dataset).get(name) or []
        inner += found if isinstance(found, (list, tuple)) else [found]
    if not inner and isinstance(getattr(dataset, 'pipeline', None), Compose):
        yield dataset
    for child in inner:
        yield from leaves(child)


def source(dataset: Any) -> str:
    """The annotation file, or else the folder, that a data set reads."""
    prefixes = getattr(dataset, 'data_prefix', None) or {}
    folders = [folder for folder in prefixes.values() if folder]
    return (getattr(dataset, 'ann_file', '') or next(iter(folders), '')
            or getattr(dataset, 'data_root', '') or type(dataset).__name__)


@contextmanager
def reading() -> Iterator[None]:
    """Names the data set and its annotations in errors that end the reading of its list of samples.

    Raises:
        BadDataError: In place of any error that was raised inside a data set's ``full_init``.
    """
    try:
        yield
    except Exception as error:
        steps = traceback.walk_tb(error.__traceback__)
        frames = {frame.f_code.co_name: frame for frame, _ in steps}
        if 'full_init' not in frames:
            raise
        dataset = frames['full_init'].f_locals['self']
        if '_serialize_data' in frames:  # MMEngine packs the list, which it cannot if it is empty
            raise BadDataError(NO_SAMPLES.format(source(dataset))) from error
        raise BadDataError(
            f'{type(dataset).__name__} cannot read {source(dataset)}: '
            f'{type(error).__name__}: {error}') from error


def require_samples(dataset: Any) -> None:
    """Makes sure that a data set is not empty.

    Raises:
        BadDataError: If it is; training would wait for a sample for ever.
    """
    if not len(dataset):
        raise BadDataError(NO_SAMPLES.format(', '.join(map(source, leaves(dataset)))))


def _by(shape: Any) -> str:
    return ' x '.join(map(str, shape[:2]))


def _some(values: np.ndarray) -> str:
    return ', '.join(map(str, values[:5])) + (' ...' if len(values) > 5 else '')
