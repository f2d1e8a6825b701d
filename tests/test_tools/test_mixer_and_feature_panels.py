# Copyright (c) mmvisionmix authors. All rights reserved.
"""The pictures of tools/visualization/mixer_panels.py and feature_panels.py."""
import re
import runpy
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / 'tools/visualization'
PYRAMID = dict(embed_dims=(8, 16), depths=(1, 2), num_heads=(1, 2), mlp_ratios=(2, 2))
BACKBONES = dict(
    lkca=dict(type='mmvisionmix.LKCAViT', img_size=32, patch_size=8,
              arch=dict(embed_dims=12, num_layers=5, mlp_ratio=2)),
    linglo=dict(type='mmvisionmix.LinGlo', arch=PYRAMID, layout='hh', out_indices=-1,
                gap_before_norm=True),
    mcganet=dict(type='mmvisionmix.MCGANet', arch=PYRAMID, num_groups=3, out_indices=-1,
                 gap_before_norm=True),
    dualformer=dict(type='mmvisionmix.DualFormer', num_heads=2, out_indices=-1,
                    gap_before_norm=True,
                    arch=dict(embed_dims=(16, 32), depths=(1, 2), reductions=(2, 1),
                              mlp_ratios=(2, 2))),
    vit=dict(type='mmpretrain.VisionTransformer', img_size=32, patch_size=8,
             arch=dict(embed_dims=12, num_layers=2, num_heads=3, feedforward_channels=24)),
    resnet=dict(type='mmpretrain.ResNet', depth=18, base_channels=8, stem_channels=8),
)
SHOWN = dict(
    lkca='Kernels of LKCA and Weights for the token at the cross',
    linglo='Saliency of keys',
    mcganet='Attention of groups to tokens, head 1 and Attention of tokens to groups, head 1',
    dualformer='Partitions',
    vit='Weights for the token at the cross')


@pytest.fixture(scope='module')
def tools():
    """The tools, which import what lies beside them."""
    sys.path.insert(0, str(TOOLS))
    try:
        yield {name: runpy.run_path(str(TOOLS / f'{name}_panels.py'))
               for name in ('mixer', 'feature')}
    finally:
        sys.path.remove(str(TOOLS))


@pytest.fixture(scope='module')
def workspace(tmp_path_factory):
    """A photograph, and a config and a checkpoint of a tiny classifier per backbone."""
    folder = tmp_path_factory.mktemp('mixers')
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(folder / 'photo.png')
    head = dict(type='mmpretrain.LinearClsHead', num_classes=2, in_channels=12)
    Config(dict(default_scope='mmpretrain', model=head)).dump(folder / 'head.py')
    for name, backbone in BACKBONES.items():
        model = dict(type='mmpretrain.ImageClassifier', backbone=backbone, head=head)
        preprocessor = dict(type='mmpretrain.ClsDataPreprocessor', to_rgb=True,
                            mean=[100, 110, 120], std=[50, 60, 70])
        cfg = Config(dict(default_scope='mmpretrain', model=model, data_preprocessor=preprocessor))
        cfg.dump(folder / f'{name}.py')
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            trained = MODELS.build(cfg.model)
        for param in trained.parameters():
            param.data += 0.3 * torch.randn(param.shape)
        torch.save(dict(state_dict=trained.state_dict()), folder / f'{name}.pth')
    return folder


@pytest.fixture
def mixer_panels(tools, workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    return lambda *args: tools['mixer']['main'](list(map(str, args)))


@pytest.fixture
def feature_panels(tools, workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    return lambda *args: tools['feature']['main']([*map(str, args)])


def sheets_of(tools, *args):
    return tools['mixer']['make_sheets'](tools['mixer']['parse_args'](list(map(str, args))))


@pytest.mark.parametrize('name', SHOWN)
def test_draws_what_the_mixers_of_a_backbone_weigh(mixer_panels, tmp_path, capsys, name):
    out = tmp_path / 'new folder' / 'a.png'
    mixer_panels(f'{name}.py', f'{name}.pth', 'photo.png', '--out', out, '--size', 32, 48)
    assert f'{SHOWN[name]}: {out}' in capsys.readouterr().out
    with Image.open(out) as picture:
        pixels = np.asarray(picture.convert('RGB'))
    assert min(pixels.shape[:2]) > 100 and pixels.std() > 10


def test_panels_hold_the_values_of_layers_of_the_checkpoint(tools, workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    kernels, rows = sheets_of(tools, 'lkca.py', 'lkca.pth', 'photo.png', '--layers', 2,
                              '--position', 30, 3)
    state = torch.load('lkca.pth')['state_dict']
    panels = [panel for row in kernels.rows for panel in row]
    assert [panel.title for panel in panels] == [f'block {i}' for i in range(1, 6)]
    kernel = state['backbone.stages.4.mixer.kernel'].numpy()
    assert (panels[4].values == kernel).all()
    assert [[panel and panel.title for panel in row] for row in rows.rows] == [
        ['image', 'lkca\nblock 1'], [None, 'block 5']]
    row = kernel[0:4, 3:7]  # of the token in row 3, column 0 of 4 x 4
    assert np.allclose(rows.rows[1][1].values, row / np.abs(row).max())
    assert rows.rows[0][0].mark == (30.5 / 32, 3.5 / 32)


def test_weights_are_powers_of_two_of_their_mean(tools, workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    sheet, = sheets_of(tools, 'linglo.py', 'linglo.pth', 'photo.png', '--size', 32, 32)
    assert list(sheet.labels) == ['stage 1, block 1', 'stage 2, block 2']
    assert [len(row) for row in sheet.rows] == [2, 3]  # heads, after the image
    for row in sheet.rows:
        for panel in row[1:]:
            assert (2.**panel.values).mean() == pytest.approx(1, rel=1e-5)
    _, sheet = sheets_of(tools, 'mcganet.py', 'mcganet.pth', 'photo.png', '--size', 32, 32)
    assert sheet.labels[1] == 'stage 1, block 1\n5x5'
    mean = np.mean([2.**panel.values for panel in sheet.rows[1][1:]], 0)
    assert np.allclose(mean, 1, rtol=1e-5)


def test_checkpoints_of_a_training_are_side_by_side(tools, workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    sheet, = sheets_of(tools, 'dualformer.py', 'none', 'dualformer.pth', 'photo.png',
                       '--size', 64, 64, '--head', 1)
    assert sheet.title == 'Partitions, head 2'
    assert [panel.title for panel in sheet.rows[0]] == ['image', 'none', 'dualformer']
    assert (sheet.rows[0][1].values != sheet.rows[0][2].values).any()
    assert sheet.scale.classes == ('0', '1', '2', '3')


def test_rows_of_a_vit_are_beside_those_of_lkca(tools, workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    sheet, = sheets_of(tools, 'lkca.py', 'none', 'photo.png', '--what', 'rows', '--beside',
                       'vit.py', 'vit.pth', '--layers', 3)
    assert [panel and panel.title for panel in sheet.rows[0]] == [
        'image', 'lkca\nblock 1', 'vit\nblock 1']
    assert [panel and panel.title for panel in sheet.rows[2]] == [None, 'block 5', None]
    assert sheet.rows[0][2].values.max() == 1 and sheet.rows[0][2].values.min() > 0
    assert (sheet.rows[0][1].values == 0).all()  # a kernel starts at zero


def test_images_reach_the_backbone_as_the_config_has_them(tools, workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    load = tools['mixer']['load_subject']
    rgb = np.asarray(Image.open('photo.png'))[4:36, 14:46]  # 40 x 60, cropped to 32 x 32
    Image.fromarray(np.ascontiguousarray(rgb)).save('crop.png')
    subject = load('lkca.py', 'none', 'crop.png')
    mean, std = np.array([100, 110, 120]), np.array([50, 60, 70])
    assert (subject.picture == rgb).all()
    assert np.allclose(subject.images[0].permute(1, 2, 0), (rgb - mean) / std, atol=1e-5)
    arrays = dict(test_dataloader=dict(dataset=dict(pipeline=[dict(type='PackInputs')])))
    options = {'data_preprocessor.to_rgb': False, **arrays}  # as of CIFAR, RGB already
    subject = load('lkca.py', 'none', 'crop.png', options=options)
    assert np.allclose(subject.images[0].permute(1, 2, 0), (rgb - mean) / std, atol=1e-5)


def test_models_without_preprocessing_get_imagenets(tools, workspace, tmp_path, monkeypatch):
    monkeypatch.chdir(workspace)
    Config(dict(model=BACKBONES['linglo'])).dump(tmp_path / 'bare.py')
    subject = tools['mixer']['load_subject'](str(tmp_path / 'bare.py'), 'none', 'photo.png')
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    assert np.allclose(subject.images[0].permute(1, 2, 0), (subject.picture - mean) / std,
                       atol=1e-5)


def test_images_are_scaled_to_cover_the_size_and_cropped(tools, workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    left = np.zeros((20, 40, 3), np.uint8)
    left[:, :20] = 255
    Image.fromarray(left).save('left.png')
    subject = tools['mixer']['load_subject']('lkca.py', 'none', 'left.png', (40, 40))
    assert subject.picture.shape == (40, 40, 3)
    assert subject.picture[:, :16].min() > 250 and subject.picture[:, 24:].max() < 5


@pytest.mark.parametrize('args, message', [
    (('lkca.py', 'none', 'missing.png'), 'missing.png does not exist'),
    (('lkca.py', 'missing.pth', 'photo.png'), 'missing.pth does not exist'),
    (('missing.py', 'none', 'photo.png'), 'missing.py does not exist'),
    (('lkca.py', 'none', 'lkca.py'), 'lkca.py is in no known image format'),
    (('lkca.py', 'vit.pth', 'photo.png'), 'cannot load vit.pth'),
    (('head.py', 'none', 'photo.png'), 'LinearClsHead has no backbone'),
    (('resnet.py', 'none', 'photo.png'), 'backbones DualFormer, LinGlo, LKCAViT and MCGANet'),
    (('linglo.py', 'none', 'photo.png', '--what', 'kernels'),
     'linglo has no kernels; it has saliency'),
    (('linglo.py', 'none', 'photo.png', '--beside', 'vit.py', 'none'), 'linglo has no rows'),
    (('lkca.py', 'none', 'photo.png', '--beside', 'linglo.py', 'none'),
     'linglo has no rows; it has saliency'),
    (('mcganet.py', 'none', 'photo.png', '--head', '2'), '--head 2: .* have heads 0 to 1'),
    (('dualformer.py', 'none', 'none', 'photo.png', '--head', '5'), '--head 5: .* heads 0 to 1'),
    (('lkca.py', 'none', 'photo.png', '--position', '32', '0'), 'outside the image of 32 x 32'),
    (('mcganet.py', 'none', 'mcganet.pth', 'photo.png'), 'give one checkpoint'),
])
def test_what_cannot_be_drawn_is_refused_with_the_reason(mixer_panels, tmp_path, args, message):
    with pytest.raises(SystemExit, match=f'mixer_panels.py: .*{message}'):
        mixer_panels(*args, '--out', tmp_path / 'a.png')
    assert not (tmp_path / 'a.png').exists()


@pytest.mark.parametrize('what, shown', [
    ('erf', 'Effective receptive field of the centre'), ('fourier', 'Fourier amplitudes'),
    ('similarity', 'Similarity to the feature at the cross')])
def test_draws_features_of_all_backbones_and_of_peers(feature_panels, tmp_path, capsys, what,
                                                      shown):
    networks = [f'{name}.py={name}.pth' for name in BACKBONES if name != 'resnet']
    feature_panels(*networks, 'resnet.py', 'timm:mobilenetv2_035', '--image', 'photo.png',
                   '--what', what, '--samples', 1, '--size', 32, 32, '--out', tmp_path / 'a.png')
    assert f'{shown}: {tmp_path / "a.png"}' in capsys.readouterr().out
    with Image.open(tmp_path / 'a.png') as picture:
        assert np.asarray(picture.convert('RGB')).std() > 10


def test_fields_and_similarities_are_those_of_the_checkpoint(tools, workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    tool = tools['feature']
    args = tool['parse_args'](['linglo.py=linglo.pth', '--image', 'photo.png', '--size', '32', '32',
                               '--samples', '2', '--position', '9', '30'])
    subject = tool['load'](args.networks[0], args)
    field = tool['field_sheet']([subject], args).rows[0][0].values
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    out, = subject.backbone(images)
    out[:, :, 2, 2].relu().sum().backward()
    expected = images.grad.abs().sum((0, 1))
    assert np.allclose(field, expected / expected.max(), atol=1e-5)
    image, *maps = tool['similarity_sheet']([subject], args).rows[0]
    assert [panel.title for panel in maps] == ['stage 1, block 1', 'stage 2, block 2']
    assert maps[0].values[2, 7] == pytest.approx(1)
    assert (subject.picture == image.values).all()


@pytest.mark.parametrize('name, shape', [
    ('timm:swin_tiny_patch4_window7_224', (1, 768, 2, 2)),  # channels-last inside
    ('mmpretrain:resnet18_8xb32_in1k', (1, 512, 2, 2))])
def test_maps_of_peers_have_their_channels_first(tools, workspace, monkeypatch, name, shape):
    monkeypatch.chdir(workspace)
    tool = tools['feature']
    args = tool['parse_args']([name, '--image', 'photo.png', '--size', '64', '64'])
    subject = tool['load'](name, args)
    assert subject.backbone(subject.images)[-1].shape == shape


@pytest.mark.parametrize('args, message', [
    (('nothing-b0', ), 'no network nothing-b0; there are '),
    (('timm:nothing', ), 'timm:nothing'),
    (('timm:resnet18=linglo.pth', ), 'a checkpoint is for a config'),
    (('linglo.py=missing.pth', ), 'missing.pth does not exist'),
    (('linglo.py', '--what', 'similarity', '--position', '500', '0'), 'outside the image'),
])
def test_features_that_cannot_be_drawn_are_refused(feature_panels, tmp_path, args, message):
    with pytest.raises(SystemExit, match=f'feature_panels.py: .*{message}'):
        feature_panels(*args, '--image', 'photo.png', '--out', tmp_path / 'a.png')


def test_commands_of_the_gallery_are_understood_and_name_its_pictures(tools):
    text = (ROOT / 'docs/gallery.md').read_text(encoding='utf-8')
    commands = re.findall(r'visualization/(mixer|feature)_panels.py (.*?)\n(?:done|```)',
                          text.replace('\\\n', ' '), re.S)
    outs = set()
    for tool, arguments in commands:
        args = tools[tool]['parse_args'](shlex.split(arguments))
        config = getattr(args, 'config', None)
        assert config is None or (ROOT / config).is_file()
        outs.add(args.out.name)
    assert outs == set(re.findall(r'images/(\w+\.png)\)', text))
    sizes = [(ROOT / 'docs/images' / name).stat().st_size for name in outs]
    assert max(sizes) < 150e3 and len(sizes) == 7


@pytest.mark.parametrize('option', [('--samples', '0'), ('--layers', '0'), ('--size', '0', '5')])
def test_numbers_below_one_are_refused(feature_panels, capsys, option):
    with pytest.raises(SystemExit):
        feature_panels('linglo.py', '--image', 'photo.png', *option)
    err = capsys.readouterr().err
    assert f'argument {option[0]}: must be a whole number from 1 on, got 0' in err


@pytest.mark.parametrize('option, message', [
    (('--layers', '-1'), '--layers: must be a whole number from 1 on, got -1'),
    (('--size', '5', 'x'), '--size: must be a whole number from 1 on, got x'),
    (('--head', '-1'), '--head must be at least 0, got -1')])
def test_numbers_of_mixers_are_read_likewise(mixer_panels, capsys, option, message):
    with pytest.raises(SystemExit):
        mixer_panels('linglo.py', 'none', 'photo.png', *option)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_weights_that_are_not_finite_are_named_with_their_checkpoint(
        mixer_panels, feature_panels, tmp_path, value):
    loaded = torch.load('linglo.pth')
    key = 'backbone.stages.1.blocks.0.mixer.saliency'
    loaded['state_dict'][key][0, 0] = value
    torch.save(loaded, tmp_path / 'diverged.pth')
    message = f'diverged.pth holds NaN or infinite values in {key}, of which nothing can be drawn'
    with pytest.raises(SystemExit, match=f'mixer_panels.py: .*{message}'):
        mixer_panels('linglo.py', 'linglo.pth', tmp_path / 'diverged.pth', 'photo.png')
    with pytest.raises(SystemExit, match=f'feature_panels.py: .*{message}'):
        feature_panels(f'linglo.py={tmp_path / "diverged.pth"}', '--image', 'photo.png')
