# Copyright (c) mmvisionmix authors. All rights reserved.
"""Configs and checkpoints are reached through the stock Python interfaces."""
from copy import deepcopy
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer, inference_detector, init_detector
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import save_checkpoint
from mmpretrain import ImageClassificationInferencer, get_model
from mmseg.apis import MMSegInferencer, init_model
from mmseg.apis import inference_model as inference_segmentor
from torch import nn

ROOT = Path(__file__).resolve().parents[2]
read = lru_cache(maxsize=None)(Config.fromfile)  # bases of other packages take a second


def config_file(name):
    return str(ROOT / f'configs/{name}.py')


def build(name):
    """A network of a config, built from its parts alone, and for CPUs."""
    cfg = deepcopy(read(config_file(name)))
    if cfg.default_scope == 'mmpretrain':
        cfg.model.data_preprocessor = cfg.data_preprocessor
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return revert_sync_batchnorm(MODELS.build(cfg.model)).eval(), cfg


def save(model, cfg, path, **dataset_meta):
    """Writes a checkpoint as MMEngine's runner does."""
    meta = dict(cfg=cfg.pretty_text, dataset_meta=dataset_meta, epoch=1)
    save_checkpoint(dict(meta=meta, state_dict=model.state_dict()), str(path))
    return str(path)


def randomise(module, std):
    """Gives weights that tell positions and classes apart; norms stay."""
    torch.manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.normal_(layer.weight, std=std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def write_image(path, height, width):
    """An image (H, W, 3) in BGR with coloured blocks, and the file that holds it."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
    image = cv2.resize(blocks, (width, height), interpolation=cv2.INTER_NEAREST)
    assert cv2.imwrite(str(path), image)
    return str(path), image


def normalise(image, settings):
    """An image (H, W, 3) as a batch of one, with the mean and deviation of a config."""
    mean, std = (torch.tensor(settings[key]).view(3, 1, 1) for key in ('mean', 'std'))
    return (torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() - mean) / std


def test_segmentation_interfaces_predict_what_the_network_does(tmp_path):
    name = 'fpn_linglo_b0_ade20k'
    model, cfg = build(name)
    model.init_weights()
    randomise(model.decode_head, 0.1)
    classes = [f'class {i}' for i in range(150)]
    palette = [[i, i, i] for i in range(150)]
    weights = save(model, cfg, tmp_path / 'model.pth', classes=classes, palette=palette)
    # As long as the pipeline's longer side, so that it is not resized.
    file, image = write_image(tmp_path / 'image.png', 64, 2048)
    with torch.no_grad():
        x = normalise(image[..., ::-1], cfg.model.data_preprocessor)
        logits = model.decode_head(model.neck(model.backbone(x)))
        logits = nn.functional.interpolate(logits, (64, 2048), mode='bilinear')
    expected = logits[0].argmax(0)
    assert len(expected.unique()) > 5

    inferencer = MMSegInferencer(config_file(name), weights, device='cpu')
    assert inferencer.model.dataset_meta['classes'] == classes
    out = inferencer(file)['predictions']
    assert (out == expected.numpy()).mean() > 0.9999
    model = init_model(config_file(name), weights, device='cpu')
    out = inference_segmentor(model, image)
    assert (out.pred_sem_seg.data[0] == expected).float().mean() > 0.9999
    torch.testing.assert_close(out.seg_logits.data, logits[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('name', ('retinanet_mcganet_coco', 'mask_rcnn_dualformer_xs_coco'))
def test_detection_interfaces_find_what_the_network_does(tmp_path, name):
    model, cfg = build(name)
    model.init_weights()
    for head in ('bbox_head', 'rpn_head', 'roi_head'):
        if hasattr(model, head):
            randomise(getattr(model, head), 0.03)
    classes = [f'class {i}' for i in range(80)]
    weights = save(model, cfg, tmp_path / 'model.pth', classes=classes)
    file, image = write_image(tmp_path / 'image.png', 96, 1333)  # not resized, as above
    x = normalise(image[..., ::-1], cfg.model.data_preprocessor)
    x = nn.functional.pad(x, (0, -x.shape[3] % 32))
    shapes = dict(img_shape=(96, 1333), ori_shape=(96, 1333), batch_input_shape=x.shape[2:])
    with torch.no_grad():
        expected, = model.predict(x, [DetDataSample(metainfo=dict(scale_factor=(1, 1), **shapes))])
    expected = expected.pred_instances
    assert len(expected) > 5 and expected.scores.unique().numel() > 5

    inferencer = DetInferencer(config_file(name), weights, device='cpu', show_progress=False)
    assert inferencer.model.dataset_meta['classes'] == classes
    out, = inferencer(file)['predictions']
    assert out['labels'] == expected.labels.tolist()
    np.testing.assert_allclose(out['bboxes'], expected.bboxes, atol=0.01)
    np.testing.assert_allclose(out['scores'], expected.scores, atol=1e-4)
    model = init_detector(config_file(name), weights, device='cpu')
    out = inference_detector(model, image).pred_instances
    assert out.keys() == expected.keys() and ('masks' in out) == (name.startswith('mask'))
    assert torch.equal(out.labels, expected.labels)
    torch.testing.assert_close(out.bboxes, expected.bboxes, rtol=0, atol=0.01)
    torch.testing.assert_close(out.scores, expected.scores, rtol=0, atol=1e-4)
    if 'masks' in out:
        assert expected.masks.any() and (out.masks == expected.masks).float().mean() > 0.9999


@pytest.mark.parametrize('name, size, crop', (
    ('lkca_b_cifar10', 32, slice(None)), ('mcganet_imagenet', 256, slice(16, 240))))
def test_classification_interfaces_predict_what_the_network_does(tmp_path, name, size, crop):
    model, cfg = build(name)
    model.init_weights()
    randomise(model.head, 0.5)
    settings = cfg.data_preprocessor
    classes = [f'class {i}' for i in range(settings.num_classes)]
    weights = save(model, cfg, tmp_path / 'model.pth', classes=classes)
    file, image = write_image(tmp_path / 'image.png', size, size)
    with torch.no_grad():
        x = image[..., ::-1] if settings.to_rgb else image
        feats = model.backbone(normalise(x[crop, crop], settings))
        feats = model.neck(feats) if model.with_neck else feats
        expected = model.head(feats).softmax(1)[0]
    label = int(expected.argmax())

    inferencer = ImageClassificationInferencer(
        config_file(name), pretrained=weights, device='cpu')
    model = get_model(config_file(name), pretrained=weights, device='cpu')
    for interface, given in ((inferencer, file), (ImageClassificationInferencer(model), image)):
        out, = interface(given)
        np.testing.assert_allclose(out['pred_scores'], expected, rtol=1e-3, atol=1e-5)
        assert (out['pred_label'], out['pred_class']) == (label, classes[label])
        assert out['pred_score'] == pytest.approx(float(expected[label]), rel=1e-3)


@pytest.mark.parametrize('name', (
    'lkca/lkca-2.69m_1xb128-100e_cifar10', 'mcganet/mcganet_retinanet_8xb2-1x_coco',
    'linglo/linglo-b0_fpn_4xb8-40k_ade20k-512x512'))
def test_hub_gives_the_config_and_the_codebase_builds_it(name):
    cfg = get_config(f'mmvisionmix::{name}.py')
    assert Path(cfg.filename).samefile(config_file(name))
    assert cfg.to_dict() == read(config_file(name)).to_dict()
    make = dict(
        mmpretrain=get_model, mmseg=lambda cfg: init_model(cfg, device='cpu'),
        mmdet=lambda cfg: init_detector(cfg, device='cpu'))[cfg.default_scope]
    model = make(cfg)
    assert not model.training
    assert f'mmvisionmix.{type(model.backbone).__name__}' == cfg.model.backbone.type
