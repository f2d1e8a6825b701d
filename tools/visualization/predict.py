# Copyright (c) mmvisionmix authors. All rights reserved.
"""Draws what a segmentor or detector finds in a picture or video, whole or in tiles.

    python tools/visualization/predict.py CONFIG CHECKPOINT street.jpg --out found.png
    python tools/visualization/predict.py CONFIG CHECKPOINT drive.mp4 --out found.mp4
    python tools/visualization/predict.py CONFIG CHECKPOINT aerial.png --tile 512 --overlap 128

Tiles keep small things at the size that the network has learnt. Segmentors take them by
mmsegmentation's slide mode, at the picture's own resolution; detectors by SAHI's slices, merged by
mmdetection, each scaled as the config says. See docs/large_pictures.md.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from copy import deepcopy
from pathlib import Path
from typing import Any, Callable, Iterator, Optional, Sequence, Tuple

import cv2
import mmcv
import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.registry import DATASETS, VISUALIZERS, init_default_scope
from rich.progress import track
from subjects import load_config, load_model, make_parser

from mmvisionmix.datasets.availability import type_name

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import add_config_options, check_files, errors_in_a_line, positive_int  # noqa: E402

VIDEOS = ('.avi', '.mkv', '.mov', '.mp4', '.webm')
MERGE = dict(type='nms', iou_threshold=0.25)
"""How boxes of overlapping tiles are merged: as mmdetection's demo of large images does."""
Find = Callable[[np.ndarray], Any]
"""Maps a picture (H, W, 3), BGR, uint8, to a data sample."""


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = make_parser(__doc__, 'found.png')
    parser.add_argument('config', help='config file of a segmentor or detector')
    parser.add_argument('checkpoint', help='checkpoint file, or none for random weights')
    parser.add_argument('input', help='picture or video file')
    parser.add_argument('--tile', type=positive_int, help="tiles' side in pixels (default: whole)")
    parser.add_argument(
        '--overlap', type=int, help="of neighbours, in pixels (default: a quarter of a tile's)")
    parser.add_argument(
        '--score', type=float, default=0.3, help='least score of boxes (default: %(default)s)')
    parser.add_argument(
        '--device', default=get_device(), help='where to run the model (default: %(default)s)')
    add_config_options(parser, 'model.backbone.arch=b1')
    args = parser.parse_args(argv)
    if args.overlap is None:
        args.overlap = (args.tile or 0) // 4
    if not 0 <= args.overlap < (args.tile or 1):
        parser.error('--overlap is at least 0, and less than --tile')
    return args


def segment(cfg: Config, model: torch.nn.Module, tile: Optional[int], overlap: int) -> Find:
    """How mmsegmentation finds classes in a picture."""
    from mmseg.apis import inference_model
    steps = deepcopy(cfg.test_dataloader.dataset.pipeline)
    if tile:  # at the picture's own resolution
        steps = [step for step in steps if type_name(step) != 'Resize']
        model.test_cfg = ConfigDict(
            mode='slide', crop_size=(tile, tile), stride=(tile - overlap, ) * 2)
    cfg.test_pipeline = steps
    return lambda picture: inference_model(model, picture)


def detect(cfg: Config, model: torch.nn.Module, tile: Optional[int], overlap: int) -> Find:
    """How mmdetection finds objects in a picture; of tiles, their boxes alone.

    Raises:
        ImportError: If tiles are wanted and SAHI, which mmdetection cuts by, is not installed.
    """
    from mmdet.apis import inference_detector
    if not tile:
        return lambda picture: inference_detector(model, picture)
    try:
        from mmdet.utils.large_image import merge_results_by_nms
        from sahi.slicing import get_slice_bboxes
    except ImportError as error:
        raise ImportError(f'{error}; tiles of detectors need: pip install sahi') from error

    def find(picture: np.ndarray) -> Any:
        height, width = picture.shape[:2]
        boxes = get_slice_bboxes(height, width, tile, tile, False, overlap / tile, overlap / tile)
        results = []
        for left, top, right, bottom in boxes:
            found = inference_detector(model, picture[top:bottom, left:right])
            found.pred_instances.pop('masks', None)  # which mmdetection does not merge
            results.append(found)
        if not any(len(found.pred_instances) for found in results):
            return results[0]  # mmcv's merging fails without any box
        return merge_results_by_nms(results, [box[:2] for box in boxes], (height, width), MERGE)

    return find


def build_finder(args: argparse.Namespace) -> Tuple[Find, Callable[[np.ndarray, Any], np.ndarray]]:
    """The model of the command line, as what finds and what draws.

    Raises:
        ValueError: If the config is neither of a segmentor nor of a detector.
    """
    cfg = load_config(args.config, args.checkpoint, args.cfg_options)
    scope = cfg.get('default_scope')
    if scope not in ('mmseg', 'mmdet'):
        raise ValueError(f'{args.config} is of {scope}, not of mmsegmentation or mmdetection')
    init_default_scope(scope)
    model = load_model(cfg, args.checkpoint).to(args.device)
    model.cfg = cfg
    classes = DATASETS.build(dict(cfg.test_dataloader.dataset, lazy_init=True)).metainfo
    visualizer = VISUALIZERS.build(dict(cfg.visualizer, vis_backends=None, name='predict'))
    visualizer.dataset_meta = model.dataset_meta = classes
    options = dict(with_labels=False) if scope == 'mmseg' else dict(pred_score_thr=args.score)

    def paint(picture: np.ndarray, found: Any) -> np.ndarray:
        visualizer.add_datasample('', picture[..., ::-1].copy(), found.cpu(), draw_gt=False,
                                  show=False, **options)
        return visualizer.get_image()[..., ::-1]

    find = segment if scope == 'mmseg' else detect
    return find(cfg, model, args.tile, args.overlap), paint


def frames_of(path: str) -> Tuple[Iterator[np.ndarray], int, float]:
    """The pictures in a file (BGR), how many there are, and how many of them are a second.

    Raises:
        FileNotFoundError: If it is missing.
        ValueError: If it holds no picture.
    """
    check_files(path)
    if Path(path).suffix.lower() in VIDEOS:
        video = mmcv.VideoReader(path)
        if len(video):
            return iter(video), len(video), video.fps
    else:
        picture = mmcv.imread(path)
        if picture is not None:
            return iter([picture]), 1, 0.
    raise ValueError(f'{path} holds no picture that OpenCV reads')


def write(pictures: Iterator[np.ndarray], out: Path, fps: float) -> Tuple[int, ...]:
    """Writes a picture, or a video of ``fps`` pictures a second, and returns their shape."""
    out.parent.mkdir(parents=True, exist_ok=True)
    writer = None
    for picture in pictures:
        if not fps:
            mmcv.imwrite(picture, str(out))
        elif writer is None:
            writer = cv2.VideoWriter(
                str(out), cv2.VideoWriter_fourcc(*'mp4v'), fps, picture.shape[1::-1])
            if not writer.isOpened():
                raise ValueError(f'OpenCV cannot write {out}; name it .mp4')
        if writer is not None:
            writer.write(np.ascontiguousarray(picture))
    if writer is not None:
        writer.release()
    return picture.shape[:2]


def most_memory(device: str) -> float:
    """The most memory that was held so far, in GiB: of the GPU, or of this process."""
    if device.startswith('cuda'):
        return torch.cuda.max_memory_allocated() / 2**30
    unit = 2**30 if sys.platform == 'darwin' else 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Draws what the command line asks for."""
    args = parse_args(argv)
    with errors_in_a_line(args.traceback):
        frames, number, fps = frames_of(args.input)
        if bool(fps) != (args.out.suffix.lower() in VIDEOS):
            raise ValueError(f'--out {args.out}: of a {"video" if fps else "picture"}, '
                             f'name it {"NAME.mp4" if fps else "NAME.png"}')
        find, paint = build_finder(args)
        seconds = []

        def paint_all() -> Iterator[np.ndarray]:
            for picture in track(frames, 'Predicting', number):
                start = time.perf_counter()
                found = find(picture)
                seconds.append(time.perf_counter() - start)
                yield paint(picture, found)

        height, width = write(paint_all(), args.out, fps)
    print(f'{len(seconds)} of {height} x {width}, {np.mean(seconds):.2f} s each, '
          f'{most_memory(args.device):.2f} GiB at most: {args.out}')


if __name__ == '__main__':
    main()
