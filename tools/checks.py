# Copyright (c) mmvisionmix authors. All rights reserved.
"""What is asked of annotations and checkpoints before a run, and of annotations after it failed."""
import json
import re
from collections import Counter
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
from common import listed, load_weights
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner
from PIL import Image
from torch import nn

from mmvisionmix.datasets.availability import leaf_datasets

MOST = 5  # faults told of one file
SPOTS = 32  # images of a data set whose headers are read before a run
TURNED = (5, 6, 7, 8)
"""EXIF orientations that swap height and width."""


def annotation_files(cfg: Config, loaders: Sequence[str]) -> Iterator[Tuple[Path, dict]]:
    """The annotation files of some loaders' data sets, each with the data set's config."""
    for loader in loaders:
        for dataset in leaf_datasets((cfg.get(loader) or {}).get('dataset') or {}):
            if dataset.get('ann_file'):
                yield Path(dataset.get('data_root') or '', dataset['ann_file']), dataset


def read_coco(path: Path) -> Optional[dict]:
    """Reads a file in COCO's format of objects; None if it has another one, such as of segments.

    Raises:
        ValueError: If it is no JSON.
    """
    if path.suffix != '.json' or not path.is_file():
        return None
    try:
        found = json.loads(path.read_text('utf-8'))
    except ValueError as error:
        raise ValueError(f'{path} is no JSON, or cut short: {error}') from error
    entries = found.get('annotations') if isinstance(found, dict) else None
    return None if entries is None or any('segments_info' in one for one in entries) else found


def coco_faults(found: dict, masks: bool) -> Iterator[str]:
    """Says which entries of a COCO file lack what mmdetection reads, or hold something else.

    Args:
        found: The file's content.
        masks: Whether segmentations are read.
    """
    names: Dict[Any, Any] = {}
    for image in found.get('images', ()):
        if image.get('id') in names:
            yield (f'images {names[image["id"]]} and {image.get("file_name")} share the id '
                   f'{image["id"]}, and one of them is lost')
        names[image.get('id')] = image.get('file_name')
        for key, kind in (('id', object), ('file_name', str), ('width', Real), ('height', Real)):
            if not isinstance(image.get(key), kind) or image[key] is None:
                yield (f'image {image.get("id")} ({image.get("file_name")}) '
                       + _instead(image, key, 'a name' if kind is str else 'a number'))
    categories = {category.get('id') for category in found.get('categories', ())}
    numbers = Counter(annotation.get('id') for annotation in found['annotations'])
    for annotation in found['annotations']:
        image = annotation.get('image_id')
        who = f'annotation {annotation.get("id")} (image {image}, {names.get(image)}) '
        if image not in names:
            yield who + 'is of an image that the file does not list'
        if annotation.get('category_id') not in categories:
            yield who + (f'has category_id {annotation.get("category_id")!r}, and the categories '
                         f'are {", ".join(map(repr, categories))}')
        if numbers[annotation.get('id')] > 1:
            yield who + 'has an id that is not its own'
        if not _are_numbers(annotation.get('bbox'), 4):
            yield who + _instead(annotation, 'bbox', 'four numbers: left, top, width, height')
        elif min(annotation['bbox'][2:]) < 0:
            yield who + _instead(annotation, 'bbox', 'left, top, width and height, none below 0')
        if not isinstance(annotation.get('area'), Real):
            yield who + _instead(annotation, 'area', 'a number')
        if masks and not _is_mask(annotation.get('segmentation')):
            yield who + _instead(annotation, 'segmentation',
                                 'polygons of at least three points, or RLE')


def annotation_faults(cfg: Config, loaders: Sequence[str]) -> List[str]:
    """What is wrong with the COCO files of some data loaders, a line for each file."""
    lines = []
    for file, dataset in annotation_files(cfg, loaders):
        found = read_coco(file)
        masks = any(step.get('with_mask') for step in dataset.get('pipeline') or ())
        faults = list(coco_faults(found, masks)) if found else []
        if faults:
            more = f'; and {len(faults) - MOST} more' if len(faults) > MOST else ''
            lines.append(f'{file}: {"; ".join(faults[:MOST])}{more}')
    return lines


def name_fault(dataset: Any) -> Optional[str]:
    """Says which classes a COCO data set of mmdetection does not find in its file.

    Labels are places in the list of what was found, so each class that is missing shifts them.
    """
    classes = classes_of(dataset)
    if len(getattr(dataset, 'cat_ids', classes)) == len(classes):
        return None
    found = read_coco(Path(dataset.ann_file)) or {}
    names = [category.get('name') for category in found.get('categories', ())]
    twice = [name for name in dict.fromkeys(names) if name in classes and names.count(name) > 1]
    if twice:
        return f'{dataset.ann_file} has several categories called {listed([*map(repr, twice)])}'
    missing = [name for name in classes if name not in names]
    extra = [name for name in names if name not in classes]
    return (f'{dataset.ann_file} has no {listed([*map(repr, missing)])}, which the config has; it '
            f'has {listed([*map(repr, extra)]) or "no other classes"}. Give the data set '
            'metainfo=dict(classes=...) of the names in the file')


def classes_of(dataset: Any) -> Sequence[str]:
    """Names of a data set's classes, as far as it has any."""
    return getattr(dataset, 'metainfo', {}).get('classes') or ()


def head_fault(dataset: Any, model: nn.Module) -> Optional[str]:
    """Says which head has another number of classes than a data set.

    Losses and metrics pass over what one of them lacks, or fail. Boxes of panoptic data sets are of
    their things alone.
    """
    things = getattr(dataset, 'metainfo', {}).get('thing_classes')
    number = len(things or classes_of(dataset))
    for name, head in model.named_modules():
        kind = re.search(
            r'^head$|(?:^|\.)((?:decode|auxiliary|bbox|mask)_head)(?:\.\d+)?$', name)
        wanted = getattr(head, 'num_classes', None) or 0
        # One class of a segmentor tells foreground from background, and so do STDC's borders.
        binary = kind and wanted in dict(decode_head=(1, ), auxiliary_head=(1, 2)).get(kind[1], ())
        spare = wanted > number and name == 'head'  # a classifier may know classes beside
        if kind and wanted and not binary and not spare and number not in (0, wanted):
            return (f'the data set {source_of(dataset)} has {number} classes, and '
                    f'model.{name}.num_classes is {wanted}; they have to be the same')
    return None


def order_fault(dataset: Any, trained: Sequence[str], place: str) -> Optional[str]:
    """Names a class whose number in a data set is another than in training.

    Folders as classes are numbered by their names: one that is missing shifts those after it.
    """
    classes = classes_of(dataset)
    for number, name in enumerate(classes):
        if name in trained and trained.index(name) != classes.index(name):
            return (f'{name!r} is class {number} of the data set {source_of(dataset)}, and class '
                    f'{trained.index(name)} of {place}; both need the same classes in the same '
                    'order. Where folders are classes, an empty one stands for what is missing')
    return None


def source_of(dataset: Any) -> str:
    """The annotation file or folder that a built data set was read from."""
    prefix = getattr(dataset, 'data_prefix', None) or {}
    folders = list(prefix.values()) if isinstance(prefix, dict) else [prefix]
    return str(next(filter(None, [getattr(dataset, 'ann_file', ''), *folders]), ''))


def size_fault(dataset: Any) -> Optional[str]:
    """Names an image, of some that are spread over a data set, that EXIF data turn on loading.

    Its boxes would be of the picture as it lies in the file.
    """
    for index in np.linspace(0, len(dataset) - 1, min(len(dataset), SPOTS)).astype(int):
        sample = sample_of(dataset, int(index))
        path, size = sample.get('img_path', ''), (sample.get('width'), sample.get('height'))
        if size[0] != size[1] and size == turned_size(path):
            return (f'{path} is turned by its EXIF data on loading, and its annotations are of '
                    f'the {size[0]} x {size[1]} pixels in the file; save such images upright. '
                    'tools/dataset_tools/check_data.py names all of them')
    return None


def sample_of(dataset: Any, index: int) -> dict:
    """What a data set knows of a sample before it is loaded."""
    if hasattr(dataset, 'get_data_info'):
        return dataset.get_data_info(index)
    return dict(dataset.data_list[index]) if hasattr(dataset, 'data_list') else {}


def turned_size(path: str) -> Optional[Tuple[int, int]]:
    """Width and height in a file whose EXIF data swap them on loading; None for any other file."""
    if not Path(path).is_file():
        return None
    with Image.open(path) as image:
        return image.size if image.getexif().get(0x0112) in TURNED else None


def _built_leaves(dataset: Any) -> Iterator[Any]:
    """The data sets inside built wrappers."""
    inner = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    if inner[0] is None:
        yield dataset
    for child in inner if inner[0] is not None else ():
        yield from _built_leaves(child)


def _instead(entry: dict, key: str, wanted: str) -> str:
    if key not in entry:
        return f'lacks {key}, {wanted}'
    return f'has {key} {json.dumps(entry[key])[:60]}, which should be {wanted}'


def _are_numbers(values: Any, least: int) -> bool:
    return isinstance(values, list) and len(values) >= least and all(
        isinstance(value, Real) for value in values)


def _is_mask(value: Any) -> bool:
    if isinstance(value, dict):
        return 'counts' in value and 'size' in value
    return isinstance(value, list) and bool(value) and all(_are_numbers(part, 6) for part in value)


@contextmanager
def annotations_blamed(cfg: Config, loaders: Sequence[str]) -> Iterator[None]:
    """Looks for the reason of an error in the COCO files of some data loaders.

    Raises:
        ValueError: If there are faults in them; names the error, too.
    """
    try:
        yield
    except Exception as error:
        faults = annotation_faults(cfg, loaders)
        if not faults:
            raise
        reason = f'{type(error).__name__}: {error}'.splitlines()[0]
        raise ValueError(f'{"; ".join(faults)} ({reason})') from error


def whole_model(runner: Runner) -> nn.Module:
    """The model of a runner, without wrappers."""
    model = runner.model
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


class CheckData(Hook):
    """Stops a run whose data sets do not go with the config.

    Args:
        loaders (Sequence[str]): The data loaders that are used.
        trained (Sequence[str]): The classes that the data have to have the order of. Defaults to
            those of the first loader's data set.
        place (str, optional): Where they are from. Defaults to the first loader.
    """

    def __init__(self, loaders: Sequence[str], trained: Sequence[str] = (),
                 place: Optional[str] = None) -> None:
        self.loaders = loaders
        self.trained = trained
        self.place = place if trained else loaders[0]

    def before_run(self, runner: Runner) -> None:
        """Asks each data set for its classes and for the sizes of some images."""
        first = self.trained
        for loader in self.loaders:
            for dataset in _built_leaves(getattr(runner, loader).dataset):
                first = first or classes_of(dataset)
                fault = (name_fault(dataset) or head_fault(dataset, whole_model(runner))
                         or order_fault(dataset, first, self.place) or size_fault(dataset))
                if fault:
                    raise ValueError(fault)


class CheckWeights(Hook):
    """Stops a run whose checkpoint is not the model's or, if resumed, not the optimizer's.

    Args:
        loaders (Sequence[str]): The data loaders that are used.
        allow_missing (bool): Whether a checkpoint may lack weights. Defaults to False.
        resume (bool): Whether the run goes on from the checkpoint. Defaults to False.
    """

    priority = 'VERY_LOW'  # after hooks that change a checkpoint

    def __init__(self, loaders: Sequence[str], allow_missing: bool = False,
                 resume: bool = False) -> None:
        self.loaders = loaders
        self.allow_missing = allow_missing
        self.resume = resume

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compares names and shapes of weights, classes, and names of the optimizer's settings."""
        load_weights(whole_model(runner), checkpoint.get('state_dict', checkpoint),
                     'the checkpoint', self.allow_missing)
        trained = (checkpoint.get('meta') or {}).get('dataset_meta') or {}
        for loader in self.loaders:
            for dataset in _built_leaves(getattr(runner, loader).dataset):
                fault = order_fault(dataset, trained.get('classes') or (), 'the checkpoint')
                if fault:
                    raise ValueError(fault)
        groups = (checkpoint.get('optimizer') or {}).get('param_groups')
        optimizer = getattr(runner.optim_wrapper, 'optimizer', None) if self.resume else None
        if not groups or optimizer is None:
            return
        needed = [key for key, value in optimizer.defaults.items()
                  if isinstance(value, (int, float, tuple)) and not isinstance(value, bool)]
        lacking = [key for key in needed if key not in groups[0]]
        if lacking:
            raise ValueError(
                f'the checkpoint is of another optimizer: {type(optimizer).__name__} has '
                f'{", ".join(lacking)}, and the checkpoint {", ".join(sorted(groups[0]))}. Go on '
                'with the one it was trained with, or start anew from its weights with '
                '--cfg-options load_from=CHECKPOINT')
