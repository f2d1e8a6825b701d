# Copyright (c) mmvisionmix authors. All rights reserved.
"""Checkpoints of tools/model_converters/reparameterize.py, and ``--deploy`` of tools/test.py."""
import pickle
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import load_checkpoint
from PIL import Image
from torch import nn

from mmvisionmix.models import LKCAViT, find_backbones, switch_to_deploy

ROOT = Path(__file__).resolve().parents[2]
LAYERS, DIMS = 3, 16
FOLDED = LAYERS * DIMS**2  # parameters of the value projections
META = dict(epoch=7, dataset_meta=dict(classes=('thing', )))

BACKBONE = f"""
backbone = dict(
    type='mmvisionmix.LKCAViT', img_size=(32, 48), patch_size=8,
    arch=dict(embed_dims={DIMS}, num_layers={LAYERS}, mlp_ratio=2))
"""
CLASSIFIER = BACKBONE + """
_base_ = 'mmpretrain::_base_/default_runtime.py'
model = dict(
    type='ImageClassifier', backbone=backbone, neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=3, in_channels=16))
data_preprocessor = dict(num_classes=3, mean=[127.] * 3, std=[127.] * 3)
test_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CustomDataset', data_root='images',
                 pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')]))
test_evaluator = dict(type='Accuracy', topk=(1, ))
test_cfg = dict()
custom_hooks = [dict(type='EMAHook')]
"""
SEGMENTOR = BACKBONE + """
default_scope = 'mmseg'
model = dict(
    type='EncoderDecoder', backbone=backbone,
    data_preprocessor=dict(type='SegDataPreProcessor', size=(40, 24)),
    decode_head=dict(
        type='FCNHead', in_channels=16, channels=8, num_convs=1, num_classes=4,
        norm_cfg=dict(type='SyncBN')),
    train_cfg=dict(), test_cfg=dict(mode='whole'))
"""
DETECTOR = BACKBONE + """
_base_ = ['mmdet::_base_/models/retinanet_r50_fpn.py', 'mmdet::_base_/default_runtime.py']
model = dict(
    data_preprocessor=dict(pad_size_divisor=8),
    backbone=dict(_delete_=True, out_indices=(0, 1, 2), **backbone),
    neck=dict(in_channels=[16] * 3, out_channels=16, start_level=0, num_outs=5),
    bbox_head=dict(num_classes=2, in_channels=16, feat_channels=16, stacked_convs=1),
    test_cfg=dict(score_thr=0.))
"""
STOCK = """
default_scope = 'mmpretrain'
model = dict(type='ImageClassifier', backbone=dict(type='LeNet5', num_classes=3))
"""
CONFIGS = dict(classifier=CLASSIFIER, segmentor=SEGMENTOR, detector=DETECTOR)


@pytest.fixture(scope='module')
def tool():
    return runpy.run_path(str(ROOT / 'tools/model_converters/reparameterize.py'))


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """The working folder of a test, with ``config.py`` and ``trained.pth``."""
    monkeypatch.chdir(tmp_path)

    def make(config=CLASSIFIER):
        Path('config.py').write_text(config)
        model = build()
        weights = model.state_dict()  # EMAHook puts averages here, and what was averaged elsewhere
        averaged = {f'module.{name}': torch.zeros_like(value) for name, value in weights.items()}
        torch.save(dict(
            meta=META, state_dict=weights, ema_state_dict=dict(averaged, steps=torch.tensor(7)),
            optimizer=dict(lr=1), param_schedulers=[], message_hub={}), 'trained.pth')
        return model
    return make


def build():
    """The model of ``config.py`` with random weights, among them the kernels that start at zero."""
    cfg = Config.fromfile('config.py')
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model).eval()
    for param in model.parameters():
        nn.init.normal_(param, std=0.2)
    return model


def run(tool, *arguments, out='out.pth'):
    tool['main'](['config.py', 'trained.pth', out, *arguments])


def predict(model):
    """What the model's own inference predicts on two images, as one tensor per field."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(256, (2, 3, 32, 48), generator=generator, dtype=torch.uint8)
    samples = None
    if hasattr(model, 'bbox_head'):
        from mmdet.structures import DetDataSample
        samples = [DetDataSample(metainfo=dict(
            img_shape=(32, 48), ori_shape=(32, 48), scale_factor=(1, 1))) for _ in inputs]
    outs = model.test_step(dict(inputs=list(inputs), data_samples=samples))
    if hasattr(model, 'bbox_head'):
        return [field for out in outs for field in
                (out.pred_instances.bboxes, out.pred_instances.scores, out.pred_instances.labels)]
    return [out.seg_logits.data if 'seg_logits' in out else out.pred_score for out in outs]


def assert_same(outs, expected):
    assert expected and len(outs) == len(expected)
    for out, want in zip(outs, expected):
        assert want.numel() and want.unique().numel() > 1
        torch.testing.assert_close(out, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('task', CONFIGS)
def test_predictions_stay_and_parameters_go(tool, workspace, task):
    expected = predict(workspace(CONFIGS[task]))
    run(tool, out='new folder/out.pth')
    for deployed in (False, True):
        model = build()
        if deployed:
            switch_to_deploy(model)
        load_checkpoint(model, 'new folder/out.pth', strict=True)
        assert_same(predict(model), expected)
    before, after = (torch.load(file)['state_dict'] for file in
                     ('trained.pth', 'new folder/out.pth'))
    sizes = [sum(value.numel() for value in weights.values()) for weights in (before, after)]
    assert sizes[0] - sizes[1] == FOLDED


def test_checkpoint_holds_weights_and_meta_data_only(tool, workspace):
    workspace()
    run(tool)
    checkpoint = torch.load('out.pth')
    assert set(checkpoint) == {'meta', 'state_dict'}
    assert checkpoint['meta'] == dict(META, deployed=True)


def test_bare_weights_of_a_wrapped_model_are_taken(tool, workspace):
    expected = predict(workspace())
    weights = torch.load('trained.pth')['state_dict']
    torch.save({f'module.{name}': value for name, value in weights.items()}, 'trained.pth')
    run(tool)
    model = build()
    load_checkpoint(model, 'out.pth', strict=True)
    assert_same(predict(model), expected)


def test_deployed_checkpoint_deploys_again(tool, workspace):
    workspace()
    run(tool)
    Path('out.pth').rename('trained.pth')
    weights = torch.load('trained.pth')['state_dict']
    run(tool)
    again = torch.load('out.pth')['state_dict']
    assert again.keys() == weights.keys()
    assert all(torch.equal(again[name], weights[name]) for name in weights)


@pytest.mark.parametrize('task, options, size', [
    ('classifier', [], '32x48'),  # the backbone's img_size
    ('segmentor', [], '40x24'),  # the data preprocessor's
    ('classifier', ['--size', '24', '16'], '24x16'),
    ('classifier', ['--cfg-options', 'model.backbone.img_size=16'], '16x16'),
])
def test_report_tells_what_was_done_and_what_is_next(tool, workspace, capsys, task, options, size):
    model = workspace(CONFIGS[task])
    count = sum(param.numel() for param in model.parameters())
    run(tool, *options)
    lines = capsys.readouterr().out.splitlines()[-4:]
    if '--cfg-options' not in options:
        assert f'parameters: {count:,} -> {count - FOLDED:,}' in lines
    assert lines[0].startswith('backbone: LKCAViT, relative error ')
    assert lines[0].endswith(f'on a random {size} image')
    assert 'written: out.pth' in lines
    next_step = 'next: python tools/test.py config.py out.pth --deploy'
    assert lines[-1] == next_step + ' and the same --cfg-options' * ('--cfg-options' in options)


def test_image_size_falls_back_to_the_usual_one(tool):
    assert tool['image_size'](Config(dict(model=dict(data_preprocessor=None)))) == (224, 224)


def assert_refused(tool, message, *arguments):
    with pytest.raises(SystemExit, match=message) as error:
        run(tool, *arguments)
    assert not Path('out.pth').exists()
    return str(error.value)


@pytest.mark.parametrize('name', ('config.py', 'trained.pth'))
def test_missing_files_are_named(tool, workspace, name):
    workspace()
    Path(name).unlink()
    assert name in assert_refused(tool, 'does not exist|No such file')


def test_weights_that_do_not_fit_are_named(tool, workspace):
    workspace()
    checkpoint = torch.load('trained.pth')
    checkpoint['state_dict']['head.extra'] = checkpoint['state_dict'].pop('head.fc.bias')
    torch.save(checkpoint, 'trained.pth')
    message = assert_refused(tool, 'cannot load trained.pth')
    assert 'missing keys in source state_dict: head.fc.bias' in message
    assert 'unexpected key in source state_dict: head.extra' in message


@pytest.mark.parametrize('content', (b'', b'no checkpoint'))
def test_a_file_that_is_no_checkpoint_is_refused(tool, workspace, content):
    workspace()
    Path('trained.pth').write_bytes(content)
    assert_refused(tool, 'cannot load trained.pth')


def test_a_model_without_our_backbone_is_refused(tool, workspace):
    workspace(STOCK)
    assert_refused(tool, 'ImageClassifier has no backbone of mmvisionmix; its backbone is LeNet5')


def test_existing_files_are_kept(tool, workspace):
    workspace()
    content = Path('trained.pth').read_bytes()
    with pytest.raises(SystemExit, match='trained.pth exists; remove it or choose another name'):
        run(tool, out='trained.pth')
    assert Path('trained.pth').read_bytes() == content


def scale(backbone):
    for param in backbone.norms['2'].parameters():
        param.data *= 1.001


def spoil(backbone):
    backbone.norms['2'].weight.data[0] = float('nan')


def drop_an_output(backbone):
    backbone.out_indices = ()


@pytest.mark.parametrize('mistake, error', [
    (scale, '1.0e-03'), (spoil, 'nan'), (drop_an_output, 'inf')])
def test_nothing_is_written_if_the_feature_maps_differ(
        tool, workspace, monkeypatch, capsys, mistake, error):
    workspace()
    monkeypatch.setattr(LKCAViT, 'switch_to_deploy', mistake)
    assert_refused(tool, 'more than 1.0e-05; nothing is written')
    assert f'relative error {error}' in capsys.readouterr().out
    if mistake is scale:
        run(tool, '--tolerance', '0.01')
        assert Path('out.pth').exists()


def test_sizes_must_be_positive(tool, workspace, capsys):
    workspace()
    with pytest.raises(SystemExit):
        run(tool, '--size', '0', '32')
    assert '--size must be positive, got [0, 32]' in capsys.readouterr().err


def test_backbones_are_found_inside_wrappers():
    backbones = [LKCAViT(dict(embed_dims=8, num_layers=1, mlp_ratio=1), img_size=16)
                 for _ in range(2)]
    model = nn.ModuleDict(dict(teacher=backbones[0], student=nn.Sequential(backbones[1])))
    assert find_backbones(model) == {'teacher': backbones[0], 'student.0': backbones[1]}
    assert list(find_backbones(backbones[0])) == ['']
    switch_to_deploy(model)
    assert all(backbone.stages[0].mixer.deployed for backbone in backbones)


def test_test_tool_runs_either_form_of_either_checkpoint(tool, workspace, run_tool, tmp_path):
    model = workspace()
    run(tool)
    count = sum(param.numel() for param in model.parameters())
    rng = np.random.default_rng(0)
    for name in 'abc':
        folder = tmp_path / 'images' / name
        folder.mkdir(parents=True)
        Image.fromarray(rng.integers(256, size=(32, 48, 3), dtype=np.uint8)).save(folder / '0.png')
    scores = []
    for checkpoint, options in (('trained.pth', []), ('trained.pth', ['--deploy']),
                                ('out.pth', []), ('out.pth', ['--deploy'])):
        log = run_tool(ROOT / 'tools/test.py', 'config.py', checkpoint, '--out', 'out.pkl',
                       *options, cwd=tmp_path)
        assert 'do not match' not in log
        assert (f'--deploy: {count:,} -> {count - FOLDED:,} parameters' in log) == bool(options)
        predictions = pickle.loads(Path('out.pkl').read_bytes())
        scores.append(torch.stack([sample['pred_score'] for sample in predictions]))
    assert scores[0].unique().numel() > 3
    for score in scores[1:]:
        torch.testing.assert_close(score, scores[0], rtol=1e-4, atol=1e-5)


def test_test_tool_refuses_to_deploy_other_backbones(workspace, run_tool, tmp_path):
    data = CLASSIFIER[CLASSIFIER.index('data_preprocessor'):CLASSIFIER.index('custom_hooks')]
    workspace(STOCK + data)
    (tmp_path / 'images/a').mkdir(parents=True)
    Image.new('RGB', (32, 32)).save(tmp_path / 'images/a/0.png')
    log = run_tool(ROOT / 'tools/test.py', 'config.py', 'trained.pth', '--deploy', cwd=tmp_path,
                   fails=True)
    assert '--deploy: ImageClassifier has no backbone of mmvisionmix' in log
