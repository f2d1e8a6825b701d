# Copyright (c) mmvisionmix authors. All rights reserved.
"""How many pictures a demo data set has, and where their random choices come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Iterable, Sequence

import numpy as np

from .photographs import SPLITS

Track = Callable[[Sequence], Iterable]
"""Wraps a sequence that is being worked on, for a progress bar."""


@dataclass(frozen=True)
class Recipe:
    """Everything that a set of pictures of a fixed size depends on.

    Attributes:
        train: Number of training pictures.
        val: Number of validation pictures.
        seed: Seed of the random choices. Every picture has a stream of its own, derived from the
            seed, its split and its index: more pictures of one split change no other picture.

    Raises:
        ValueError: If a number is out of its range.
    """
    train: int = 800
    val: int = 80
    seed: int = 0

    def __post_init__(self) -> None:
        for split in SPLITS:
            if self.count(split) < 1:
                raise ValueError(f'{split} must be at least 1, got {self.count(split)}')
        if self.seed < 0:
            raise ValueError(f'seed must not be negative, got {self.seed}')

    def count(self, split: str) -> int:
        """Number of pictures of a split."""
        return {'train': self.train, 'val': self.val}[split]

    def rng(self, split: str, index: int) -> np.random.Generator:
        """The random stream of one picture."""
        return np.random.default_rng([self.seed, SPLITS.index(split), index])
