# Copyright (c) mmvisionmix authors. All rights reserved.
"""The picture of tools/visualization/segmentation_panels.py."""

import math
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from PIL import Image

from demo_data import CLASSES, PALETTE, SceneRecipe, write_ade20k

TOOLS = Path(__file__).resolve().parents[2] / 'tools/visualization'
CONSTANT = 4  # the class that the tiny model always predicts


@pytest.fixture(scope='module')
def tool():
    """The tool, which imports what lies beside it."""
    sys.path.insert(0, str(TOOLS))
    try:
        yield runpy.run_path(str(TOOLS / 'segmentation_panels.py'))
    finally:
        sys.path.remove(str(TOOLS))


@pytest.fixture(scope='module')
def workspace(tmp_path_factory):
    """A folder with demo data, a config of a tiny stock model, and a checkpoint of it."""
    folder = tmp_path_factory.mktemp('panels')
    write_ade20k(folder / 'data', SceneRecipe(size=32, train=1, val=5))
    config = tiny_config(folder / 'data')
    config.dump(folder / 'tiny.py')
    init_default_scope('mmseg')
    model = MODELS.build(config.model)
    torch.nn.init.zeros_(model.decode_head.conv_seg.weight)
    torch.nn.init.zeros_(model.decode_head.conv_seg.bias)
    model.decode_head.conv_seg.bias.data[CONSTANT] = 1
    torch.save(dict(state_dict=model.state_dict(), meta={}), folder / 'tiny.pth')
    return folder


def tiny_config(data_root):
    norm_cfg = dict(type='SyncBN')
    pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'),
                dict(type='PackSegInputs')]
    dataset = dict(
        type='BaseSegDataset', data_root=str(data_root), img_suffix='.jpg', seg_map_suffix='.png',
        reduce_zero_label=True, metainfo=dict(classes=CLASSES, palette=PALETTE),
        data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
        pipeline=pipeline)
    model = dict(
        type='EncoderDecoder',
        data_preprocessor=dict(type='SegDataPreProcessor', bgr_to_rgb=True, size=(32, 32)),
        backbone=dict(type='ResNet', depth=18, num_stages=1, base_channels=8, stem_channels=8,
                      strides=(1,), dilations=(1,), out_indices=(0,), norm_cfg=norm_cfg),
        decode_head=dict(type='FCNHead', in_channels=8, channels=8, num_convs=1, in_index=0,
                         num_classes=len(CLASSES), norm_cfg=norm_cfg),
        train_cfg=dict(), test_cfg=dict(mode='whole'))
    return Config(dict(default_scope='mmseg', model=model,
                       test_dataloader=dict(batch_size=1, dataset=dataset)))


def panel_of(tool, truth, prediction, name='a.jpg'):
    truth, prediction = np.array(truth, np.uint8), np.array(prediction, np.uint8)
    return tool['Panel'](name, np.zeros((*truth.shape, 3), np.uint8), truth, prediction)


def run(tool, workspace, out, *arguments):
    tool['main']([str(workspace / 'tiny.py'), str(workspace / 'tiny.pth'), '--device', 'cpu',
                  '--out', str(out), *arguments])


def test_accuracy_leaves_out_ignored_pixels(tool):
    assert panel_of(tool, [[0, 1, 255]], [[0, 2, 0]]).accuracy == 0.5
    assert math.isnan(panel_of(tool, [[255]], [[0]]).accuracy)


def test_picture_has_the_colours_titles_and_legend_of_the_panels(tool):
    panels = [panel_of(tool, [[0, 2], [255, 2]], [[0, 2], [3, 3]], 'first.jpg'),
              panel_of(tool, [[2, 2]], [[2, 2]], 'second.jpg')]
    palette = np.array([[10, 0, 0], [20, 0, 0], [30, 0, 0], [40, 0, 0]], np.uint8)
    figure = tool['draw'](panels, ['cat', 'dog', 'cow', 'hen'], palette)
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == ['first.jpg', 'truth', 'prediction: 66.7% right',
                      'second.jpg', 'truth', 'prediction: 100.0% right']
    shown = [ax.images[0].get_array() for ax in figure.axes]
    assert shown[1][..., 0].tolist() == [[10, 30], [255, 30]]
    assert shown[2][..., 0].tolist() == [[10, 30], [40, 40]]
    legend, = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ['cat', 'cow', 'hen', 'ignored']
    reds = [round(patch.get_facecolor()[0] * 255) for patch in legend.get_patches()]
    assert reds == [10, 30, 40, 255]


def test_images_are_spread_over_the_test_set(tool, workspace):
    config = Config.fromfile(workspace / 'tiny.py')
    init_default_scope('mmseg')
    model = tool['load_model'](config, str(workspace / 'tiny.pth'))
    dataset = tool['DATASETS'].build(config.test_dataloader.dataset)
    names = [[panel.name[-5] for panel in tool['predict'](model, dataset, num)]
             for num in (1, 3, 9)]
    assert names == [['1'], ['1', '3', '5'], ['1', '2', '3', '4', '5']]


def test_panels_hold_image_truth_and_the_predictions_of_the_checkpoint(tool, workspace):
    config = Config.fromfile(workspace / 'tiny.py')
    init_default_scope('mmseg')
    model = tool['load_model'](config, str(workspace / 'tiny.pth'))
    dataset = tool['DATASETS'].build(config.test_dataloader.dataset)
    panel, = tool['predict'](model, dataset, 1)
    data = workspace / 'data'
    image = np.asarray(Image.open(data / 'images/validation/ADE_val_00000001.jpg'))
    labels = np.asarray(Image.open(data / 'annotations/validation/ADE_val_00000001.png'))
    assert np.abs(panel.image.astype(int) - image).max() <= 4  # two JPEG decoders
    assert (panel.truth == labels - 1).all()
    assert (panel.prediction == CONSTANT).all()
    assert panel.accuracy == pytest.approx((labels == CONSTANT + 1).mean())


def test_writes_the_picture_and_its_accuracy(tool, workspace, tmp_path, capsys):
    out = tmp_path / 'new folder' / 'panels.png'
    run(tool, workspace, out, '--num', '5')
    maps = (workspace / 'data/annotations/validation').glob('*.png')
    share = np.mean([np.asarray(Image.open(path)) == CONSTANT + 1 for path in maps])
    assert f'5 images, {share:.1%} of their pixels right: {out}' in capsys.readouterr().out
    with Image.open(out) as picture:
        width, height = picture.size
    assert height > width  # five rows of three


def test_none_stands_for_random_weights(tool, workspace, tmp_path, capsys):
    tool['main']([str(workspace / 'tiny.py'), 'none', '--device', 'cpu', '--num', '1', '--out',
                  str(tmp_path / 'a.png')])
    assert '1 images, ' in capsys.readouterr().out
    assert Image.open(tmp_path / 'a.png').width > 100


def test_options_override_the_config(tool, workspace, tmp_path):
    missing = f'test_dataloader.dataset.data_root={tmp_path / "nowhere"}'
    with pytest.raises(SystemExit, match='nowhere/images/validation does not exist'):
        run(tool, workspace, tmp_path / 'a.png', '--cfg-options', missing)


@pytest.mark.parametrize('arguments, missing', [
    (['missing.py', 'tiny.pth'], 'missing.py'),
    (['tiny.py', 'missing.pth'], 'missing.pth'),
])
def test_missing_files_are_named(tool, workspace, monkeypatch, arguments, missing):
    monkeypatch.chdir(workspace)
    with pytest.raises(SystemExit, match=f'{missing} does not exist'):
        tool['main'](arguments)


def test_a_picture_of_nothing_is_refused(tool, workspace, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(tool, workspace, tmp_path / 'a.png', '--num', '0')
    assert 'argument --num: must be a whole number from 1 on, got 0' in capsys.readouterr().err


@pytest.mark.parametrize('change, message', [
    (dict(weight=math.nan),
     'broken.pth holds NaN or infinite values in decode_head.conv_seg.weight, of which nothing'),
    (dict(weight=math.inf, bias=-math.inf), 'in decode_head.conv_seg.weight and 1 more, of'),
    (dict(bias=None), 'cannot load .*broken.pth: .*missing keys .*decode_head.conv_seg.bias')])
def test_checkpoints_that_are_broken_or_of_another_model_are_named(
        tool, workspace, tmp_path, change, message):
    state = torch.load(workspace / 'tiny.pth')['state_dict']
    for key, value in change.items():
        key = f'decode_head.conv_seg.{key}'
        if value is None:
            del state[key]
        else:
            state[key].view(-1)[3] = value
    torch.save(dict(state_dict=state, meta={}), tmp_path / 'broken.pth')
    with pytest.raises(SystemExit, match=f'(?s)^segmentation_panels.py: .*{message}'):
        tool['main']([str(workspace / 'tiny.py'), str(tmp_path / 'broken.pth'), '--device', 'cpu',
                      '--out', str(tmp_path / 'a.png')])
    assert not (tmp_path / 'a.png').exists()
