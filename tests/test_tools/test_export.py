# Copyright (c) mmvisionmix authors. All rights reserved.
"""Files of tools/model_converters/export.py, and what docs/deploy.md says of them."""
import json
import pickle
import re
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import export
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from onnx_files import OnnxFile, OnnxLogits, use_onnx
from PIL import Image
from torch import nn
from torch.nn import functional as F

from mmvisionmix.export import (
    BinPooling,
    Exportable,
    ExportError,
    OnnxModel,
    size_multiple,
    to_onnx,
    to_torchscript,
)
from mmvisionmix.models import LinGlo

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / 'docs/deploy.md').read_text(encoding='utf-8')
PYRAMID = 'embed_dims=(8, 8, 16, 16), depths=(1, 1, 1, 1), '
BACKBONES = dict(
    LKCAViT='img_size=32, patch_size=8, arch=dict(embed_dims=16, num_layers=4, mlp_ratio=2), ',
    LinGlo=f'arch=dict({PYRAMID}num_heads=(1, 2, 2, 2), mlp_ratios=(2, 2, 2, 2)), ',
    MCGANet=f'arch=dict({PYRAMID}num_heads=(1, 2, 2, 2), mlp_ratios=(2, 2, 2, 2)), ',
    DualFormer=f'num_heads=2, arch=dict({PYRAMID}reductions=(4, 2, 1, 1), '
               'mlp_ratios=(2, 2, 2, 2)), ')
PREPROCESSOR = 'mean=[120., 110., 100.], std=[60., 50.00023, 55.]'
CLASSIFIER = """
default_scope = 'mmpretrain'
data_preprocessor = dict({preprocessor}, to_rgb=True, num_classes=3)
model = dict(
    type='ImageClassifier', backbone=dict(type='mmvisionmix.{name}', {options}out_indices=-1),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=3, in_channels=16))
"""
SEGMENTOR = """
default_scope = 'mmseg'
model = dict(
    type='EncoderDecoder', backbone=dict(type='mmvisionmix.{name}', {options}out_indices=(2, 3)),
    data_preprocessor=dict(type='SegDataPreProcessor', size=(32, 32), {preprocessor}),
    decode_head=dict(
        type='{head}', in_channels=16, in_index=1, channels=8, num_classes=4,
        norm_cfg=dict(type='SyncBN'), align_corners=False),
    train_cfg=dict(), test_cfg=dict(mode='whole'))
"""
DETECTOR = """
_base_ = ['mmdet::_base_/models/retinanet_r50_fpn.py', 'mmdet::_base_/default_runtime.py']
model = dict(
    data_preprocessor=dict(pad_size_divisor=32),
    backbone=dict(
        _delete_=True, type='mmvisionmix.{name}', {options}out_indices=(0, 1, 2, 3)),
    neck=dict(in_channels=[8, 8, 16, 16], out_channels=8, start_level=1, num_outs=5),
    bbox_head=dict(num_classes=2, in_channels=8, feat_channels=8, stacked_convs=1))
"""
STOCK = """
default_scope = 'mmpretrain'
model = dict(type='ImageClassifier', backbone=dict(type='LeNet5', num_classes=3))
"""
GROUPS = "norm_cfg=dict(type='GN', num_groups=4), "


def config(text, name, preprocessor=PREPROCESSOR, head='FCNHead', more=''):
    return text.format(
        name=name, options=BACKBONES[name] + more, preprocessor=preprocessor, head=head)


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """The working folder of a test; the function writes ``config.py`` and ``trained.pth``."""
    monkeypatch.chdir(tmp_path)

    def make(text):
        Path('config.py').write_text(text)
        cfg = Config.fromfile('config.py')
        if cfg.get('data_preprocessor'):
            cfg.model.data_preprocessor = cfg.data_preprocessor
        torch.manual_seed(0)
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            model = MODELS.build(cfg.model).eval()
        for key, param in model.named_parameters():
            nn.init.normal_(param, std=0.02 if key.endswith('bias') else 0.2)
        meta = dict(dataset_meta=dict(classes=('cat', 'dog', 'owl')))
        torch.save(dict(meta=meta, state_dict=model.state_dict()), 'trained.pth')
        return model
    return make


def run(*arguments, out='out.onnx'):
    export.main(['config.py', 'trained.pth', '--out', out, *arguments])


def outputs_of(file, images):
    session = onnxruntime.InferenceSession(file, providers=['CPUExecutionProvider'])
    return session.run(None, {'images': np.asarray(images)})


def assert_close(outs, expected):
    assert len(outs) == len(expected)
    for out, want in zip(outs, expected):
        assert want.std() > 0
        torch.testing.assert_close(torch.as_tensor(out), want, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('form, opset', (('onnx', 17), ('onnx', 11), ('torchscript', None)))
@pytest.mark.parametrize('name, more', [
    *((name, '') for name in BACKBONES), ('LinGlo', GROUPS), ('DualFormer', GROUPS)])
def test_classifiers_give_the_same_logits_for_any_number_of_images(
        workspace, name, more, form, opset, capsys):
    """ONNX of opset 11 too, the default of mmdeploy's configs."""
    model = workspace(config(CLASSIFIER, name, more=more))
    run('--format', form, '--dynamic-batch', '--size', '32x32', '--normalize',
        *(('--opset', str(opset)) if opset else ()))
    if opset:
        graph = onnx.load('out.onnx')
        assert [(used.domain, used.version) for used in graph.opset_import] == [('', opset)]
        assert (opset == 17) == any(
            node.op_type == 'LayerNormalization' for node in graph.graph.node)
    out = capsys.readouterr().out
    assert all(f'{batch}x3x32x32: relative error ' in out for batch in (1, 2, 3))
    assert 'input: images, float32, batchx3x32x32\noutput: logits, float32, batchx3\n' in out
    assert 'channels: RGB' in out and 'normalized_inside: True' in out
    raw = torch.randint(256, (5, 3, 32, 32)).float()
    with torch.no_grad():
        bgr = model.data_preprocessor(dict(inputs=raw.flip(1)))['inputs']
        expected = model(bgr, mode='tensor')
    outs = outputs_of('out.onnx', raw) if form == 'onnx' else torch.jit.load('out.onnx')(raw)
    assert_close(outs, [expected])


@pytest.mark.parametrize('name', BACKBONES)
def test_limits_of_dynamic_sizes_are_those_of_the_page(workspace, name, capsys):
    row, = re.findall(rf'\| {name} \|(.+)\|', PAGE)
    model = workspace(config(CLASSIFIER, name))
    options = ('--dynamic-size', '--dynamic-batch', '--backbone', '--size')
    if 'that of the file' in row:
        with pytest.raises(SystemExit, match='a file of this model is for images of one size'):
            run(*options, '32x32')
        return
    run(*options, '64x64')
    out = capsys.readouterr().out
    assert 'input: images, float32, batchx3xheightxwidth' in out
    for height, width in [(32, 96), (64, 64)] + [(33, 50)] * ('any' in row):
        images = torch.randn(2, 3, height, width)
        expected = [out.detach() for out in model.backbone(images)]
        assert_close(outputs_of('out.onnx', images), expected)
    if 'multiples of 32' in row:
        assert 'size_multiple: 32' in out
        with pytest.raises(SystemExit, match='sides must be multiples of 32 pixels'):
            run(*options, '64x72', out='other.onnx')


def whole_of(model, images):
    meta = dict(img_shape=(32, 32), ori_shape=(32, 32), pad_shape=(32, 32))
    return [model.encode_decode(images, [meta] * len(images))]


def logits_of(model, images):
    return [model(images, mode='tensor')]


@pytest.mark.parametrize('text, arguments, shape, expected, line', [
    *((config(SEGMENTOR, name, head=head), ('--dynamic-batch', *more), (3, 3, 32, 32), expected,
       'output: logits, float32, batchx4x') for name, head in (
           ('LKCAViT', 'FCNHead'), ('LinGlo', 'PSPHead'), ('MCGANet', 'FCNHead'))
      for more, expected in (((), logits_of), (('--resize', ), whole_of))),
    (config(DETECTOR, 'DualFormer'), ('--dynamic-batch', '--dynamic-size', '--size', '64x96'),
     (1, 3, 96, 128), lambda model, images: model.extract_feat(images),
     'output: map4, float32, batchx8xmap4_heightxmap4_width'),
    ("default_scope = 'mmvisionmix'\n"
     f"model = dict(type='LinGlo', {BACKBONES['LinGlo']}out_indices=(0, 3))",
     ('--size', '32x48', '--batch', '2'), (2, 3, 32, 48), lambda model, images: model(images),
     'output: map0, float32, 2x8x8x12\noutput: map1, float32, 2x16x1x2\nmean: None\n')])
def test_files_give_what_segmentors_detectors_and_backbones_give(
        workspace, text, arguments, shape, expected, line, capsys):
    if 'mmdet' in text:
        pytest.importorskip('mmdet.models', reason='as with mmcv-lite')
    model = workspace(text)
    run(*arguments)
    assert line in capsys.readouterr().out
    images = torch.randn(shape)
    with torch.no_grad():
        wanted = expected(model, images)
    assert_close(outputs_of('out.onnx', images)[:4], list(wanted)[:4])
    if '--batch' in arguments:
        with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument):
            outputs_of('out.onnx', torch.zeros(3, *shape[1:]))


def test_the_example_of_the_page_runs_with_numpy_and_onnxruntime_alone(workspace, tmp_path):
    """By what the file keeps for its users."""
    model = workspace(config(CLASSIFIER, 'LinGlo'))
    run('--size', '32x32', '--dynamic-batch', out='linglo.onnx')
    session = onnxruntime.InferenceSession('linglo.onnx', providers=['CPUExecutionProvider'])
    kept = {key: json.loads(value) for key, value in
            session.get_modelmeta().custom_metadata_map.items()}
    assert kept == dict(
        mean=[120, 110, 100], std=[60, 50.00023, 55], normalized_inside=False, channels='RGB',
        size_multiple=1, classes=['cat', 'dog', 'owl'])
    image = np.random.default_rng(0).integers(256, size=(32, 32, 3), dtype=np.uint8)
    np.save('image.npy', image)
    code = re.search(r'```python\n(# classify.py\n.*?)```', PAGE, re.S).group(1)
    Path('classify.py').write_text(code)
    guard = ('import sys, runpy\n'
             'for name in ("torch", "mmengine", "mmcv", "onnx"): sys.modules[name] = None\n'
             'runpy.run_path("classify.py", run_name="__main__")')
    printed = subprocess.run([sys.executable, '-c', guard], cwd=tmp_path, text=True, check=True,
                             stdout=subprocess.PIPE).stdout.split()
    bgr = torch.from_numpy(image).permute(2, 0, 1)[None].flip(1)
    inputs = model.data_preprocessor(dict(inputs=bgr))['inputs']
    score, label = model(inputs, mode='tensor').softmax(1)[0].max(0)
    assert printed[0] == ('cat', 'dog', 'owl')[label]
    assert float(printed[1]) == pytest.approx(score.item(), abs=1e-3)


LINGLO = config(CLASSIFIER, 'LinGlo')


@pytest.mark.parametrize('text, arguments, message', [
    (STOCK, (), 'ImageClassifier has no backbone of mmvisionmix; its backbone is LeNet5'),
    (config(CLASSIFIER, 'LinGlo', 'mean=None'), ('--normalize', ), 'nothing to normalise by'),
    (LINGLO, ('--resize', ), 'this is a classifier'),
    (config(CLASSIFIER, 'LKCAViT'), ('--opset', '9'),
     r"error: torch \S+ cannot write this model as ONNX, opset 9: .*'aten::flip'.* Try another "
     r'--format or --opset, .*impl=auto, or literal\).*--backbone\. Nothing is written\.'),
])
def test_what_cannot_be_exported_is_named_and_nothing_is_written(
        workspace, text, arguments, message):
    workspace(text)
    before = sorted(Path().iterdir())
    with pytest.raises(SystemExit, match=message):
        run('--size', '32x32', *arguments)
    assert sorted(Path().iterdir()) == before


def test_files_that_would_be_wrong_are_not_written(workspace, monkeypatch):
    model = workspace(LINGLO)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, 'onnxruntime', None)
        with pytest.raises(SystemExit, match='onnxruntime.*: pip install onnx onnxruntime'):
            run('--size', '32x32')
    with monkeypatch.context() as patch:
        patch.setattr(export, 'switch_to_deploy', lambda model: nn.init.ones_(
            model.model.head.fc.bias))
        with pytest.raises(SystemExit, match='more than 1.0e-04; nothing is written'):
            run('--size', '32x32')
    model.head.fc.bias.data[1] = torch.inf
    torch.save(dict(state_dict=model.state_dict()), 'trained.pth')
    with pytest.raises(SystemExit, match='trained.pth holds NaN or infinite .* in head.fc.bias'):
        run('--size', '32x32')
    assert not list(Path().glob('out.onnx*'))


TESTED = """
test_dataloader = dict(
    batch_size=3, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(pipeline=[dict(type='LoadImageFromFile'), {steps}], {dataset}))
test_evaluator = dict(type='{metric}')
test_cfg = dict()
"""
FOLDERS = TESTED.format(
    steps="dict(type='PackInputs')", metric='Accuracy',
    dataset="type='CustomDataset', data_root='data'")
MAPS = TESTED.format(
    steps="dict(type='LoadAnnotations'), dict(type='PackSegInputs')", metric='IoUMetric',
    dataset="type='BaseSegDataset', img_suffix='.png', metainfo=dict(classes=list('abcd')), "
            "data_prefix=dict(img_path='data/cat', seg_map_path='maps')")
METRICS = r'accuracy/top1: [\d.]+|aAcc: [\d.]+  mIoU: [\d.]+  mAcc: [\d.]+'


def write_pictures():
    """Seven pictures of each class, and maps for those of the first."""
    random = np.random.default_rng(0)
    for folder in ('data/cat', 'data/dog', 'data/owl', 'maps'):
        Path(folder).mkdir(parents=True)
        for number in range(7):
            image = random.integers(random.integers(2, 256, 3), size=(32, 32, 3)).astype(np.uint8)
            image = image[:, :, 0] // 64 if folder == 'maps' else image
            Image.fromarray(image).save(f'{folder}/{number}.png')


@pytest.mark.parametrize('text, arguments', [
    (config(CLASSIFIER, 'LKCAViT') + FOLDERS, ('--normalize', '--batch', '2')),
    (config(SEGMENTOR, 'LinGlo') + MAPS, ('--dynamic-batch', '--dynamic-size')),
    (config(SEGMENTOR, 'MCGANet') + MAPS, ('--normalize', '--resize'))])
def test_files_have_the_metric_of_their_models(workspace, run_tool, text, arguments):
    workspace(text)
    write_pictures()
    run('--size', '32x32', *arguments)
    metrics, predictions = [], []
    for file in ('trained.pth', 'out.onnx'):
        out = run_tool(
            ROOT / 'tools/test.py', 'config.py', file, '--out', 'found.pkl', cwd=Path.cwd())
        metrics += re.findall(METRICS, out)
        found = pickle.loads(Path('found.pkl').read_bytes())
        predictions.append(torch.stack([
            sample['pred_score'] if 'pred_score' in sample else sample['seg_logits']['data']
            for sample in found]))
    assert len(metrics) == 2 and metrics[0] == metrics[1]
    torch.testing.assert_close(*predictions, rtol=1e-3, atol=1e-3)
    assert len(predictions[0].argmax(1).unique()) > 1


def test_files_that_do_not_fit_a_config_are_refused(workspace, run_tool):
    """Each for its reason, and with what helps."""
    other = workspace(config(CLASSIFIER, 'LinGlo', PREPROCESSOR.replace('120', '121')))
    model = workspace(LINGLO + FOLDERS)
    write_pictures()
    run('--size', '32x64', '--dynamic-batch')
    for wrong, message in (
            (other, r'exported with mean \[120.*config has \[121.*test with the config'),
            (model.backbone, 'gives logits, and the config has a backbone.*by mmdeploy')):
        with pytest.raises(ValueError, match=message):
            use_onnx(wrong, 'out.onnx')
    model.head.num_classes = 5
    with pytest.raises(ValueError, match='exported with classes 3, and the config has 5'):
        use_onnx(model, 'out.onnx')
    tool = (ROOT / 'tools/test.py', 'config.py', 'out.onnx')
    assert ('takes images of 32x64 pixels, and the test pipeline of the config gives one of 32x32: '
            'export with --size 32x32') in run_tool(*tool, cwd=Path.cwd(), fails=True)
    Path('data/cat').rename('data/zebra')
    assert ("'dog' is class 0 of the data set data/, and class 1 of out.onnx"
            ) in run_tool(*tool, cwd=Path.cwd(), fails=True)


@pytest.mark.parametrize('text, arguments', [
    (config(CLASSIFIER, 'DualFormer') + FOLDERS, ('--dynamic-batch', '--normalize')),
    (config(SEGMENTOR, 'LinGlo') + MAPS, ('--batch', '2', '--resize'))])
def test_int8_computes_where_weights_multiply_and_keeps_what_the_file_knows(
        workspace, text, arguments, capsys):
    workspace(text)
    write_pictures()
    run('--size', '32x32', *arguments)
    run('--size', '32x32', *arguments, '--int8', 'data', out='int8.onnx')
    line, = re.findall('int8: ranges of values from 21 pictures; on 16 of them relative error '
                       r'(\S+), the largest channel is the same in \S+%; \S+ -> \S+ MiB\n',
                       capsys.readouterr().out)
    plain, quantized = (OnnxFile(Path(name).read_bytes(), name) for name in
                        ('out.onnx', 'int8.onnx'))
    assert plain.metadata() == quantized.metadata()
    graph = onnx.load('int8.onnx').graph
    made = {out: node.op_type for node in graph.node for out in node.output}
    for node in graph.node:
        if node.op_type in ('Softmax', 'LayerNormalization', 'BatchNormalization', 'Erf'):
            assert made[node.input[0]] != 'QuantizeLinear'
        assert node.op_type != 'Conv' or made.get(node.input[1]) == 'DequantizeLinear'
    assert onnx.TensorProto.INT8 in [tensor.data_type for tensor in graph.initializer]
    images = torch.randn(4, 3, 32, 32)
    for batch in plain.batches(images):
        wanted, found = (file(batch)[0] for file in (plain, quantized))
        assert 0 < (wanted - found).norm() < 0.3 * wanted.norm() and float(line) < 0.3
    filled, = plain.batches(images[:1])  # with copies, which no range of int8 stretches for
    assert len(filled.unique(dim=0)) == 1
    assert deepcopy(OnnxLogits(plain)).file is plain  # as EMAHook copies models


def test_what_a_runtime_or_an_exporter_lacks_is_told_in_a_line():
    images = torch.ones(1, 3, 4, 4)
    with pytest.raises(ExportError, match='cannot load the ONNX file: .*implementation for Conv'):
        OnnxModel(to_onnx(nn.Conv2d(3, 2, 1).double(), images.double()))
    with pytest.raises(ExportError, match=r'cannot run the ONNX file on images \(2, 3, 4, 4\): '):
        OnnxModel(to_onnx(nn.Conv2d(3, 2, 1), images))(images.repeat(2, 1, 1, 1))
    with pytest.raises(ExportError, match=r'cannot write this model as TorchScript: [^\n]+'):
        to_torchscript(nn.Conv2d(7, 2, 1), images)


@pytest.mark.parametrize('size, bins', [((7, 5), 3), ((32, 32), (6, 2)), ((2, 3), 4)])
def test_bins_of_any_size_are_pooled_into(size, bins):
    x = torch.randn(2, 3, *size)
    torch.testing.assert_close(BinPooling(bins)(x), F.adaptive_avg_pool2d(x, bins))
    model = nn.Sequential(LinGlo(), nn.AdaptiveAvgPool2d(1))
    assert size_multiple(model) == 1
    assert size_multiple(model.append(nn.AdaptiveAvgPool2d(bins))) is None
    model = nn.Module()
    model.backbone = LinGlo(patch_sizes=(4, 2, 2, 1), arch='w/o-ch', encoding=None)
    assert size_multiple(model) == 16
    with pytest.raises(ValueError, match='Module is not supported as a whole. Supported are'):
        Exportable(model)
    assert Exportable(model, backbone_only=True).kind == 'backbone'
