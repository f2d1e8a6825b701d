# Copyright (c) mmvisionmix authors. All rights reserved.
"""Samples that cannot be read, or cannot be right."""
from typing import Any, List, NamedTuple, Optional, Sequence

import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from .image_files import read_fault

PARTS = {'img_path': 'image', 'seg_map_path': 'label'}
"""Keys of a sample that name its files, and what these are."""


class Finding(NamedTuple):
    """A bad sample.

    Attributes:
        sample: Its number in its data set.
        files: The files that it is read from.
        fault: What is wrong with it.
    """
    sample: int
    files: List[str]
    fault: str


class Inspection(Dataset):
    """The faults of a data set's samples: at every index a :class:`Finding`, or None.

    Args:
        dataset: A data set of any OpenMMLab codebase. Of its pipeline, only loading is done.
        model: Config of the model, whose head tells how many classes there are.
    """

    def __init__(self, dataset: Any, model: dict) -> None:
        self.dataset = dataset
        self.loading = [step for step in dataset.pipeline.transforms
                        if type(step).__name__.startswith('Load')]
        head = model.get('decode_head') or model.get('head') or {}
        head = head[-1] if isinstance(head, (list, tuple)) else head
        numbers = (head.get('num_classes'), len(dataset.metainfo.get('classes') or ()))
        # A head of one class tells a foreground from a background, which labels count, too.
        self.classes = min((number for number in numbers if number and number > 1), default=None)
        self.ignored = head.get('ignore_index', 255)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Optional[Finding]:
        sample = self.dataset.get_data_info(index)
        files = {part: sample[key] for key, part in PARTS.items() if sample.get(key)}
        try:
            fault = self.find_fault(sample, files)
        except Exception as error:  # whatever loading raises, it came with this sample
            fault = f'{type(error).__name__}: {error}'
        return Finding(index, list(files.values()), fault) if fault else None

    def find_fault(self, sample: dict, files: dict) -> Optional[str]:
        """Loads a sample, and says what is wrong with it; None if nothing is."""
        for part, path in files.items():
            fault = read_fault(path)
            if fault:
                return f'the {part} {fault}'
        expected = (sample.get('height'), sample.get('width'))
        for step in self.loading:
            sample = step(sample)
        size = tuple(sample['ori_shape'][:2])
        if None not in expected and size != expected:
            return f'the image is {_by(size)} pixels, and {_by(expected)} in the annotations'
        label = np.atleast_1d(sample.get('gt_label', ()))
        if self.classes and not np.all((label >= 0) & (label < self.classes)):
            return (f'the class of the image is {sample["gt_label"]}, and should be 0 to '
                    f'{self.classes - 1}')
        if 'reduce_zero_label' in sample and 'gt_seg_map' in sample:  # mmsegmentation's
            return self.find_fault_of_map(sample, size)
        return None

    def find_fault_of_map(self, sample: dict, size: Sequence[int]) -> Optional[str]:
        """Says what is wrong with a label map for an image of a size (height, width)."""
        label = sample['gt_seg_map']
        if label.shape != size:
            return f'the label is {_by(label.shape)} values, and the image {_by(size)} pixels'
        with Image.open(sample['seg_map_path']) as image:
            if image.mode.startswith('I') and image.getextrema()[1] > 255:
                return 'the label has values above 255, of which mmsegmentation keeps 8 bits'
        wrong = np.unique(label[(label >= (self.classes or 256)) & (label != self.ignored)])
        if not len(wrong):
            return None
        shift = int(sample['reduce_zero_label'] and not sample.get('label_map'))
        values = ', '.join(str(int(value) + shift) for value in wrong[:5])
        return (f'the label has the values {values}; classes are {shift} to '
                f'{self.classes - 1 + shift}, and {0 if shift else self.ignored} is ignored')


def _by(shape: Sequence[int]) -> str:
    return ' x '.join(map(str, shape)) or '1'
