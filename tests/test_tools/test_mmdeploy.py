# Copyright (c) mmvisionmix authors. All rights reserved.
"""Whole models in files of mmdeploy, by its own configs and the script of docs/deploy.md.

MMDEPLOY names a clone of its repository; mmdeploy itself may be installed as that page says.
"""
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from common import build_model
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DefaultScope
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / 'docs/deploy.md').read_text(encoding='utf-8')
# Config, mmdeploy's config, and biases of last layers with which some objects are found by chance.
MODELS = [
    ('retinanet_linglo_b0_coco', 'mmdet/detection/detection_onnxruntime_dynamic',
     dict(retina_cls=-6.)),
    ('mask_rcnn_dualformer_xs_coco', 'mmdet/instance-seg/instance-seg_onnxruntime_dynamic',
     dict(rpn_cls=0., fc_cls=0., conv_logits=0.)),
    ('fpn_linglo_b0_ade20k', 'mmseg/segmentation_onnxruntime_dynamic', dict(conv_seg=0.)),
    ('mcganet_imagenet', 'mmpretrain/classification_onnxruntime_dynamic', {'layers.1.fc': 0.})]


def write_model(name, biases):
    """Writes ``config.py``, ``trained.pth`` and ``image.png``; outputs of last layers vary by 1."""
    pixels = np.random.default_rng(0).integers(256, size=(12, 18, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((384, 256)).save('image.png')
    cfg = Config.fromfile(ROOT / f'configs/{name}.py')
    for step in [*cfg.test_pipeline, *cfg.test_dataloader.dataset.pipeline]:
        if step.get('keep_ratio'):
            step.scale = (384, 256)
    cfg.dump('config.py')
    torch.manual_seed(0)
    model = build_model(cfg)
    model.init_weights()
    model.eval()
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        pipeline = Compose([step for step in cfg.test_dataloader.dataset.pipeline
                            if 'Annotations' not in step['type']])
    for end, bias in biases.items():
        layer, = (module for name, module in model.named_modules() if name.endswith(end))
        outs = []
        hook = layer.register_forward_hook(lambda layer, args, out, outs=outs: outs.append(out))
        model.test_step(pseudo_collate([pipeline(dict(img_path='image.png', img_id=0))]))
        hook.remove()
        layer.weight.data /= torch.cat([out.flatten() for out in outs]).std()
        layer.bias.data.fill_(bias)
    torch.save(dict(state_dict=model.state_dict()), 'trained.pth')


def assert_same_objects(found, wanted):
    """Nearly all boxes, scores and masks: which of two boxes suppresses the other may be chance."""
    boxes, labels, scores = (torch.as_tensor(found[key]) for key in ('bboxes', 'labels', 'scores'))
    assert len(wanted) > 20 and wanted.labels.unique().numel() > 5
    near = (boxes - wanted.bboxes[:, None]).abs().amax(2) < 1e-2
    near &= (labels == wanted.labels[:, None]) & ((scores - wanted.scores[:, None]).abs() < 1e-4)
    if 'masks' in wanted:
        masks = torch.as_tensor(np.asarray(found.masks)).flatten(1).float()
        apart = torch.cdist(wanted.masks.flatten(1).float(), masks, p=1)
        near &= apart < 1e-3 * masks.shape[1]
    assert near.any(1).float().mean() > 0.95


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize('name, deploy, biases', MODELS)
def test_mmdeploy_gives_what_pytorch_gives(tmp_path, monkeypatch, name, deploy, biases):
    apis = pytest.importorskip('mmdeploy.apis', reason='docs/deploy.md says how to install it')
    clone = Path(os.environ.get('MMDEPLOY', 'none')).resolve()
    if not clone.is_dir():
        pytest.skip('MMDEPLOY does not name a clone of its repository')
    from mmdeploy.utils import load_config
    monkeypatch.chdir(tmp_path)
    write_model(name, biases)
    script = re.search(r'```python\n(# mmdeploy_onnx.py.*?)```', PAGE, re.S).group(1)
    Path('mmdeploy_onnx.py').write_text(script)
    deploy = clone / f'configs/{deploy}.py'
    subprocess.run(
        [sys.executable, 'mmdeploy_onnx.py', clone / 'tools/torch2onnx.py', deploy, 'config.py',
         'trained.pth', 'image.png', '--work-dir', 'out'], check=True)
    task = apis.build_task_processor(*load_config(str(deploy), 'config.py')[::-1], 'cpu')
    found, wanted = (
        model.test_step(task.create_input('image.png', None)[0])[0] for model in (
            task.build_backend_model(
                ['out/end2end.onnx'], data_preprocessor_updater=task.update_data_preprocessor),
            task.build_pytorch_model('trained.pth')))
    if 'pred_instances' in wanted:
        assert_same_objects(found.pred_instances, wanted.pred_instances)
    elif 'pred_sem_seg' in wanted:
        assert wanted.pred_sem_seg.data.unique().numel() > 5
        assert (found.pred_sem_seg.data == wanted.pred_sem_seg.data).float().mean() > 0.999
    else:
        assert wanted.pred_score.std() > 1e-4
        torch.testing.assert_close(found.pred_score, wanted.pred_score, rtol=1e-3, atol=1e-6)
