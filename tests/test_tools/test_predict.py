# Copyright (c) mmvisionmix authors. All rights reserved.
"""Pictures and videos are drawn, whole and in tiles; tiles find what the whole finds."""
import re
import sys
from pathlib import Path

import cv2
import mmcv
import numpy as np
import predict
import pytest
import torch
from mmengine.config import Config

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
SEGMENTOR, DETECTOR, CLASSIFIER = (str(CONFIGS / f'{name}.py') for name in (
    'fpn_linglo_b0_ade20k', 'retinanet_linglo_b0_coco', 'linglo_b0_imagenet'))
SMALL = ['--cfg-options', 'test_dataloader.dataset.pipeline.1.scale="(64,64)"']
RNG = np.random.default_rng(0)


@pytest.fixture
def video(tmp_path):
    file = str(tmp_path / 'drive.mp4')
    writer = cv2.VideoWriter(file, cv2.VideoWriter_fourcc(*'mp4v'), 5, (80, 48))
    for _ in range(3):
        writer.write(RNG.integers(0, 256, (48, 80, 3), dtype=np.uint8))
    writer.release()
    return file


@pytest.mark.parametrize('config, options', (
    (SEGMENTOR, ['--tile', '48', '--overlap', '16']), (SEGMENTOR, SMALL), (DETECTOR, SMALL)))
def test_video_is_drawn_frame_by_frame(video, tmp_path, capsys, config, options):
    out = tmp_path / 'out/found.mp4'
    predict.main([config, 'none', video, '--out', str(out), '--device', 'cpu', *options])
    assert re.search(r'3 of 48 x 80, [\d.]+ s each, [\d.]+ GiB at most', capsys.readouterr().out)
    drawn = mmcv.VideoReader(str(out))
    assert len(drawn) == 3 and drawn.resolution == (80, 48) and drawn.fps == 5


def test_segmentor_in_one_tile_finds_what_it_finds_in_the_whole():
    picture = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    command = [SEGMENTOR, 'none', 'x.png', '--device', 'cpu']
    whole, tiled = (
        predict.build_finder(predict.parse_args(command + options))[0](picture).seg_logits.data
        for options in (SMALL, ['--tile', '64']))
    torch.testing.assert_close(tiled, whole, rtol=1e-4, atol=1e-5)
    model = torch.nn.Module()
    predict.segment(Config.fromfile(SEGMENTOR), model, 64, 16)
    assert (model.test_cfg.crop_size, model.test_cfg.stride) == ((64, 64), (48, 48))


def test_objects_of_tiles_are_moved_and_merged(monkeypatch):
    """Two tiles that overlap see one object between them: it is found once, where it is."""
    pytest.importorskip('sahi', reason='an extra: docs/large_pictures.md says how to install it')
    import mmdet.apis
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    def bright(model, tile):
        places = torch.from_numpy(np.argwhere(tile[..., 0] > 200)[:, ::-1].copy()).float()
        boxes = torch.cat([places.amin(0), places.amax(0) + 1])[None] if len(places) else (
            torch.empty(0, 4))
        found = InstanceData(bboxes=boxes, scores=torch.ones(len(boxes)),
                             labels=torch.zeros(len(boxes)).long())
        return DetDataSample(pred_instances=found)

    monkeypatch.setattr(mmdet.apis, 'inference_detector', bright)
    find = predict.detect(None, None, 64, 32)
    picture = np.zeros((64, 96, 3), np.uint8)
    assert len(find(picture).pred_instances) == 0
    picture[10:20, 40:50] = 255
    assert find(picture).pred_instances.bboxes.tolist() == [[40, 10, 50, 20]]


@pytest.mark.parametrize('args, message', (
    ([DETECTOR, 'none', 'missing.png'], 'missing.png does not exist'),
    ([DETECTOR, 'none', 'drive.mp4', '--out', 'found.png'], 'of a video, name it NAME.mp4'),
    ([DETECTOR, 'none', 'text.png'], 'text.png holds no picture'),
    ([DETECTOR, 'none', 'a.png', '--tile', '32'], 'tiles of detectors need: pip install sahi'),
    ([CLASSIFIER, 'none', 'a.png'], 'of mmpretrain, not of mmsegmentation')))
def test_faults_are_told_in_a_line(video, tmp_path, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, 'sahi.slicing', None)
    Path('text.png').write_text('no picture')
    mmcv.imwrite(np.zeros((32, 32, 3), np.uint8), 'a.png')
    with pytest.raises(SystemExit, match=message):
        predict.main([*args, '--device', 'cpu'])
