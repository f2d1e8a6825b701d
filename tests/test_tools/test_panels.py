# Copyright (c) mmvisionmix authors. All rights reserved.
"""The pictures of tools/visualization, and what they are made of."""
import re

import feature_panels
import mixer_panels
import numpy as np
import pytest
import segmentation_panels
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from PIL import Image
from subjects import load_subject

from demo_data import CLASSES, PALETTE, SceneRecipe, write_ade20k

CONSTANT = 4  # the class that the tiny segmentor always predicts
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
@pytest.fixture(scope='module')
def workspace(tmp_path_factory):
    """A photograph, and a config and a checkpoint of a tiny classifier per backbone."""
    folder = tmp_path_factory.mktemp('mixers')
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(folder / 'photo.png')
    head = dict(type='mmpretrain.LinearClsHead', num_classes=2, in_channels=12)
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


@pytest.fixture(autouse=True)
def in_workspace(workspace, monkeypatch):
    monkeypatch.chdir(workspace)


def run(tool, *args):
    tool.main(list(map(str, args)))


def sheets_of(*args):
    return mixer_panels.make_sheets(mixer_panels.parse_args(list(map(str, args))))


@pytest.mark.parametrize('name, options, shown', [
    ('lkca', (), 'Kernels of LKCA and Weights for the token at the cross'),
    ('lkca', ('--what', 'rows', '--beside', 'vit.py', 'vit.pth'), 'Weights for the token at the'),
    ('linglo', (), 'Saliency of keys'),
    ('mcganet', (), 'Attention of groups to tokens, head 1 and Attention of tokens to groups'),
    ('dualformer', (), 'Partitions'), ('dualformer', ('--query', 3, 5), 'Partitions'),
    ('vit', (), 'Weights for the token at the cross')])
def test_draws_what_the_mixers_of_a_backbone_weigh(tmp_path, capsys, name, options, shown):
    out = tmp_path / 'new folder' / 'a.png'
    run(mixer_panels, f'{name}.py', f'{name}.pth', 'photo.png', '--out', out, '--size', 32, 48,
        *options)
    printed = capsys.readouterr().out
    assert shown in printed and f': {out}' in printed
    with Image.open(out) as picture:
        pixels = np.asarray(picture.convert('RGB'))
    assert min(pixels.shape[:2]) > 100 and pixels.std() > 10


def test_panels_hold_the_values_of_layers_of_the_checkpoint():
    kernels, rows = sheets_of('lkca.py', 'lkca.pth', 'photo.png', '--layers', 2,
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


def test_checkpoints_of_a_training_are_side_by_side():
    sheet, = sheets_of('dualformer.py', 'none', 'dualformer.pth', 'photo.png',
                       '--size', 64, 64, '--head', 1)
    assert sheet.title == 'Partitions, head 2'
    assert [panel.title for panel in sheet.rows[0]] == ['image', 'none', 'dualformer']
    assert (sheet.rows[0][1].values != sheet.rows[0][2].values).any()
    assert sheet.scale.classes == ('0', '1', '2', '3')


def test_agreement_of_partitions_and_classes_is_told(segmentor, tmp_path, capsys):
    cfg = Config.fromfile(segmentor / 'tiny.py')
    cfg.model.backbone = {**BACKBONES['dualformer'], 'out_indices': 0, 'gap_before_norm': False}
    cfg.model.decode_head.in_channels = 16
    cfg.dump(tmp_path / 'cfg.py')
    run(mixer_panels, tmp_path / 'cfg.py', 'none', 'photo.png', '--agreement', 3,
        '--out', tmp_path / 'a.png')
    found, = re.findall(r'stage 1, block 1 *\| none *\| (.+?) +\|', capsys.readouterr().out)
    assert 0 < float(found) < 1


def test_images_reach_the_backbone_as_the_config_has_them():
    rgb = np.asarray(Image.open('photo.png'))[4:36, 14:46]  # 40 x 60, cropped to 32 x 32
    Image.fromarray(np.ascontiguousarray(rgb)).save('crop.png')
    subject = load_subject('lkca.py', 'none', 'crop.png')
    mean, std = np.array([100, 110, 120]), np.array([50, 60, 70])
    assert (subject.picture == rgb).all()
    assert np.allclose(subject.images[0].permute(1, 2, 0), (rgb - mean) / std, atol=1e-5)


@pytest.mark.parametrize('tool, args, message', [
    (mixer_panels, ('lkca.py', 'none', 'missing.png'), 'missing.png does not exist'),
    (mixer_panels, ('lkca.py', 'vit.pth', 'photo.png'), 'vit.pth is not of this model'),
    (mixer_panels, ('resnet.py', 'none', 'photo.png'), 'ResNet has none of kernels, .* no mixer'),
    (mixer_panels, ('linglo.py', 'none', 'photo.png', '--what', 'kernels'),
     'linglo has no kernels; it has saliency'),
    (mixer_panels, ('mcganet.py', 'none', 'photo.png', '--head', '2'), '--head 2: .* heads 0 to 1'),
    (feature_panels, ('nothing-b0', '--image', 'photo.png'), 'no network nothing-b0; there are '),
    (feature_panels, ('linglo.py=missing.pth', '--image', 'photo.png'), 'missing.pth does not')])
def test_what_cannot_be_drawn_is_refused_with_the_reason(tmp_path, tool, args, message):
    with pytest.raises(SystemExit, match=f'^error: .*{message}'):
        run(tool, *args, '--out', tmp_path / 'a.png')
    assert not (tmp_path / 'a.png').exists()


@pytest.mark.parametrize('what, shown', [
    ('erf', 'Effective receptive field of the centre'), ('fourier', 'Fourier amplitudes'),
    ('similarity', 'Similarity to the feature at the cross')])
def test_draws_features_of_all_backbones_and_of_peers(tmp_path, capsys, what, shown):
    networks = [f'{name}.py={name}.pth' for name in BACKBONES if name != 'resnet']
    run(feature_panels, *networks, 'resnet.py', 'timm:mobilenetv2_035', '--image', 'photo.png',
                   '--what', what, '--samples', 1, '--size', 32, 32, '--out', tmp_path / 'a.png')
    assert f'{shown}: {tmp_path / "a.png"}' in capsys.readouterr().out
    with Image.open(tmp_path / 'a.png') as picture:
        assert np.asarray(picture.convert('RGB')).std() > 10


@pytest.mark.parametrize('names, shown', [
    (['lkca_fpn_a\niter_1', 'vit_fpn_a\niter_1'], ['lkca', 'vit']),
    (['lkca_a\niter_1', 'lkca_a\niter_2'], ['lkca_a\niter_1', 'lkca_a\niter_2']),
    (['lkca_a', 'lkca_a'], ['lkca_a', 'lkca_a']), (['lkca_a'], ['lkca_a'])])
def test_names_are_drawn_without_what_all_end_in(names, shown):
    subjects = [feature_panels.Subject(name, None, None, None) for name in names]
    assert [subject.name for subject in feature_panels.distinct(subjects)] == shown


def test_fields_are_those_of_the_checkpoint():
    args = feature_panels.parse_args([
        'linglo.py=linglo.pth', '--image', 'photo.png', '--size', '32', '32', '--samples', '2'])
    subject = feature_panels.load(args.networks[0], args)
    field = feature_panels.field_sheet([subject], args).rows[0][0].values
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    out, = subject.backbone(images)
    out[:, :, 2, 2].relu().sum().backward()
    expected = images.grad.abs().sum((0, 1))
    assert np.allclose(field, expected / expected.max(), atol=1e-5)


@pytest.mark.parametrize('name, shape', [
    ('timm:swin_tiny_patch4_window7_224', (1, 768, 2, 2)),  # channels-last inside
    ('mmpretrain:resnet18_8xb32_in1k', (1, 512, 2, 2))])
def test_maps_of_peers_have_their_channels_first(name, shape):
    args = feature_panels.parse_args([name, '--image', 'photo.png', '--size', '64', '64'])
    subject = feature_panels.load(name, args)
    assert subject.backbone(subject.images)[-1].shape == shape


@pytest.fixture(scope='module')
def segmentor(tmp_path_factory):
    """A folder with demo data, a config of a tiny stock model, and a checkpoint of it."""
    folder = tmp_path_factory.mktemp('panels')
    write_ade20k(folder / 'data', SceneRecipe(size=32, train=1, val=5))
    norm_cfg = dict(type='SyncBN')
    dataset = dict(
        type='BaseSegDataset', data_root=str(folder / 'data'), img_suffix='.jpg',
        seg_map_suffix='.png', reduce_zero_label=True,
        metainfo=dict(classes=CLASSES, palette=PALETTE),
        data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'),
                  dict(type='PackSegInputs')])
    model = dict(
        type='EncoderDecoder',
        data_preprocessor=dict(type='SegDataPreProcessor', bgr_to_rgb=True, size=(32, 32)),
        backbone=dict(type='ResNet', depth=18, num_stages=1, base_channels=8, stem_channels=8,
                      strides=(1,), dilations=(1,), out_indices=(0,), norm_cfg=norm_cfg),
        decode_head=dict(type='FCNHead', in_channels=8, channels=8, num_convs=1, in_index=0,
                         num_classes=len(CLASSES), norm_cfg=norm_cfg),
        train_cfg=dict(), test_cfg=dict(mode='whole'))
    config = Config(dict(default_scope='mmseg', model=model,
                         test_dataloader=dict(batch_size=1, dataset=dataset)))
    config.dump(folder / 'tiny.py')
    with DefaultScope.overwrite_default_scope('mmseg'):
        built = MODELS.build(config.model)
    torch.nn.init.zeros_(built.decode_head.conv_seg.weight)
    torch.nn.init.zeros_(built.decode_head.conv_seg.bias)
    built.decode_head.conv_seg.bias.data[CONSTANT] = 1
    torch.save(dict(state_dict=built.state_dict(), meta={}), folder / 'tiny.pth')
    return folder


def test_predictions_are_those_of_the_checkpoint_spread_over_the_test_set(
        segmentor, tmp_path, capsys):
    arguments = [segmentor / 'tiny.py', segmentor / 'tiny.pth', '--device', 'cpu']
    args = segmentation_panels.parse_args([*map(str, arguments), '--num', '3'])
    found, = segmentation_panels.run_models(args)[0].values()
    assert [each.name[-5] for each in found] == ['1', '3', '5']
    data = segmentor / 'data'
    image = np.asarray(Image.open(data / 'images/validation/ADE_val_00000001.jpg'))
    labels = np.asarray(Image.open(data / 'annotations/validation/ADE_val_00000001.png'))
    assert np.abs(found[0].image.astype(int) - image).max() <= 4  # two JPEG decoders
    assert (found[0].truth == labels - 1).all() and (found[0].labels == CONSTANT).all()
    out = tmp_path / 'new folder' / 'panels.png'
    run(segmentation_panels, *arguments, '--num', 5, '--out', out)
    share = np.mean([np.asarray(Image.open(path)) == CONSTANT + 1
                     for path in (data / 'annotations/validation').glob('*.png')])
    assert f'5 images, {share:.1%} of their pixels right: {out}' in capsys.readouterr().out


def test_pictures_of_ones_own_have_no_truth(segmentor, tmp_path, capsys):
    files = sorted((segmentor / 'data/images/validation').glob('*.jpg'))[:2]
    (tmp_path / 'tiny.py').write_text((segmentor / 'tiny.py').read_text() + (
        "\ntest_dataloader['dataset']['data_root'] = 'nowhere'\n"
        "test_pipeline = test_dataloader['dataset']['pipeline']\n"))
    run(segmentation_panels, tmp_path / 'tiny.py', segmentor / 'tiny.pth', '--device', 'cpu',
        '--out', tmp_path / 'a.png', '--pictures', *files)
    assert f'2 images, without labels: {tmp_path}/a.png' in capsys.readouterr().out


def test_models_stand_beside_each_other_without_the_images_if_asked(segmentor, tmp_path):
    (tmp_path / 'other.py').write_text((segmentor / 'tiny.py').read_text())
    first = [str(segmentor / name) for name in ('tiny.py', 'tiny.pth')]
    args = segmentation_panels.parse_args([
        *first, '--num', '1', '--device', 'cpu', '--beside', str(tmp_path / 'other.py'), first[1]])
    found, metainfo = segmentation_panels.run_models(args)
    row, = segmentation_panels.make_sheet('', found, metainfo, images=False).rows
    assert [panel.title.partition(':')[0] for panel in row] == ['truth', 'tiny', 'other']
    assert (row[1].values == row[2].values).all()
