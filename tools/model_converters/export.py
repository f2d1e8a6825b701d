# Copyright (c) mmvisionmix authors. All rights reserved.
"""Writes a trained model as ONNX or TorchScript, for inference without MMEngine.

    python tools/model_converters/export.py CONFIG CHECKPOINT --out FILE [--size HxW]
        [--dynamic-batch] [--dynamic-size] [--normalize] [--backbone] [--resize] [--int8 PICTURES]

Classifiers and segmentors give logits, detectors the maps of their neck, backbones theirs. The
backbone is folded for inference (see reparameterize.py). The file is run on random images, of
other batches and sizes too where they are dynamic, and written only if its outputs are those of the
model before it was folded. What the format lacks is named, and nothing is written.
"""
import argparse
import copy
import sys
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

import torch
from reparameterize import input_size, read_inputs, relative_error
from torch import Tensor, nn

from mmvisionmix.complexity import DETECTION_SIZE
from mmvisionmix.engine.checkpoint_hook import WholeFileBackend
from mmvisionmix.export import (
    FORMATS,
    OPSET,
    Exportable,
    ExportError,
    load_exported,
    size_multiple,
    to_onnx,
    to_torchscript,
)
from mmvisionmix.models import switch_to_deploy
from mmvisionmix.models.utils import image_channels

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import (  # noqa: E402  beside this folder
    add_config_options,
    errors_in_a_line,
    load_model,
    positive_int,
    read_size,
)
from onnx_files import Pictures, as_taken, describe, quantize  # noqa: E402

Size = Tuple[int, int]
HINT = ("Try another --format or --opset, another form of the backbone's mixers (--cfg-options "
        'model.backbone.impl=auto, or literal) or, if the operation is not of the backbone, '
        '--backbone. Nothing is written.')


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file of a trained model, not folded')
    parser.add_argument('--out', type=Path, required=True, help='file to write')
    parser.add_argument('--format', choices=FORMATS, default='onnx', help='(default: %(default)s)')
    parser.add_argument(
        '--size', type=read_size, metavar='HxW',
        help="pixels of an image (default: the config's; 800x1280 of a detector)")
    parser.add_argument(
        '--batch', type=positive_int, default=1, help='images (default: %(default)s)')
    parser.add_argument('--dynamic-batch', action='store_true', help='take any number of images')
    parser.add_argument(
        '--dynamic-size', action='store_true',
        help='take images of any size, where the model allows it')
    parser.add_argument(
        '--normalize', action='store_true',
        help="subtract the config's mean and divide by its std inside the file")
    parser.add_argument(
        '--backbone', action='store_true', help='leave out what follows the backbone')
    parser.add_argument(
        '--resize', action='store_true', help="enlarge a segmentor's logits to the image's size")
    parser.add_argument(
        '--int8', type=Path, metavar='PICTURES',
        help='compute in 8 bits where it pays, with ranges of values as for these pictures, a '
             'folder of some hundred of those that the model is for')
    parser.add_argument(
        '--opset', type=int, default=OPSET, help='of ONNX (default: %(default)s)')
    parser.add_argument(
        '--tolerance', type=float, default=1e-4,
        help='largest relative error of an output (default: %(default)s)')
    add_config_options(parser, 'model.backbone.arch=b')
    args = parser.parse_args(argv)
    if args.int8 and (args.format != 'onnx' or args.opset < 13):
        parser.error('--int8 takes --format onnx, and --opset 13 or later')
    return args


def check_dynamic_size(model: Exportable, size: Size) -> int:
    """What sides of images must be multiples of.

    Raises:
        ValueError: If a file of this model is for one size of images, or not for ``size``.
    """
    multiple = size_multiple(model)
    if multiple is None:
        raise ValueError('--dynamic-size: a file of this model is for images of one size, since '
                         'kernels, position embeddings or pooling bins depend on it; see '
                         'docs/deploy.md')
    if size[0] % multiple or size[1] % multiple:
        raise ValueError(f'--dynamic-size: sides must be multiples of {multiple} pixels, and '
                         f'--size too, got {size[0]}x{size[1]}')
    return multiple


def random_images(args: argparse.Namespace, model: Exportable, size: Size,
                  multiple: int) -> List[Tensor]:
    """Batches to trace with (the first) and to compare on, in all sizes that the file is to take.

    A batch of one is not traced with if others are to follow: it would be repeated for them.
    """
    batches = [2, 1, 3] if args.dynamic_batch else [args.batch, args.batch]
    sizes = [size] * len(batches)
    if args.dynamic_size:
        step = max(multiple, 8)
        sizes += [(size[0] + step, size[1]), (size[1], size[0] + 2 * step)]
        batches += batches[-2:]
    generator = torch.Generator().manual_seed(0)
    about = describe(model)
    return [as_taken(about, torch.randn(batch, image_channels(model), *sides, generator=generator))
            for batch, sides in zip(batches, sizes)]


def dynamic_axes(args: argparse.Namespace, outputs: Dict[str, Tensor]) -> Dict[str, Dict[int, str]]:
    """Names of all axes of any size, by input and output."""
    first = {0: 'batch'} if args.dynamic_batch else {}
    axes = {name: dict(first) for name in ('images', *outputs)}
    if args.dynamic_size:
        axes['images'].update({2: 'height', 3: 'width'})
        for name, out in outputs.items():
            if out.ndim == 4:
                axes[name].update({2: f'{name}_height', 3: f'{name}_width'})
    return axes


def report(tensors: Dict[str, Tensor], axes: Dict[str, Dict[int, str]],
           about: Dict[str, object]) -> None:
    """Prints what the file takes and gives, and what it knows."""
    for name, tensor in tensors.items():
        sides = 'x'.join(str(axes[name].get(i, side)) for i, side in enumerate(tensor.shape))
        print(f'{"input" if name == "images" else "output"}: {name}, float32, {sides}')
    for name, value in about.items():
        if name != 'classes':
            print(f'{name}: {value}')
    if about['size_multiple'] != 1:
        print('Of images whose sides are no such multiples, outputs are wrong.')


@torch.no_grad()
def export(model: Exportable, args: argparse.Namespace, size: Size,
           classes: Sequence[str]) -> bytes:
    """Folds and exports a model, compares, and reports; see the top of this file.

    Returns:
        bytes: The file's content.

    Raises:
        ExportError: If the format lacks an operation of the model.
        ValueError: If the file cannot be what is asked for, its outputs are not the model's, or
            these are not finite.
    """
    multiple = check_dynamic_size(model, size) if args.dynamic_size else 1
    images = random_images(args, model, size, multiple)
    expected = [model(batch) for batch in images]
    if not all(out.isfinite().all() for outs in expected for out in outs):
        raise ValueError('the model gives NaN or infinite values for random images: what was '
                         'trained has diverged; nothing is written')
    outputs = dict(zip(model.output_names(expected[0]), expected[0]))
    about, axes = describe(model, classes, multiple), dynamic_axes(args, outputs)
    folded = copy.deepcopy(model)
    switch_to_deploy(folded)
    if args.format == 'onnx':
        content = to_onnx(folded, images[0], list(outputs), axes, about, args.opset)
    else:
        content = to_torchscript(folded, images[0], about)
    compare(load_exported(content, args.format), images, expected, args.tolerance)
    report(dict(images=images[0], **outputs), axes, about)
    return content


def compare(exported: nn.Module, images: Sequence[Tensor],
            expected: Sequence[Sequence[Tensor]], tolerance: float) -> None:
    """Runs what was exported, and prints how far its outputs are from what was expected.

    Raises:
        ExportError: If it does not run.
        ValueError: If that is more than ``tolerance``.
    """
    for batch, outs in zip(images, expected):
        text = 'x'.join(map(str, batch.shape))
        try:
            found = exported(batch)
        except RuntimeError as error:  # of TorchScript, after a listing of its code
            reason = str(error).strip().splitlines()[-1]
            raise ExportError(f'the file fails on images {text}: {reason}') from error
        error = relative_error(found, outs)
        print(f'{text}: relative error {error:.1e}')
        if not error <= tolerance:  # NaN included
            raise ValueError(f'more than {tolerance:.1e}; nothing is written')


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Exports, compares, writes."""
    args = parse_args(argv)
    with errors_in_a_line(args.traceback):
        cfg = read_inputs(args)
        default = DETECTION_SIZE if cfg.get('default_scope') == 'mmdet' else input_size(cfg)
        model, meta = load_model(cfg, args.checkpoint)
        classes = (meta.get('dataset_meta') or {}).get('classes') or ()
        whole = Exportable(model, args.backbone, args.normalize, args.resize).eval()
        try:
            content = export(whole, args, args.size or default, classes)
            if args.int8:
                content = quantize(content, Pictures(cfg, model, args.int8))
        except ExportError as error:
            raise ExportError(f'{error}. {HINT}') from error
        except ModuleNotFoundError as error:
            raise ValueError(f'{error}: pip install onnx onnxruntime') from error
        WholeFileBackend().put(content, args.out)
    print(f'written: {args.out} ({len(content) / 2**20:.1f} MiB)')


if __name__ == '__main__':
    main()
