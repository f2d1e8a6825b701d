# Copyright (c) mmvisionmix authors. All rights reserved.
"""The pictures of tools/visualization, and what they are made of."""
import math
import re
from pathlib import Path

import feature_panels
import mixer_panels
import numpy as np
import pytest
import segmentation_panels
import torch
from drawing import draw
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from partition_agreement import at_tokens, contingency, mutual_information
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
SHOWN = dict(
    lkca='Kernels of LKCA and Weights for the token at the cross',
    linglo='Saliency of keys',
    mcganet='Attention of groups to tokens, head 1 and Attention of tokens to groups, head 1',
    dualformer='Partitions',
    vit='Weights for the token at the cross')


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


@pytest.fixture(autouse=True)
def in_workspace(workspace, monkeypatch):
    monkeypatch.chdir(workspace)


def run(tool, *args):
    tool.main(list(map(str, args)))


def sheets_of(*args):
    return mixer_panels.make_sheets(mixer_panels.parse_args(list(map(str, args))))


@pytest.mark.parametrize('name', SHOWN)
def test_draws_what_the_mixers_of_a_backbone_weigh(tmp_path, capsys, name):
    out = tmp_path / 'new folder' / 'a.png'
    run(mixer_panels, f'{name}.py', f'{name}.pth', 'photo.png', '--out', out, '--size', 32, 48)
    assert f'{SHOWN[name]}: {out}' in capsys.readouterr().out
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


def test_weights_are_powers_of_two_of_their_mean():
    sheet, = sheets_of('linglo.py', 'linglo.pth', 'photo.png', '--size', 32, 32)
    assert list(sheet.labels) == ['stage 1, block 1', 'stage 2, block 2']
    assert [len(row) for row in sheet.rows] == [2, 3]  # heads, after the image
    for row in sheet.rows:
        for panel in row[1:]:
            assert (2.**panel.values).mean() == pytest.approx(1, rel=1e-5)
    _, sheet = sheets_of('mcganet.py', 'mcganet.pth', 'photo.png', '--size', 32, 32)
    assert sheet.labels[1] == 'stage 1, block 1\n5x5'
    mean = np.mean([2.**panel.values for panel in sheet.rows[1][1:]], 0)
    assert np.allclose(mean, 1, rtol=1e-5)


def test_checkpoints_of_a_training_are_side_by_side():
    sheet, = sheets_of('dualformer.py', 'none', 'dualformer.pth', 'photo.png',
                       '--size', 64, 64, '--head', 1)
    assert sheet.title == 'Partitions, head 2'
    assert [panel.title for panel in sheet.rows[0]] == ['image', 'none', 'dualformer']
    assert (sheet.rows[0][1].values != sheet.rows[0][2].values).any()
    assert sheet.scale.classes == ('0', '1', '2', '3')


def test_queries_keep_the_picture_inside_their_partitions():
    options = 'dualformer.pth', 'photo.png', '--size', 64, 64
    sheet, = sheets_of('dualformer.py', *options, '--query', 3, 5, '--query', 60, 20, '--head', 1)
    picture = load_subject('dualformer.py', *options[:2], (64, 64)).picture
    grid, *queries = sheet.rows[0]
    for token, panel in zip(((0, 0), (7, 2)), queries):
        inside = np.kron(grid.values == grid.values[token], np.ones((8, 8))).astype(bool)
        assert panel.title == f'partition {grid.values[token]}' and 0 < inside.mean() < 1
        assert (panel.values[inside] == picture[inside]).all()
        assert panel.values[~inside].min() >= 204


def test_agreement_is_mutual_information_over_the_mean_entropy(segmentor, tmp_path, capsys):
    assert mutual_information(np.array([[2, 0], [1, 1]])) == pytest.approx(0.6226 / 1.8113, 1e-3)
    assert mutual_information(np.eye(3)) == pytest.approx(1)
    assert mutual_information(np.ones((2, 3))) == pytest.approx(0) == mutual_information(np.eye(1))
    assert at_tokens(np.arange(24).reshape(4, 6), (2, 3)).tolist() == [[7, 9, 11], [19, 21, 23]]
    assert contingency(np.array([[0, 1], [1, 1]]), np.array([2, 0])).tolist() == [
        [[0, 0, 1], [1, 0, 0]], [[0, 0, 0], [1, 0, 1]]]
    cfg = Config.fromfile(segmentor / 'tiny.py')
    cfg.model.backbone = {**BACKBONES['dualformer'], 'out_indices': 0, 'gap_before_norm': False}
    cfg.model.decode_head.in_channels = 16
    cfg.dump(tmp_path / 'cfg.py')
    run(mixer_panels, tmp_path / 'cfg.py', 'none', 'photo.png', '--agreement', 3,
        '--out', tmp_path / 'a.png')
    line, = re.findall(r'stage 1, block 1 *\| none *\| (.+?) +\| (.+?) +\| (.+?) +\|',
                       capsys.readouterr().out)
    assert 0 < float(line[0]) < 1 and 1 < float(line[1]) < 2 and len(line[2].split()) == 4


def test_rows_of_a_vit_are_beside_those_of_lkca():
    sheet, = sheets_of('lkca.py', 'none', 'photo.png', '--what', 'rows', '--beside',
                       'vit.py', 'vit.pth', '--layers', 3)
    assert [panel and panel.title for panel in sheet.rows[0]] == [
        'image', 'lkca\nblock 1', 'vit\nblock 1']
    assert [panel and panel.title for panel in sheet.rows[2]] == [None, 'block 5', None]
    assert sheet.rows[0][2].values.max() == 1 and sheet.rows[0][2].values.min() > 0
    assert (sheet.rows[0][1].values == 0).all()  # a kernel starts at zero


def test_images_reach_the_backbone_as_the_config_has_them():
    rgb = np.asarray(Image.open('photo.png'))[4:36, 14:46]  # 40 x 60, cropped to 32 x 32
    Image.fromarray(np.ascontiguousarray(rgb)).save('crop.png')
    subject = load_subject('lkca.py', 'none', 'crop.png')
    mean, std = np.array([100, 110, 120]), np.array([50, 60, 70])
    assert (subject.picture == rgb).all()
    assert np.allclose(subject.images[0].permute(1, 2, 0), (rgb - mean) / std, atol=1e-5)
    Path('arrays.py').write_text(  # as of CIFAR, RGB already
        "_base_ = './lkca.py'\ndata_preprocessor = dict(to_rgb=False)\n"
        "test_dataloader = dict(dataset=dict(pipeline=[dict(type='PackInputs')]))\n")
    subject = load_subject('arrays.py', 'none', 'crop.png')
    assert np.allclose(subject.images[0].permute(1, 2, 0), (rgb - mean) / std, atol=1e-5)


def test_images_are_scaled_to_cover_the_size_and_cropped():
    left = np.zeros((20, 40, 3), np.uint8)
    left[:, :20] = 255
    Image.fromarray(left).save('left.png')
    subject = load_subject('lkca.py', 'none', 'left.png', (40, 40))
    assert subject.picture.shape == (40, 40, 3)
    assert subject.picture[:, :16].min() > 250 and subject.picture[:, 24:].max() < 5


@pytest.mark.parametrize('args, message', [
    (('lkca.py', 'none', 'missing.png'), 'missing.png does not exist'),
    (('lkca.py', 'missing.pth', 'photo.png'), 'missing.pth does not exist'),
    (('missing.py', 'none', 'photo.png'), 'missing.py does not exist'),
    (('lkca.py', 'none', 'lkca.py'), 'lkca.py is in no known image format'),
    (('lkca.py', 'vit.pth', 'photo.png'), 'vit.pth is not of this model'),
    (('head.py', 'none', 'photo.png'), 'LinearClsHead has no backbone'),
    (('resnet.py', 'none', 'photo.png'), 'ResNet has none of kernels, .* no mixer of this package'),
    (('linglo.py', 'none', 'photo.png', '--what', 'kernels'),
     'linglo has no kernels; it has saliency'),
    (('linglo.py', 'none', 'photo.png', '--beside', 'vit.py', 'none'), 'linglo has no rows'),
    (('lkca.py', 'none', 'photo.png', '--beside', 'linglo.py', 'none'),
     'linglo has no rows; it has saliency'),
    (('mcganet.py', 'none', 'photo.png', '--head', '2'), '--head 2: .* have heads 0 to 1'),
    (('dualformer.py', 'none', 'none', 'photo.png', '--head', '5'), '--head 5: .* heads 0 to 1'),
    (('lkca.py', 'none', 'photo.png', '--position', '32', '0'), 'outside the image of 32 x 32'),
    (('mcganet.py', 'none', 'mcganet.pth', 'photo.png'), 'give one checkpoint'),
    (('linglo.py', 'none', 'photo.png', '--query', '1', '1'), 'linglo has no partitions'),
    (('dualformer.py', 'none', 'none', 'photo.png', '--query', '1', '1'), 'takes one checkpoint'),
    (('dualformer.py', 'none', 'photo.png', '--agreement', '1'), 'a config of mmsegmentation'),
])
def test_what_cannot_be_drawn_is_refused_with_the_reason(tmp_path, args, message):
    with pytest.raises(SystemExit, match=f'^error: .*{message}'):
        run(mixer_panels, *args, '--out', tmp_path / 'a.png')
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


def test_fields_and_similarities_are_those_of_the_checkpoint():
    args = feature_panels.parse_args([
        'linglo.py=linglo.pth', '--image', 'photo.png', '--size', '32', '32', '--samples', '2',
        '--position', '9', '30'])
    subject = feature_panels.load(args.networks[0], args)
    field = feature_panels.field_sheet([subject], args).rows[0][0].values
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    out, = subject.backbone(images)
    out[:, :, 2, 2].relu().sum().backward()
    expected = images.grad.abs().sum((0, 1))
    assert np.allclose(field, expected / expected.max(), atol=1e-5)
    image, *maps = feature_panels.similarity_sheet([subject], args).rows[0]
    assert [panel.title for panel in maps] == ['stage 1, block 1', 'stage 2, block 2']
    assert maps[0].values[2, 7] == pytest.approx(1)
    assert (subject.picture == image.values).all()


@pytest.mark.parametrize('name, shape', [
    ('timm:swin_tiny_patch4_window7_224', (1, 768, 2, 2)),  # channels-last inside
    ('mmpretrain:resnet18_8xb32_in1k', (1, 512, 2, 2))])
def test_maps_of_peers_have_their_channels_first(name, shape):
    args = feature_panels.parse_args([name, '--image', 'photo.png', '--size', '64', '64'])
    subject = feature_panels.load(name, args)
    assert subject.backbone(subject.images)[-1].shape == shape


@pytest.mark.parametrize('args, message', [
    (('nothing-b0', ), 'no network nothing-b0; there are '),
    (('timm:nothing', ), 'timm:nothing'),
    (('timm:resnet18=linglo.pth', ), 'a checkpoint is for a config'),
    (('linglo.py=missing.pth', ), 'missing.pth does not exist'),
    (('linglo.py', '--what', 'similarity', '--position', '500', '0'), 'outside the image'),
])
def test_features_that_cannot_be_drawn_are_refused(tmp_path, args, message):
    with pytest.raises(SystemExit, match=f'^error: .*{message}'):
        run(feature_panels, *args, '--image', 'photo.png', '--out', tmp_path / 'a.png')


@pytest.mark.parametrize('option, message', [
    (('--layers', '-1'), '--layers: must be a positive integer, got'),
    (('--size', '5', 'x'), '--size: must be a positive integer, got'),
    (('--head', '-1'), '--head must be at least 0, got -1')])
def test_numbers_of_mixers_are_read_likewise(capsys, option, message):
    with pytest.raises(SystemExit):
        run(mixer_panels, 'linglo.py', 'none', 'photo.png', *option)
    assert message in capsys.readouterr().err


# segmentation_panels.py


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


def predicted(truth, labels, name='a.jpg'):
    truth, labels = np.array(truth, np.uint8), np.array(labels, np.uint8)
    return segmentation_panels.Prediction(
        name, np.zeros((*truth.shape, 3), np.uint8), truth, labels)


def test_picture_has_the_colours_titles_and_legend_of_the_panels():
    found = [predicted([[0, 2], [255, 2]], [[0, 2], [3, 3]], 'first.jpg'),
             predicted([[2, 2]], [[2, 2]], 'second.jpg')]
    palette = [[10, 0, 0], [20, 0, 0], [30, 0, 0], [40, 0, 0]]
    metainfo = dict(classes=['cat', 'dog', 'cow', 'hen'], palette=palette)
    figure = draw([segmentation_panels.make_sheet('t', dict(prediction=found), metainfo)])
    assert [ax.get_title() for ax in figure.axes] == [
        'first.jpg', 'truth', 'prediction: 66.7% right',
        'second.jpg', 'truth', 'prediction: 100.0% right']
    shown = [ax.images[0].get_array() for ax in figure.axes]
    assert shown[1][..., 0].tolist() == [[10, 30], [255, 30]]
    assert shown[2][..., 0].tolist() == [[10, 30], [40, 40]]
    legend, = figure.subfigs[0].legends
    assert [text.get_text() for text in legend.get_texts()] == ['cat', 'cow', 'hen', 'ignored']
    assert [round(patch.get_facecolor()[0] * 255) for patch in legend.get_patches()] == [
        10, 30, 40, 255]
    assert math.isnan(predicted([[255]], [[0]]).accuracy)


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
    with Image.open(out) as picture:
        assert picture.height > picture.width  # five rows of three


def test_pictures_of_ones_own_have_no_truth(segmentor, tmp_path, capsys):
    files = sorted((segmentor / 'data/images/validation').glob('*.jpg'))[:2]
    (tmp_path / 'tiny.py').write_text((segmentor / 'tiny.py').read_text() + (
        "\ntest_dataloader['dataset']['data_root'] = 'nowhere'\n"
        "test_pipeline = test_dataloader['dataset']['pipeline']\n"))
    arguments = [tmp_path / 'tiny.py', segmentor / 'tiny.pth', '--device', 'cpu',
                 '--out', tmp_path / 'a.png']
    run(segmentation_panels, *arguments, '--pictures', *files)
    assert f'2 images, without labels: {tmp_path}/a.png' in capsys.readouterr().out
    with pytest.raises(SystemExit, match='none.jpg does not exist'):
        run(segmentation_panels, *arguments, '--pictures', 'none.jpg')


def test_models_stand_beside_each_other_without_the_images_if_asked(segmentor, tmp_path):
    (tmp_path / 'other.py').write_text((segmentor / 'tiny.py').read_text())
    first = [str(segmentor / name) for name in ('tiny.py', 'tiny.pth')]
    args = segmentation_panels.parse_args([
        *first, '--num', '1', '--device', 'cpu', '--beside', str(tmp_path / 'other.py'), first[1]])
    found, metainfo = segmentation_panels.run_models(args)
    row, = segmentation_panels.make_sheet('', found, metainfo, images=False).rows
    assert [panel.title.partition(':')[0] for panel in row] == ['truth', 'tiny', 'other']
    assert (row[1].values == row[2].values).all()
    args.cfg_options = []
    args.beside[0][0] = str(tmp_path / 'fewer.py')
    (tmp_path / 'fewer.py').write_text(
        (segmentor / 'tiny.py').read_text() + "\ntest_dataloader['dataset']['indices'] = [1, 2]\n")
    with pytest.raises(ValueError, match='fewer.py is of another data set than'):
        segmentation_panels.run_models(args)


@pytest.mark.parametrize('weight, message', [
    (math.nan, 'broken.pth holds NaN or infinite values in decode_head.conv_seg.weight: its'),
    (None, 'broken.pth lacks 1 of the 44 weights of the model: decode_head.conv_seg.weight')])
def test_checkpoints_that_are_broken_or_of_another_model_are_named(
        segmentor, tmp_path, weight, message):
    state = torch.load(segmentor / 'tiny.pth')['state_dict']
    state['decode_head.conv_seg.weight'].view(-1)[3] = weight or 0.
    if weight is None:
        del state['decode_head.conv_seg.weight']
    torch.save(dict(state_dict=state, meta={}), tmp_path / 'broken.pth')
    with pytest.raises(SystemExit, match=f'^error: .*{message}'):
        run(segmentation_panels, segmentor / 'tiny.py', tmp_path / 'broken.pth', '--device', 'cpu',
            '--out', tmp_path / 'a.png')
    missing = f'test_dataloader.dataset.data_root={tmp_path / "nowhere"}'
    with pytest.raises(SystemExit, match='nowhere/images/validation does not exist'):
        run(segmentation_panels, segmentor / 'tiny.py', 'none', '--cfg-options', missing)
