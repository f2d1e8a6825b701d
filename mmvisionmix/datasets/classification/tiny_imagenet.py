# Copyright (c) mmvisionmix authors. All rights reserved.
"""Tiny ImageNet: 200 classes of ImageNet at 64x64 pixels, from Stanford's course CS231n."""
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from mmengine.fileio import join_path, list_dir_or_file, list_from_file
from mmpretrain.datasets import BaseDataset

from mmvisionmix.registry import DATASETS

from .sources import Source, known_split


class Sample(NamedTuple):
    """An image file, relative to the data set's folder, and the WordNet id of its class."""
    file: str
    wnid: str


@DATASETS.register_module()
class TinyImageNet(BaseDataset):
    """Tiny ImageNet, as it comes out of ``tiny-imagenet-200.zip``.

    ::

        data_root                  e.g. data/tiny-imagenet-200
        ├── wnids.txt              a WordNet id per line, in the order of the labels
        ├── words.txt              ids and their words, separated by a tab
        ├── train/<id>/images/     500 JPEG files of every class
        └── val
            ├── images/            10,000 JPEG files
            └── val_annotations.txt    file, id, and a box that is not used; separated by tabs

    An item is a dict of ``img_path`` and ``gt_label``, the line of ``wnids.txt`` (from 0) that
    names the class. Class names are the words that ``words.txt`` gives. The test images have no
    public labels and are not read.

    Args:
        data_root: Folder of the files.
        split: ``'train'`` or ``'val'``. Default: ``'train'``.
        metainfo: What to put beside or in place of the class names. Default: None.
        **kwargs: Other arguments of mmpretrain's ``BaseDataset``, such as ``pipeline``.

    Raises:
        FileNotFoundError: If a file or folder is missing.
        ValueError: If the split is unknown, or a text file is damaged.
    """

    SOURCE = Source(
        'Tiny ImageNet', 'http://cs231n.stanford.edu/tiny-imagenet-200.zip', 'tiny-imagenet')

    def __init__(self,
                 data_root: str,
                 split: str = 'train',
                 metainfo: Optional[dict] = None,
                 **kwargs: Any) -> None:
        self.split = known_split(split, ('train', 'val'))
        super().__init__(ann_file='', metainfo=metainfo, data_root=data_root, **kwargs)

    def load_data_list(self) -> List[dict]:
        """Lists all image files of the split with their labels."""
        labels = {wnid: label for label, (wnid, ) in enumerate(self._table('wnids.txt', 1))}
        if self.CLASSES is None:
            self._metainfo['classes'] = self._class_names(labels)
        samples = self._train_samples if self.split == 'train' else self._val_samples
        return [
            dict(img_path=join_path(self.data_root, sample.file), gt_label=labels[sample.wnid])
            for sample in samples(labels)
        ]

    def extra_repr(self) -> List[str]:
        """What ``repr`` shows beside the usual."""
        return [f'Root of dataset: \t{self.data_root}', f'Split: \t{self.split}']

    def _class_names(self, wnids: Sequence[str]) -> Tuple[str, ...]:
        words = dict(self._table('words.txt', 2))
        unnamed = [wnid for wnid in wnids if wnid not in words]
        if unnamed:
            raise ValueError(
                f'{join_path(self.data_root, "words.txt")} is damaged: it does not name '
                f'{len(unnamed)} classes of wnids.txt, such as {unnamed[0]}')
        return tuple(words[wnid] for wnid in wnids)

    def _train_samples(self, wnids: Sequence[str]) -> Iterator[Sample]:
        for wnid in wnids:
            folder = join_path('train', wnid, 'images')
            path = self._require(folder)
            for name in sorted(list_dir_or_file(path, list_dir=False, suffix='.JPEG')):
                yield Sample(join_path(folder, name), wnid)

    def _val_samples(self, labels: Dict[str, int]) -> Iterator[Sample]:
        table = join_path('val', 'val_annotations.txt')
        for name, wnid, *_ in self._table(table, 6):
            if wnid not in labels:
                raise ValueError(
                    f'{join_path(self.data_root, table)} is damaged: the class {wnid} of {name} '
                    f'is not in wnids.txt')
            yield Sample(join_path('val', 'images', name), wnid)

    def _table(self, file: str, columns: int) -> Iterator[List[str]]:
        """The rows of a text file whose columns are separated by tabs."""
        path = self._require(file)
        for number, line in enumerate(list_from_file(path), start=1):
            row = line.split('\t')
            if len(row) != columns or not all(row):
                raise ValueError(
                    f'{path} is damaged: line {number} should have {columns} columns, separated '
                    f'by tabs, but is {line!r}')
            yield row

    def _require(self, file: str) -> str:
        return self.SOURCE.require(join_path(self.data_root, file), self.data_root)
