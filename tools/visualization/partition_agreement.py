# Copyright (c) mmvisionmix authors. All rights reserved.
"""How far partitions of tokens follow the classes of a segmentation data set."""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path
from typing import Dict, List, Tuple

import numpy as np
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, init_default_scope
from scipy.stats import entropy
from sklearn.metrics import normalized_mutual_info_score
from subjects import backbone_of, choose_layers, label_of, load_config, load_model

from mmvisionmix.datasets.availability import check_data
from mmvisionmix.visualization import mixer_maps

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import table  # noqa: E402  beside this folder

HEADER = ('layer', 'weights', 'NMI', 'entropy in bits', 'shares of the partitions in %')
IGNORE_INDEX = 255

Tokens = Tuple[np.ndarray, np.ndarray]
"""Partitions of all tokens, shape (heads, tokens), and their classes, shape (tokens)."""


def agreement_table(args: argparse.Namespace) -> str:
    """A line per layer and checkpoint, of all tokens of ``args.agreement`` images together.

    NMI is the mutual information of partitions and classes over the mean of their entropies, 0 if
    they are independent and 1 if they are the same. It is averaged over heads, and so are the
    entropy and the shares of the partitions, the largest first.

    Raises:
        FileNotFoundError: If the test data are missing.
        ValueError: If a checkpoint is not the model's, or this is no segmentor.
    """
    lines: Dict[str, List[List[str]]] = defaultdict(list)
    for checkpoint in args.checkpoints:
        cfg = load_config(args.config, checkpoint, args.cfg_options)
        tokens = tokens_of(cfg, checkpoint, args.agreement)
        for name in choose_layers(list(tokens), args.layers):
            codes, classes = tokens[name]
            counts = [np.bincount(head, minlength=codes.max() + 1) for head in codes]
            spread = [np.sort(head / head.sum())[::-1] for head in counts]
            mutual = [normalized_mutual_info_score(classes, head) for head in codes]
            lines[name].append([
                label_of(name), Path(checkpoint).stem,
                f'{np.mean(mutual):.3f}', f'{np.mean(entropy(spread, base=2, axis=1)):.2f}',
                ' '.join(f'{share:.0%}'.rstrip('%') for share in np.mean(spread, 0))])
    return table(HEADER, [line for layer in lines.values() for line in layer])


def tokens_of(cfg: Config, checkpoint: str, num: int) -> Dict[str, Tokens]:
    """Partitions and classes of the tokens of images spread over the test set, by layer."""
    if cfg.get('default_scope') != 'mmseg':
        raise ValueError('--agreement takes a config of mmsegmentation, whose test set has labels')
    check_data(cfg, ('test_dataloader', ))
    init_default_scope('mmseg')
    model = load_model(cfg, checkpoint)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    codes, labels = defaultdict(list), defaultdict(list)
    for index in np.linspace(0, len(dataset) - 1, min(num, len(dataset))).round().astype(int):
        item = dataset[index]
        truth = item['data_samples'].gt_sem_seg
        images = model.data_preprocessor(pseudo_collate([item]), False)['inputs']
        for name, maps in mixer_maps(backbone_of(model), images, 'partitions').items():
            classes = at_tokens(truth.data[0].numpy(), maps.shape[2:])
            kept = classes != IGNORE_INDEX
            codes[name].append(maps[0].long().numpy()[:, kept])
            labels[name].append(classes[kept])
    return {name: (np.concatenate(codes[name], 1), np.concatenate(labels[name]))
            for name in codes}


def at_tokens(labels: np.ndarray, grid: Tuple[int, int]) -> np.ndarray:
    """What labels (H, W) are in the middle of every token of a grid."""
    rows, cols = (((np.arange(tokens) + 0.5) * side / tokens).astype(int)
                  for side, tokens in zip(labels.shape, grid))
    return labels[np.ix_(rows, cols)]
