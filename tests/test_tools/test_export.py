# Copyright (c) mmvisionmix authors. All rights reserved.
"""Files of tools/model_converters/export.py, and what docs/deploy.md says of them."""
import errno
import json
import re
import subprocess
import sys
from pathlib import Path

import export
import numpy as np
import onnxruntime
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from networks import Images, build
from torch import nn
from torch.nn import functional as F

from mmvisionmix.export import (
    FORMATS,
    BinPooling,
    Exportable,
    ExportError,
    OnnxModel,
    replace_bin_pooling,
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
PREPROCESSOR = 'mean=[120., 110., 100.], std=[60., 50., 55.]'
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
        type='{head}', in_channels={channels}, in_index={index}, channels=8, num_classes=4,
        norm_cfg=dict(type='SyncBN'), align_corners=False{more}),
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


def config(task, name, preprocessor=PREPROCESSOR, pooling=False):
    options = BACKBONES[name]
    if task == 'detector':
        return DETECTOR.format(name=name, options=options)
    if task == 'classifier':
        return CLASSIFIER.format(name=name, options=options, preprocessor=preprocessor)
    head = dict(head='PSPHead', channels=16, index=1, more='') if pooling else dict(
        head='FCNHead', channels=16, index=1, more=', num_convs=1')
    return SEGMENTOR.format(name=name, options=options, preprocessor=preprocessor, **head)


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


@pytest.mark.parametrize('form', ('onnx', 'torchscript'))
@pytest.mark.parametrize('name', BACKBONES)
def test_classifiers_give_the_same_logits_for_any_number_of_images(workspace, name, form, capsys):
    model = workspace(config('classifier', name))
    run('--format', form, '--dynamic-batch', '--size', '32x32', '--normalize')
    out = capsys.readouterr().out
    assert all(f'{batch}x3x32x32: relative error ' in out for batch in (1, 2, 3))
    assert 'input: images, float32, batchx3x32x32\noutput: logits, float32, batchx3\n' in out
    assert 'channels: RGB' in out and 'normalisation: in the file' in out
    raw = torch.randint(256, (5, 3, 32, 32)).float()
    with torch.no_grad():
        bgr = model.data_preprocessor(dict(inputs=raw.flip(1)))['inputs']
        expected = model(bgr, mode='tensor')
    outs = outputs_of('out.onnx', raw) if form == 'onnx' else torch.jit.load('out.onnx')(raw)
    assert_close(outs, [expected])


@pytest.mark.parametrize('name', BACKBONES)
def test_limits_of_dynamic_sizes_are_those_of_the_page(workspace, name, capsys):
    row, = re.findall(rf'\| {name} \|(.+)\|', PAGE)
    model = workspace(config('classifier', name))
    options = ('--dynamic-size', '--dynamic-batch', '--backbone', '--size')
    if 'that of the file' in row:
        with pytest.raises(SystemExit, match='a file of this model is for images of one size'):
            run(*options, '32x32')
        return
    run(*options, '64x64')
    out = capsys.readouterr().out
    assert 'input: images, float32, batchx3xheightxwidth' in out
    sizes = [(32, 96), (64, 64)] + [(33, 50)] * ('any' in row)
    for height, width in sizes:
        images = torch.randn(2, 3, height, width)
        expected = [out.detach() for out in model.backbone(images)]
        assert_close(outputs_of('out.onnx', images), expected)
    if 'multiples of 32' in row:
        assert 'multiples of 32 pixels' in out
        with pytest.raises(SystemExit, match='sides must be multiples of 32 pixels'):
            run(*options, '64x72', out='other.onnx')


@pytest.mark.parametrize('name, pooling', [
    ('LKCAViT', False), ('LKCAViT', True), ('LinGlo', True), ('MCGANet', False)])
def test_segmentors_give_logits_at_the_size_of_the_head_or_the_image(
        workspace, name, pooling, capsys):
    model = workspace(config('segmentor', name, pooling=pooling))
    images = torch.randn(3, 3, 32, 32)
    expected = model(images, mode='tensor').detach()
    run('--dynamic-batch')
    assert f'output: logits, float32, batchx4x{expected.shape[2]}x' in capsys.readouterr().out
    assert_close(outputs_of('out.onnx', images), [expected])
    run('--dynamic-batch', '--resize', out='large.onnx')
    meta = dict(img_shape=(32, 32), ori_shape=(32, 32), pad_shape=(32, 32))
    whole = model.encode_decode(images, [meta] * 3).detach()
    assert_close(outputs_of('large.onnx', images), [whole])


def test_detectors_give_the_maps_of_their_neck(workspace, capsys):
    pytest.importorskip('mmdet.models', reason='mmdetection is not installed, as with mmcv-lite')
    model = workspace(config('detector', 'DualFormer'))
    run('--dynamic-batch', '--dynamic-size', '--size', '64x96')
    assert 'output: map4, float32, batchx8xmap4_heightxmap4_width' in capsys.readouterr().out
    images = torch.randn(1, 3, 96, 128)
    outs = outputs_of('out.onnx', images)
    assert_close(outs[:4], [out.detach() for out in model.extract_feat(images)[:4]])
    assert len(outs) == 5


def test_a_backbone_by_itself_gives_its_maps_and_has_no_statistics(workspace, capsys):
    model = workspace("default_scope = 'mmvisionmix'\n"
                      f"model = dict(type='LinGlo', {BACKBONES['LinGlo']}out_indices=(0, 3))")
    run('--size', '32x48')
    out = capsys.readouterr().out
    assert 'output: map0, float32, 1x8x8x12\noutput: map1, float32, 1x16x1x2\n' in out
    assert 'channels: as the config loads them\nnormalisation: the config has none\n' in out
    images = torch.randn(1, 3, 32, 48)
    assert_close(outputs_of('out.onnx', images), [out.detach() for out in model(images)])


def test_linglo_with_patches_in_the_place_of_convolutions_is_for_one_size():
    options = dict(arch=dict(embed_dims=(8, 16), depths=(1, 1), num_heads=(1, 2),
                             mlp_ratios=(2, 2)), layout='hh', out_indices=1)
    assert size_multiple(LinGlo(**options)) == 1
    assert size_multiple(LinGlo(**options, patch_sizes=(4, 2))) is None


def test_a_batch_of_none_is_refused(capsys):
    with pytest.raises(SystemExit):
        run('--batch', '0')
    assert '--batch must be positive, got 0' in capsys.readouterr().err


def test_a_file_of_a_fixed_batch_refuses_others(workspace, capsys):
    workspace(config('classifier', 'LinGlo'))
    run('--batch', '2', '--size', '32x48')
    assert 'input: images, float32, 2x3x32x48' in capsys.readouterr().out
    assert outputs_of('out.onnx', torch.zeros(2, 3, 32, 48))[0].shape == (2, 3)
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument):
        outputs_of('out.onnx', torch.zeros(3, 3, 32, 48))


def test_files_keep_what_their_users_need_to_know(workspace, capsys):
    workspace(config('classifier', 'LinGlo'))
    run('--size', '32x32')
    assert 'normalisation: yours to do, (image - mean) / std with mean [120.0, 110.0, 100.0]' in (
        capsys.readouterr().out)
    session = onnxruntime.InferenceSession('out.onnx', providers=['CPUExecutionProvider'])
    kept = {key: json.loads(value) for key, value in
            session.get_modelmeta().custom_metadata_map.items()}
    assert kept == dict(
        mean=[120, 110, 100], std=[60, 50, 55], normalized_inside=False, channels='RGB',
        size_multiple=1, classes=['cat', 'dog', 'owl'])


def test_the_example_of_the_page_runs_with_numpy_and_onnxruntime_alone(workspace, tmp_path):
    model = workspace(config('classifier', 'LinGlo'))
    run('--size', '32x32', '--dynamic-batch', out='linglo.onnx')
    image = np.random.default_rng(0).integers(256, size=(32, 32, 3), dtype=np.uint8)
    np.save('image.npy', image)
    code = re.search(r'```python\n(# classify.py\n.*?)```', PAGE, re.S).group(1)
    Path('classify.py').write_text(code)
    guard = ('import sys, runpy\n'
             'for name in ("torch", "mmengine", "mmcv", "onnx"): sys.modules[name] = None\n'
             'runpy.run_path("classify.py", run_name="__main__")')
    result = subprocess.run([sys.executable, '-c', guard], cwd=tmp_path, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert result.returncode == 0, result.stderr
    bgr = torch.from_numpy(image).permute(2, 0, 1)[None].flip(1)
    inputs = model.data_preprocessor(dict(inputs=bgr))['inputs']
    score, label = model(inputs, mode='tensor').softmax(1)[0].max(0)
    name, printed = result.stdout.split()
    assert name == ('cat', 'dog', 'owl')[label]
    assert float(printed) == pytest.approx(score.item(), abs=1e-3)


@pytest.mark.parametrize('text, arguments, message', [
    (STOCK, (), 'ImageClassifier has no backbone of mmvisionmix; its backbone is LeNet5'),
    (config('classifier', 'LinGlo', preprocessor='mean=None'), ('--normalize', ),
     'there is nothing to normalise by'),
    (config('classifier', 'LinGlo'), ('--resize', ), 'this is a classifier'),
])
def test_what_cannot_be_exported_is_named(workspace, text, arguments, message):
    workspace(text)
    with pytest.raises(SystemExit, match=message):
        run('--size', '32x32', *arguments)
    assert not Path('out.onnx').exists()


def test_of_other_models_the_backbone_is_taken_only_if_asked_for():
    model = nn.Module()
    model.backbone = MODELS.build(dict(type='mmvisionmix.MCGANet'))
    with pytest.raises(ValueError, match='Module is not supported as a whole. Supported are'):
        Exportable(model)
    assert Exportable(model, backbone_only=True).kind == 'backbone'


@pytest.mark.parametrize('name', ('config.py', 'trained.pth'))
def test_missing_files_are_named(workspace, name):
    workspace(config('classifier', 'LinGlo'))
    Path(name).unlink()
    with pytest.raises(SystemExit, match=f'{name}.* does not exist|No such file.*{name}'):
        run()


@pytest.mark.parametrize('module', ('onnx', 'onnxruntime'))
def test_missing_packages_are_named(workspace, monkeypatch, module):
    workspace(config('classifier', 'LinGlo'))
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SystemExit, match=f'needs {module}: pip install onnx onnxruntime'):
        run()


def test_nothing_is_written_if_outputs_differ(workspace, monkeypatch):
    workspace(config('classifier', 'LinGlo'))

    def spoil(model):
        model.model.head.fc.bias.data += 0.01
    monkeypatch.setattr(export, 'switch_to_deploy', spoil)
    with pytest.raises(SystemExit, match='more than 1.0e-04; nothing is written'):
        run('--size', '32x32')
    assert not Path('out.onnx').exists()


FFT = ('--cfg-options', 'model.backbone.impl=fft')


def test_an_operation_that_onnx_lacks_is_named_with_what_to_try(workspace, capfd):
    workspace(config('classifier', 'LKCAViT'))
    before = sorted(Path().iterdir())
    with pytest.raises(SystemExit) as stopped:
        run('--size', '32x32', *FFT)
    message = stopped.value.code
    assert re.fullmatch(
        r"error: torch \S+ cannot write this model as ONNX, opset 17: .*'aten::fft_rfft2'.* not "
        r'supported\. Try --format torchscript, another --opset, .*impl=auto, or literal\).*'
        r'--backbone\. Nothing is written\.', message)
    assert sorted(Path().iterdir()) == before
    captured = capfd.readouterr()
    assert 'graph(' not in captured.out + captured.err  # some releases print all of it
    run('--format', 'torchscript', '--size', '32x32', *FFT)
    assert Path('out.onnx').is_file()


@pytest.mark.parametrize('form, message', [
    ('onnx', r'onnxruntime \S+ cannot run the ONNX file on images \(1, 3, 32, 32\): .*Split'),
    ('torchscript', 'the file fails on images 1x3x32x32: RuntimeError: ')])
def test_files_that_fail_on_images_they_are_for_are_not_written(workspace, capfd, form, message):
    workspace(config('classifier', 'DualFormer'))  # whose literal form goes image by image
    with pytest.raises(SystemExit, match=f'error: {message}.*Try .*Nothing is written') as stopped:
        run('--format', form, '--size', '32x32', '--dynamic-batch',
            '--cfg-options', 'model.backbone.impl=literal')
    assert '\n' not in stopped.value.code and not capfd.readouterr().err
    assert not Path('out.onnx').exists()


class Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.flip(0)


class Calling(nn.Module):
    """Images through any function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, images):
        return self.function(images)


def test_what_onnxruntime_or_torchscript_lack_is_told_in_a_line():
    images = torch.ones(1, 3, 4, 4)
    with pytest.raises(ExportError, match='cannot load the ONNX file: .*implementation for Conv'):
        OnnxModel(to_onnx(nn.Conv2d(3, 2, 1).double(), images.double()))
    with pytest.raises(ExportError, match='as TorchScript: Could not export Python function call'):
        to_torchscript(Calling(Reverse.apply), images)
    with pytest.raises(ExportError, match=r'ONNX, opset 17: [^\n]*adaptive_avg_pool[^\n]*[^.]$'):
        to_onnx(Calling(lambda x: F.adaptive_avg_pool2d(x, 3)), images)


def test_names_that_cannot_be_written_to_are_named(workspace):
    workspace(config('classifier', 'LinGlo'))
    with pytest.raises(SystemExit, match='error: cannot write config.py/out.onnx: '):
        run('--size', '32x32', out='config.py/out.onnx')


@pytest.mark.parametrize('form', FORMATS)
def test_a_file_is_whole_or_not_there(workspace, monkeypatch, form):
    workspace(config('classifier', 'LinGlo'))

    def fill_the_disk(file):
        raise OSError(errno.ENOSPC, 'No space left on device')
    monkeypatch.setattr('os.fsync', fill_the_disk)
    before = sorted(Path().iterdir())
    with pytest.raises(SystemExit, match='error: cannot write out.onnx: No space left on device'):
        run('--size', '32x32', '--format', form)
    assert sorted(Path().iterdir()) == before


def test_models_whose_training_diverged_are_told_apart_from_failed_exports(workspace):
    model = workspace(config('classifier', 'LinGlo'))
    model.head.fc.bias.data[1] = torch.inf
    torch.save(dict(state_dict=model.state_dict()), 'trained.pth')
    with pytest.raises(SystemExit, match='gives NaN or infinite values .*nothing is written'):
        run('--size', '32x32')
    assert not Path('out.onnx').exists()


@pytest.mark.parametrize('text', ('32', '32x', '0x32', 'axb'))
def test_sizes_are_height_x_width(text, capsys):
    with pytest.raises(SystemExit):
        run('--size', text)
    assert f"must be HEIGHTxWIDTH in pixels, got '{text}'" in capsys.readouterr().err


@pytest.mark.parametrize('size, bins', [((7, 5), 3), ((32, 32), (6, 2)), ((2, 3), 4)])
def test_pooling_by_products_is_adaptive_pooling(size, bins):
    x = torch.randn(2, 3, *size)
    model = nn.Sequential(nn.AdaptiveAvgPool2d(bins), nn.AdaptiveAvgPool2d(1))
    expected = F.adaptive_avg_pool2d(x, bins)
    assert size_multiple(model) is None
    replace_bin_pooling(model)
    assert isinstance(model[0], BinPooling) and not isinstance(model[1], BinPooling)
    torch.testing.assert_close(model[0](x), expected)


@pytest.mark.parametrize('name', ('lkca-2.69m', 'configs/linglo_b0_imagenet.py'))
def test_benchmarks_run_networks_by_onnxruntime(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    images = Images(2, 32, 32, 'maps')
    x = torch.randn(2, 3, 32, 32)
    outs = build(name + '@onnx', images)(x)
    expected = build(name, images)(x)
    expected = [expected] if isinstance(expected, torch.Tensor) else expected
    assert len(outs) == len(expected)
    for out, want in zip(outs, expected):
        assert (out - want).norm() <= 1e-4 * want.norm()
    with pytest.raises(ValueError, match='trains none'):
        build(name + '@onnx', images, training=True)
