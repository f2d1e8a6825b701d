# Copyright (c) mmvisionmix authors. All rights reserved.
"""A missing data set is found before training starts, and the message says how to get one."""
import shlex
from pathlib import Path
from typing import Iterator, Sequence, Tuple

from mmengine.config import Config

DEMO_LAYOUTS = dict(  # what make_demo_data.py can write
    ADE20KDataset='ade20k', CocoDataset='coco', DemoCIFAR10='cifar10', DemoCIFAR100='cifar100',
    SVHN='svhn', TinyImageNet='tiny-imagenet', ImageNet='imagenet')
DOWNLOADING = ('CIFAR10', 'CIFAR100', 'MNIST', 'FashionMNIST')  # fetched by mmpretrain, if missing


def check_data(cfg: Config, loaders: Sequence[str]) -> None:
    """Checks that the files and folders which data loaders and their evaluators read are there.

    Args:
        cfg (Config): A config of any OpenMMLab task.
        loaders (Sequence[str]): Names of its data loaders, e.g. ``('train_dataloader', )``. A
            loader that the config lacks is passed over.

    Raises:
        FileNotFoundError: If a path is missing. The message names it, and how to prepare it.
    """
    for loader in loaders:
        for dataset in leaf_datasets((cfg.get(loader) or {}).get('dataset') or {}):
            for path in _local_paths(dataset):
                if not path.exists():
                    truths = [option for option, _ in _truths(cfg, loader)]
                    raise FileNotFoundError(_message(path, loader, dataset, truths))
        for option, path in _truths(cfg, loader):
            if not path.exists():
                raise FileNotFoundError(
                    f'{path.absolute()} does not exist; results are compared with it. '
                    f'Point {option} at the annotations of {loader} with --cfg-options.')


def leaf_datasets(dataset: dict) -> Iterator[dict]:
    """The configs of data sets inside wrappers such as RepeatDataset and ConcatDataset."""
    inner = dataset.get('datasets') or ([dataset['dataset']] if 'dataset' in dataset else [])
    if not inner:
        yield dataset
    for child in inner:
        yield from leaf_datasets(child)


def source(dataset: dict) -> str:
    """The annotation file, or else the folder, that the config of a data set names."""
    return str(next(_local_paths(dataset), dataset.get('data_root') or type_name(dataset)))


def _local_paths(dataset: dict) -> Iterator[Path]:
    """What a data set reads from this machine's disk: nothing if a storage backend serves it.

    One that names no file or folder (mmpretrain's ``split='train'``) has its own in its root.
    """
    root = dataset.get('data_root') or ''
    prefixes = dataset.get('data_prefix') or {}
    prefixes = prefixes.values() if isinstance(prefixes, dict) else [prefixes]
    named = list(filter(None, [dataset.get('ann_file'), *prefixes]))
    implied = [''] if root and not named and not _downloads(dataset) else []
    for part in named + implied:
        if '://' not in root + part and not dataset.get('backend_args'):
            yield Path(root, part)


def _truths(cfg: Config, loader: str) -> Iterator[Tuple[str, Path]]:
    """The annotation files that a loader's evaluator has of its own, and the options naming them.

    COCO's metric reads one: another ``data_root`` of the data set does not change it.
    """
    name = loader.replace('dataloader', 'evaluator')
    metrics = cfg.get(name) or {}
    named = {name: metrics} if isinstance(metrics, dict) else {
        f'{name}.{number}': metric for number, metric in enumerate(metrics)}
    for option, metric in named.items():
        file = metric.get('ann_file')
        if file and '://' not in file and not metric.get('backend_args'):
            yield f'{option}.ann_file', Path(file)


def _downloads(dataset: dict) -> bool:
    """Whether a data set fetches what is missing by itself."""
    return type_name(dataset) in DOWNLOADING and dataset.get('download', True)


def type_name(config: dict) -> str:
    """The name of the class that a config builds, without its scope."""
    kind = config.get('type')
    return getattr(kind, '__name__', str(kind)).rpartition('.')[2]


def _message(path: Path, loader: str, dataset: dict, truths: Sequence[str]) -> str:
    name, root = type_name(dataset), Path(dataset.get('data_root') or '')
    layout = root.name if root.parent.name == 'demo' else DEMO_LAYOUTS.get(name)
    if layout == 'coco' and '2017' not in str(path):  # of another data set
        layout = None
    options = ' and '.join([f'{loader}.dataset.data_root', *truths])
    lines = [f'{path.absolute()} does not exist; {loader} reads {name} from there.',
             'Either put the real data set there (docs/datasets.md shows its folders), or point '
             f'{options} at it with --cfg-options.']
    if layout and root.name:
        lines.append('Or make small demo data of the same layout, in less than a minute:\n'
                     f'    python tools/dataset_tools/make_demo_data.py {layout} --out '
                     f'{shlex.quote(str(root))}')
    return '\n'.join(lines)
