# Copyright (c) mmvisionmix authors. All rights reserved.
"""What the data sets say when a split or a file is not there."""
import shlex
from dataclasses import dataclass
from typing import Sequence

from mmengine.fileio import exists


@dataclass(frozen=True)
class Source:
    """Where a data set can be had from.

    Attributes:
        name: Its name.
        url: The page or archive to download it from.
        layout: Its name in ``tools/dataset_tools/make_demo_data.py``.
    """
    name: str
    url: str
    layout: str

    def require(self, path: str, root: str) -> str:
        """Makes sure that a file or folder exists.

        Args:
            path: The file or folder, on disk or in any storage that MMEngine reads.
            root: The data set's folder.

        Returns:
            ``path``.

        Raises:
            FileNotFoundError: If it does not exist; the message says how to get it.
        """
        if exists(path):
            return path
        raise FileNotFoundError(
            f'{path} does not exist. Download {self.name} from {self.url} (docs/datasets.md shows '
            f'its folders), or make small demo data of the same layout in an empty folder:\n'
            f'    python tools/dataset_tools/make_demo_data.py {self.layout} --out '
            f'{shlex.quote(str(root))}')


def known_split(split: str, splits: Sequence[str]) -> str:
    """Makes sure that a split is one of those given.

    Returns:
        The split.

    Raises:
        ValueError: If it is not.
    """
    if split not in splits:
        raise ValueError(f'unknown split {split!r}; known are {", ".join(splits)}')
    return split
