# Copyright (c) mmvisionmix authors. All rights reserved.
"""SVHN, photographed house numbers: Netzer et al., "Reading Digits in Natural Images", 2011."""
from io import BytesIO
from typing import Any, List, Optional, Tuple

import numpy as np
from mmengine.fileio import get, join_path
from mmpretrain.datasets import BaseDataset
from scipy.io import loadmat

from mmvisionmix.registry import DATASETS

from .sources import Source, known_split

SIDE = 32
"""Height and width of an image, in pixels."""


@DATASETS.register_module()
class SVHN(BaseDataset):
    """Street View House Numbers, cropped to one digit each ("Format 2").

    It is read from MATLAB files, one per split::

        data_root
        ├── train_32x32.mat    73,257 digits
        ├── test_32x32.mat     26,032 digits
        └── extra_32x32.mat    531,131 easier digits, only for split='extra'

    A file holds images ``X`` of shape (32, 32, 3, N), uint8, and labels ``y`` of N values, where 10
    stands for the digit 0. An item is a dict of ``img``, an RGB image of shape (32, 32, 3), and
    ``gt_label``, its digit. The pipeline needs no loading step, and the data preprocessor must
    leave the order of the channels as it is (``to_rgb=False``), as for mmpretrain's CIFAR10.

    Args:
        data_root: Folder of the files.
        split: ``'train'``, ``'test'`` or ``'extra'``. Default: ``'train'``.
        metainfo: What to put beside or in place of the class names. Default: None.
        **kwargs: Other arguments of mmpretrain's ``BaseDataset``, such as ``pipeline``.

    Raises:
        FileNotFoundError: If the split's file is missing.
        ValueError: If the split is unknown, or the file is damaged.
    """

    METAINFO = {'classes': tuple('0123456789')}
    SOURCE = Source('SVHN, Format 2,', 'http://ufldl.stanford.edu/housenumbers/', 'svhn')

    def __init__(self,
                 data_root: str,
                 split: str = 'train',
                 metainfo: Optional[dict] = None,
                 **kwargs: Any) -> None:
        self.split = known_split(split, ('train', 'test', 'extra'))
        super().__init__(ann_file='', metainfo=metainfo, data_root=data_root, **kwargs)

    def load_data_list(self) -> List[dict]:
        """Reads all images and labels of the split."""
        path = join_path(self.data_root, f'{self.split}_32x32.mat')
        images, digits = read_digits(self.SOURCE.require(path, self.data_root))
        return [dict(img=image, gt_label=int(digit)) for image, digit in zip(images, digits)]

    def extra_repr(self) -> List[str]:
        """What ``repr`` shows beside the usual."""
        return [f'Root of dataset: \t{self.data_root}', f'Split: \t{self.split}']


def read_digits(path: str) -> Tuple[np.ndarray, np.ndarray]:
    """Reads one of SVHN's MATLAB files.

    Args:
        path: The file, on disk or in any storage that MMEngine reads.

    Returns:
        RGB images of shape (N, 32, 32, 3), uint8, and their digits, N integers from 0 to 9.

    Raises:
        ValueError: If the file is not such a file, or is cut short.
    """
    data = get(path)
    try:
        content = loadmat(BytesIO(data), variable_names=('X', 'y'))
        images, labels = content['X'], content['y'].ravel()
    except Exception as error:  # SciPy raises nearly anything on a damaged file
        raise ValueError(
            f'{path} is damaged, or no MATLAB file of SVHN ({error}). Download it again from '
            f'{SVHN.SOURCE.url}') from error
    if images.dtype != np.uint8 or images.shape != (SIDE, SIDE, 3, len(labels)):
        raise ValueError(
            f'{path} should hold uint8 images of shape ({SIDE}, {SIDE}, 3, {len(labels)}) to go '
            f'with its {len(labels)} labels, but they are {images.dtype} of {images.shape}')
    if not np.isin(labels, range(1, 11)).all():
        raise ValueError(f'{path} should hold labels from 1 to 10, but some are others')
    return np.ascontiguousarray(images.transpose(3, 0, 1, 2)), labels.astype(int) % 10
