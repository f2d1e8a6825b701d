# Copyright (c) mmvisionmix authors. All rights reserved.
"""What a data set holds, and which of its samples cannot be read or cannot be right."""
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple
from xml.etree import ElementTree

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError
from torch.utils.data import Dataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from checks import sample_of, turned_size  # noqa: E402  beside this folder
from common import listed  # noqa: E402

PARTS = {'img_path': 'image', 'seg_map_path': 'label'}
"""Keys of a sample that name its files, and what these are."""
IGNORED = 'ignored'


class Sample(NamedTuple):
    """What was found in one sample.

    Attributes:
        number: Its number in its data set.
        files: The files that it is read from.
        fault: What is wrong with it; None if nothing is.
        size: Height and width of the image, where it could be read.
        counts: Pixels, boxes or images of each class, by its name; of what is ignored, too.
        unknown: Objects of classes that the config does not have, by the annotation's name.
        unit: What is counted: pixels, boxes or images.
    """
    number: int
    files: List[str]
    fault: Optional[str]
    size: Optional[Tuple[int, ...]]
    counts: Dict[str, int]
    unknown: Dict[str, int]
    unit: str


def read_fault(path: str) -> Optional[str]:
    """Decodes an image to its end, which OpenCV does not always ask for.

    Args:
        path: The file. One that is not on this machine's disk is passed over.

    Returns:
        What is wrong with it, such as ``'is empty (0 bytes)'``; None if nothing was found.
    """
    if not os.path.isfile(path):
        return None
    if not os.path.getsize(path):
        return 'is empty (0 bytes)'
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # a limit for strangers' files
    try:
        with Image.open(path) as image:
            image.load()
    except UnidentifiedImageError:
        return 'is in no known image format'
    except Exception as error:  # Pillow's decoders raise nearly anything
        return f'is damaged or cut short ({error})'
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    return None


class Inspection(Dataset):
    """A :class:`Sample` for each sample of a data set.

    Args:
        dataset: A data set of any OpenMMLab codebase. Of its pipeline, only loading is done.
        model: Config of the model, whose head tells how many classes there are.
    """

    def __init__(self, dataset: Any, model: dict) -> None:
        self.dataset = dataset
        steps = getattr(getattr(dataset, 'pipeline', None), 'transforms', ())
        self.loading = [step for step in steps if type(step).__name__.startswith('Load')]
        names = [str(name) for name in dataset.metainfo.get('classes') or ()]
        self.names = [name if names.count(name) == 1 else f'{name} ({number})'
                      for number, name in enumerate(names)]
        head = model.get('decode_head') or model.get('head') or {}
        head = head[-1] if isinstance(head, (list, tuple)) else head
        numbers = (head.get('num_classes'), len(self.names))
        # A head of one class tells a foreground from a background, which labels count, too.
        self.classes = min((number for number in numbers if number and number > 1), default=None)
        self.ignored = head.get('ignore_index', 255)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        sample = sample_of(self.dataset, index)
        files = {part: sample[key] for key, part in PARTS.items() if sample.get(key)}
        fault, loaded = None, sample
        for part, path in files.items():
            fault = fault or (f'the {part} {found}' if (found := read_fault(path)) else None)
        if not fault:
            try:
                for step in self.loading:
                    loaded = step(loaded)
                fault = self.find_fault(sample, loaded)
            except Exception as error:  # whatever loading raises, it came with this sample
                fault = _unreadable(files) or f'{type(error).__name__}: {error}'
        size = loaded.get('ori_shape')
        unit = 'pixels' if sample.get('seg_map_path') else (
            'boxes' if 'instances' in sample else 'images')
        return Sample(index, list(files.values()), fault, size and tuple(size[:2]),
                      {} if fault else self.count(loaded), self.unknown_names(sample), unit)

    def find_fault(self, given: dict, loaded: dict) -> Optional[str]:
        """Says what is wrong with a sample that could be loaded; None if nothing is."""
        size = tuple(loaded.get('ori_shape', ())[:2])
        expected = (given.get('height'), given.get('width'))
        if size and None not in expected and size != expected:
            turned = ', as its EXIF data turn it' if turned_size(given['img_path']) else ''
            return (f'the image is {_by(size)} pixels, and {_by(expected)} in the annotations'
                    f'{turned}')
        labels = loaded.get('gt_label', ())
        for label in () if isinstance(labels, dict) else np.atleast_1d(labels):
            if self.classes and not 0 <= label < self.classes:
                return f'the class of the image is {label}, and should be 0 to {self.classes - 1}'
        if 'reduce_zero_label' in loaded and 'gt_seg_map' in loaded:  # mmsegmentation's
            return self.find_fault_of_map(loaded, size)
        for box in () if getattr(self.dataset, 'test_mode', False) else loaded.get('instances', ()):
            left, top, right, bottom = box['bbox']
            if not box.get('ignore_flag') and not (left < right and top < bottom):
                return (f'the box from ({left}, {top}) to ({right}, {bottom}) is empty, which '
                        'makes losses infinite; filter_cfg=dict(bbox_min_size=1) ignores it')
        return None

    def find_fault_of_map(self, sample: dict, size: Sequence[int]) -> Optional[str]:
        """Says what is wrong with a label map for an image of a size (height, width)."""
        label = sample['gt_seg_map']
        if label.shape != size:
            return f'the label is {_by(label.shape)} values, and the image {_by(size)} pixels'
        with Image.open(sample['seg_map_path']) as image:
            written = np.asarray(image)
        if not np.array_equal(written, written.astype(np.uint8)):
            return (f'the label has values such as {_strange(written):g}, of which mmsegmentation '
                    'keeps 8 bits')
        wrong = np.unique(label[(label >= (self.classes or 256)) & (label != self.ignored)])
        if not len(wrong):
            return None
        shift = int(sample['reduce_zero_label'] and not sample.get('label_map'))
        values = ', '.join(str(int(value) + shift) for value in wrong[:5])
        return (f'the label has the values {values}; classes are {shift} to '
                f'{self.classes - 1 + shift}, and {0 if shift else self.ignored} is ignored')

    def count(self, sample: dict) -> Dict[str, int]:
        """Pixels, boxes or images of each class in a sample."""
        if sample.get('gt_seg_map') is not None:
            values, numbers = np.unique(sample['gt_seg_map'], return_counts=True)
            return {IGNORED if value == self.ignored else self.name_of(int(value)): int(number)
                    for value, number in zip(values, numbers)}
        if 'instances' in sample:
            return dict(Counter(
                IGNORED if box.get('ignore_flag') else self.name_of(box['bbox_label'])
                for box in sample['instances']))
        labels = sample.get('gt_label')
        if isinstance(labels, dict):
            return {f'{task}: {label}': 1 for task, value in labels.items()
                    for label in np.atleast_1d(value)}
        return {self.name_of(int(label)): 1 for label in np.atleast_1d(labels)
                } if labels is not None else {}

    def name_of(self, label: int) -> str:
        """What the data set calls a class."""
        return self.names[label] if label < len(self.names) else str(label)

    def unknown_names(self, sample: dict) -> Dict[str, int]:
        """Objects in a VOC file that the data set passes over, as the config lacks their class."""
        if not sample.get('xml_path'):
            return {}
        found = ElementTree.parse(sample['xml_path']).iterfind('object/name')
        return dict(Counter(name.text for name in found if name.text not in self.names))


class Summary:
    """What all samples of a data set hold together.

    Args:
        place: Where the data set is.
        names: Names of its classes.
    """

    def __init__(self, place: str, names: Sequence[str]) -> None:
        self.place, self.names = place, names
        self.samples = 0
        self.unit = 'images'
        self.bad: List[Sample] = []
        self.images: Counter = Counter()
        self.amounts: Counter = Counter()
        self.sizes: Counter = Counter()
        self.unknown: Counter = Counter()

    def add(self, sample: Sample) -> None:
        """Takes in one sample."""
        self.samples += 1
        self.unit = sample.unit
        self.bad += [sample] if sample.fault else []
        self.images.update(sample.counts.keys())
        self.amounts.update(sample.counts)
        self.unknown.update(sample.unknown)
        if sample.size:
            self.sizes[sample.size] += 1

    def rows(self) -> Iterator[Tuple[str, str, str, str]]:
        """Each class with its images, its amount, and its share of what is not ignored."""
        counted = sum(self.amounts.values()) - self.amounts[IGNORED]
        extra = [name for name in self.amounts if name not in self.names and name != IGNORED]
        for name in [*self.names, *sorted(extra), IGNORED]:
            if name != IGNORED or self.amounts[name]:
                share = '' if name == IGNORED else f'{self.amounts[name] / max(counted, 1):.1%}'
                yield name, str(self.images[name]), f'{self.amounts[name]:,}', share

    def notes(self) -> Iterator[str]:
        """What the numbers say, in words."""
        if not self.amounts:
            yield 'no sample has a label that could be counted'
            return
        absent = [name for name in self.names if not self.amounts[name]]
        if absent:
            yield (f'{len(absent)} of {len(self.names)} classes never occur: '
                   f'{listed(absent)}; nothing is learnt of them')
        everything = sum(self.amounts.values())
        if self.amounts[IGNORED]:
            yield f'{self.amounts[IGNORED] / everything:.1%} is ignored, and trains nothing' + (
                '; is 255 the foreground, and should be 1?'
                if absent and len(self.names) == 2 and self.unit == 'pixels' else '')
        if self.unknown:
            yield ('the annotations have classes that the config does not have, passed over: '
                   + listed([f'{name} ({number})' for name, number in self.unknown.items()]))
        if len(self.sizes) > 1:
            areas = sorted(self.sizes, key=lambda size: size[0] * size[1])
            yield (f'{len(self.sizes)} sizes of images, from {_by(areas[0])} to {_by(areas[-1])}')

    def as_dict(self) -> Dict[str, Any]:
        """All of it, for JSON."""
        return dict(
            place=self.place, samples=self.samples, bad=[sample._asdict() for sample in self.bad],
            classes={name: dict(images=self.images[name], amount=self.amounts[name])
                     for name, *_ in self.rows()},
            sizes={_by(size): number for size, number in self.sizes.items()},
            unknown=dict(self.unknown), notes=list(self.notes()))


def _unreadable(files: Dict[str, str]) -> Optional[str]:
    for part, path in files.items():
        if os.path.isfile(path) and cv2.imread(path, cv2.IMREAD_UNCHANGED) is None:
            with Image.open(path) as image:
                return f'the {part} is a {image.format} file, which OpenCV does not read'
    return None


def _strange(values: np.ndarray) -> float:
    return values[values != values.astype(np.uint8)].flat[0]


def _by(shape: Sequence[Any]) -> str:
    return ' x '.join(map(str, shape)) or '1'
