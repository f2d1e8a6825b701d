# Copyright (c) mmvisionmix authors. All rights reserved.
"""CIFAR's layouts with the contents that ``make_demo_data.py`` writes.

mmpretrain's ``CIFAR10`` compares the checksums of all files with those of the real data set, and
downloads that one if they differ. It would refuse, and overwrite, any other content.
"""
from typing import Any, List

from mmengine.fileio import join_path
from mmpretrain.datasets import CIFAR10, CIFAR100

from mmvisionmix.registry import DATASETS

from .sources import Source


@DATASETS.register_module()
class DemoCIFAR10(CIFAR10):
    """Demo data in the layout of CIFAR-10; only for these, since no checksum is compared.

    mmpretrain's ``CIFAR10`` reads them, with two exceptions: nothing is ever downloaded, and the
    class names are those in ``batches.meta``.

    Args:
        data_root: Folder above ``cifar-10-batches-py``.
        **kwargs: Arguments of mmpretrain's ``CIFAR10``, such as ``split`` and ``pipeline``.

    Raises:
        FileNotFoundError: If a file is missing.
    """

    METAINFO = {}
    SOURCE = Source('CIFAR-10', 'https://www.cs.toronto.edu/~kriz/cifar.html', 'cifar10')
    train_list = [[name, None] for name, _ in CIFAR10.train_list]
    test_list = [[name, None] for name, _ in CIFAR10.test_list]
    meta = {**CIFAR10.meta, 'md5': None}

    def __init__(self, data_root: str, **kwargs: Any) -> None:
        super().__init__(data_root=data_root, **{**kwargs, 'download': False})

    def load_data_list(self) -> List[dict]:
        """Reads all images and labels of the split, once all files are there."""
        names = [name for name, _ in self.train_list + self.test_list]
        for name in (*names, self.meta['filename']):
            self.SOURCE.require(join_path(self.data_root, self.base_folder, name), self.data_root)
        return super().load_data_list()


@DATASETS.register_module()
class DemoCIFAR100(DemoCIFAR10):
    """Demo data in the layout of CIFAR-100, labels 0 to 9 of 100; see :class:`DemoCIFAR10`."""

    SOURCE = Source('CIFAR-100', 'https://www.cs.toronto.edu/~kriz/cifar.html', 'cifar100')
    base_folder = CIFAR100.base_folder
    train_list = [[name, None] for name, _ in CIFAR100.train_list]
    test_list = [[name, None] for name, _ in CIFAR100.test_list]
    meta = {**CIFAR100.meta, 'md5': None}
