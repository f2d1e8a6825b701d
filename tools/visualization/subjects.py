# Copyright (c) mmvisionmix authors. All rights reserved.
"""Networks and images to be looked at: options, backbones of configs, files as these see them."""

from __future__ import annotations

import argparse
import math
import re
import sys
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import mmcv
import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor, nn

from mmvisionmix.datasets.availability import type_name
from mmvisionmix.models import BaseBackbone
from mmvisionmix.models.utils import image_channels

TOOLS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TOOLS), str(TOOLS / 'dataset_tools')]
import common  # noqa: E402  beside this folder
from common import (  # noqa: E402
    build_model,
    check_files,
    input_size,
    positive_int,
    read_config,
)
from inspection import read_fault  # noqa: E402

NO_CHECKPOINT = 'none'
DEFAULT_SIZE = 224
MEAN = (123.675, 116.28, 103.53)  # ImageNet's, RGB, for networks without preprocessing
STD = (58.395, 57.12, 57.375)


class Subject(NamedTuple):
    """A network with an image, as it takes it.

    Attributes:
        name: What it is called in pictures.
        backbone: Gives feature maps; in evaluation mode.
        images: The image after preprocessing, shape (1, 3, H, W).
        picture: The image as it is shown, RGB, shape (H, W, 3), uint8.
    """
    name: str
    backbone: nn.Module
    images: Tensor
    picture: np.ndarray


def make_parser(description: str, out: str) -> argparse.ArgumentParser:
    """A parser with ``--out``, the picture's file.

    Args:
        description: What stands at the top of the tool.
        out: Name of the picture where none is given.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--out', type=Path, default=Path(out), help='picture (default: %(default)s)')
    return parser


def add_image_options(parser: argparse.ArgumentParser, position: str, layers: str) -> None:
    """Adds how an image is scaled, and what of it and of the network is drawn.

    Args:
        parser: Gets ``--position``, ``--layers`` and ``--size``.
        position: What the pixel at the position is for.
        layers: What is counted, and how some are chosen.
    """
    parser.add_argument(
        '--position', nargs=2, type=int, metavar=('ROW', 'COLUMN'),
        help=f'pixel of the scaled image {position} (default: its centre)')
    parser.add_argument(
        '--layers', type=positive_int, default=4, metavar='N',
        help=f'{layers} (default: %(default)s)')
    parser.add_argument(
        '--size', nargs=2, type=positive_int, metavar=('H', 'W'),
        help="scale and crop the image to as many pixels (default: the config's, else 224 224)")


def position_in(pixel: Optional[Sequence[int]], size: Sequence[int]) -> Tuple[float, float]:
    """The middle of a pixel, as parts of an image's height and width.

    Args:
        pixel: Its row and column. Default: the image's centre.
        size: Height and width of the image in pixels.

    Raises:
        ValueError: If it is outside the image.
    """
    height, width = size
    row, col = pixel or (height // 2, width // 2)
    if not (0 <= row < height and 0 <= col < width):
        raise ValueError(f'pixel {row} {col} is outside the image of {height} x {width}')
    return (row + 0.5) / height, (col + 0.5) / width


def load_subject(config: str, checkpoint: str, image: str, size: Optional[Sequence[int]] = None,
                 options: Sequence[str] = (), name: str = '') -> Subject:
    """Loads the backbone of a config's model, and an image as this model takes it.

    Args:
        config: Config file of any task.
        checkpoint: Checkpoint file, or ``'none'`` for random weights.
        image: Image file.
        size: Height and width to scale and crop the image to. Default: what the config's model is
            made for, else 224.
        options: Settings that override the config.
        name: What to call it. Default: the config's name.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is no image, no checkpoint of the model or one with values that are
            not finite, or the model has no backbone.
    """
    check_files(image)
    cfg = load_config(config, checkpoint, options)
    model = load_model(cfg, checkpoint)
    backbone = backbone_of(model)
    pixels = read_image(image, size or input_size(cfg), image_channels(backbone))
    return Subject(name or Path(config).stem, backbone,
                   preprocess(model, pixels, reads_files(cfg)), as_picture(pixels))


def load_config(config: str, checkpoint: str, options: Sequence[str] = ()) -> Config:
    """Reads a config, with settings that override it.

    Raises:
        FileNotFoundError: If it is missing, or its checkpoint is.
    """
    check_files(config, *([] if checkpoint == NO_CHECKPOINT else [checkpoint]))
    return read_config(config, options)


def load_model(cfg: Config, checkpoint: str) -> nn.Module:
    """Builds a config's model on the CPU, in evaluation mode, and loads all its weights.

    Raises:
        ValueError: If the file is no checkpoint of the model, or holds values that are not finite.
    """
    torch.manual_seed(0)
    if checkpoint == NO_CHECKPOINT:
        model = build_model(cfg)
        model.eval()  # of which some networks of the codebases return nothing
        return model
    return common.load_model(cfg, checkpoint)[0]


def backbone_of(model: nn.Module) -> nn.Module:
    """Finds the backbone of a model, however wrapped, and has it give maps, not vectors.

    Raises:
        ValueError: If there is none.
    """
    modules = dict(model.named_modules())
    found = [module for module in modules.values() if isinstance(module, BaseBackbone)]
    found += [module for name, module in modules.items() if name.split('.')[-1] == 'backbone']
    if not found:
        raise ValueError(f'{type(model).__name__} has no backbone')
    backbone = found[0]
    if isinstance(backbone, BaseBackbone):
        backbone.gap_before_norm = False
    elif hasattr(backbone, 'out_type'):  # plain transformers of mmpretrain
        backbone.out_type = 'featmap'
    return backbone


def reads_files(cfg: Config) -> bool:
    """Whether the config's images come from files, BGR, and not from a data set's arrays, RGB."""
    loader = cfg.get('test_dataloader') or cfg.get('val_dataloader') or {}
    steps = (loader.get('dataset') or {}).get('pipeline') or []
    return not steps or any('LoadImage' in type_name(step) for step in steps)


def read_image(path: str, size: Sequence[int], channels: int = 3) -> np.ndarray:
    """Reads an image, scales it to cover a size, and crops its centre: (H, W, channels), uint8.

    Three channels are BGR, and one is grey; of other numbers the file has to have as many.

    Raises:
        ValueError: If the file is no image, or has another number of channels.
    """
    fault = read_fault(path)
    if fault:
        raise ValueError(f'{path} {fault}')
    pixels = mmcv.imread(path, {1: 'grayscale', 3: 'color'}.get(channels, 'unchanged'))
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if pixels.shape[2] != channels:
        raise ValueError(f'{path} has {pixels.shape[2]} channels, and the network takes {channels}')
    height, width = size
    scale = max(height / pixels.shape[0], width / pixels.shape[1])
    rows, cols = (math.ceil(round(side * scale, 6)) for side in pixels.shape[:2])
    pixels = mmcv.imresize(pixels, (cols, rows), interpolation='area' if scale < 1 else 'bicubic')
    top, left = (rows - height) // 2, (cols - width) // 2
    pixels = pixels.reshape(rows, cols, channels)  # of one channel, scaling makes none
    return np.ascontiguousarray(pixels[top:top + height, left:left + width])


def as_picture(pixels: np.ndarray) -> np.ndarray:
    """What is shown of an image (H, W, channels): RGB, of the first three channels or of one."""
    bgr = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1].repeat(3, 2)
    return bgr[..., ::-1].copy()


def preprocess(model: nn.Module, pixels: np.ndarray, as_bgr: bool) -> Tensor:
    """Turns pixels (H, W, C), BGR if three, into what a model's backbone takes, (1, C, H, W)."""
    given = pixels[..., ::-1] if pixels.shape[2] == 3 and not as_bgr else pixels
    image = torch.from_numpy(given.copy()).permute(2, 0, 1)
    preprocessor = getattr(model, 'data_preprocessor', None)
    if preprocessor is None:
        return normalise(pixels)
    images = preprocessor(dict(inputs=[image], data_samples=None), False)['inputs']
    images = images if isinstance(images, Tensor) else torch.stack(list(images))
    return images[:, :, :pixels.shape[0], :pixels.shape[1]].float()  # detectors pad


def normalise(pixels: np.ndarray) -> Tensor:
    """Turns BGR pixels (H, W, 3) into RGB by ImageNet's statistics, shape (1, 3, H, W)."""
    image = torch.from_numpy(pixels[..., ::-1].copy()).permute(2, 0, 1).float()
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    return ((image - mean) / std)[None]


def label_of(layer: str) -> str:
    """What a layer is called in pictures: ``'stages.0.blocks.1.mixer'`` is stage 1, block 2."""
    name, kernel = re.fullmatch(r'(.*?)(?: (\d+x\d+))?', layer).groups()
    numbers = [int(number) + 1 for number in re.findall(r'(?:^|\.)(\d+)(?=\.|$)', name)]
    names = {1: 'block {}', 2: 'stage {}, block {}'}
    label = names[len(numbers)].format(*numbers) if len(numbers) in names else name
    return f'{label}\n{kernel}' if kernel else label


def choose_layers(layers: Sequence[str], most: int) -> List[str]:
    """The last layer of every stage, or, of more than ``most``, some that are evenly spread."""
    last: Dict[str, List[str]] = {}
    for layer in layers:
        stage = re.search(r'\d+', layer)
        key = stage.group() if stage else layer
        kept = last.setdefault(key, [])
        block = layer.partition(' ')[0]
        if kept and kept[0].partition(' ')[0] != block:
            kept.clear()  # of one layer, all convolutions stay
        kept.append(layer)
    blocks = list(last.values())
    spread = np.linspace(0, len(blocks) - 1, min(most, len(blocks))).round().astype(int)
    return [layer for i in spread for layer in blocks[i]]
