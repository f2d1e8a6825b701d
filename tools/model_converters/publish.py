# Copyright (c) mmvisionmix authors. All rights reserved.
"""Makes a small file of a checkpoint, for others to download.

    python tools/model_converters/publish.py CHECKPOINT weights/NAME.pth

OUT holds the weights, and the names and colours of the classes, nothing of the optimizer or the
machine. Matrices and kernels are in half precision, vectors as they were. Any torch loads it with
``weights_only=True``, also without MMEngine and this package, and models load it as any checkpoint.
"""
import argparse
import hashlib
import sys
from pathlib import Path
from typing import Optional, Sequence

from mmengine.runner import CheckpointLoader, save_checkpoint
from torch import Tensor

from mmvisionmix.engine.checkpoint_hook import BACKEND

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import add_traceback, check_files, errors_in_a_line  # noqa: E402  beside this folder


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', help='checkpoint file of a training')
    parser.add_argument('out', type=Path, help='file to write')
    add_traceback(parser)
    return parser.parse_args(argv)


def halve(name: str, value: Tensor) -> Tensor:
    """Matrices and kernels in half precision; vectors and integers as they are.

    Raises:
        ValueError: If a value is not finite, or out of the range of half precision.
    """
    if not value.is_floating_point() or value.dim() < 2:
        return value
    half = value.half()
    if not half.isfinite().all():
        raise ValueError(
            f'{name} holds values up to {value.abs().max():.3g}, beyond half precision')
    return half


def publish(checkpoint: str, out: Path) -> str:
    """Writes the file.

    Returns:
        Its SHA-256.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        FileExistsError: If the file to write exists.
        ValueError: If it holds no weights of a training, or they do not fit.
    """
    check_files(checkpoint)
    if out.exists():
        raise FileExistsError(f'{out} exists; remove it or choose another name')
    loaded = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')
    if 'state_dict' not in loaded:
        raise ValueError(f'{checkpoint} holds no state_dict, as those of MMEngine do')
    known = (loaded.get('meta') or {}).get('dataset_meta') or {}
    classes = {key: known[key] for key in ('classes', 'palette') if known.get(key) is not None}
    weights = {name: halve(name, value) for name, value in loaded['state_dict'].items()}
    save_checkpoint(dict(meta=dict(dataset_meta=classes) if classes else {}, state_dict=weights),
                    str(out), backend_args=dict(backend=BACKEND))
    return hashlib.sha256(out.read_bytes()).hexdigest()


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Writes what the command line asks for."""
    args = parse_args(argv)
    with errors_in_a_line(args.traceback):
        digest = publish(args.checkpoint, args.out)
        print(f'written: {args.out} ({args.out.stat().st_size / 1e6:.2f} MB)\nsha256: {digest}')


if __name__ == '__main__':
    main()
