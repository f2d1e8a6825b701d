# Copyright (c) mmvisionmix authors. All rights reserved.
"""What users bring: no wrong number passes in silence, and a line tells what is wrong."""
import json
import runpy
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from checks import (
    CheckData,
    CheckWeights,
    annotation_faults,
    annotations_blamed,
    head_fault,
    name_fault,
    size_fault,
)
from common import errors_in_a_line, load_weights, override, read_config
from damage import Detection, Segmentation, picture
from inspection import Inspection, Sample, Summary
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from PIL import Image
from torch import nn

NET = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


@pytest.mark.parametrize('change, message', (
    (lambda weights: {'model': weights}, "lacks 8 of the 9 weights .* What it has is named model"),
    (lambda weights: {k: v for k, v in weights.items() if k != '2.bias'}, 'lacks 1 of .*: 2.bias'),
    (lambda weights: {**weights, '2.bias': torch.zeros(3)}, r'2.bias \[3\] instead of \[2\]'),
    (lambda weights: {**weights, '2.scale': torch.zeros(2)}, 'another model, .* have 2.scale')))
def test_weights_that_do_not_fit_are_named(change, message):
    with pytest.raises(ValueError, match=f'a.pth .*{message}'):
        load_weights(NET, change(NET.state_dict()), 'a.pth')


def test_weights_of_wrapped_models_and_of_parts_that_are_left_out_fit():
    wrapped = {f'module.{name}': value for name, value in NET.state_dict().items()}
    load_weights(NET, {**wrapped, 'auxiliary_head.weight': torch.zeros(1)}, 'a.pth')
    load_weights(NET, {}, 'a.pth', allow_missing=True)
    masked = nn.Sequential(nn.Linear(1, 1))
    masked.register_buffer('mask', torch.tensor([float('-inf')]))
    load_weights(masked, masked.state_dict(), 'a.pth')
    with pytest.raises(ValueError, match='a.pth holds NaN or infinite values in 0.bias'):
        load_weights(masked, {**masked.state_dict(), '0.bias': masked.mask}, 'a.pth')


class Run:
    """As much of a runner as a hook asks for."""
    model = NET
    optim_wrapper = OptimWrapper(torch.optim.SGD(NET.parameters(), 0.1, momentum=0.9))


def test_an_optimizer_of_another_kind_is_named():
    other = torch.optim.AdamW(NET.parameters()).state_dict()
    hook = CheckWeights((), resume=True)
    with pytest.raises(ValueError, match='SGD has momentum, dampening, and the checkpoint .*betas'):
        hook.after_load_checkpoint(Run, dict(state_dict=NET.state_dict(), optimizer=other))
    own = Run.optim_wrapper.optimizer.state_dict()
    hook.after_load_checkpoint(Run, dict(state_dict=NET.state_dict(), optimizer=own))


class Named(list):
    ann_file, metainfo = 'a.json', property(lambda self: dict(classes=tuple(self)))


@pytest.mark.parametrize('classes, fits', (('b', False), ('ba', False), ('a', True), ('xy', True)))
def test_classes_whose_numbers_are_others_than_in_training_are_named(classes, fits):
    run = SimpleNamespace(model=NET, a=SimpleNamespace(dataset=Named('ab')),
                          b=SimpleNamespace(dataset=Named(classes)))
    given = dict(state_dict=NET.state_dict(), meta=dict(dataset_meta=dict(classes='ab')))
    for check, *args in ((CheckData('ab').before_run, run),
                         (CheckWeights('b').after_load_checkpoint, run, given)):
        with nullcontext() if fits else pytest.raises(ValueError, match="^'b' is class 0 of the"):
            check(*args)


@pytest.mark.parametrize('name, number, fits', (
    ('decode_head', 4, False), ('decode_head', 1, True), ('bbox_head', 1, False),
    ('decode_head', 2, False), ('auxiliary_head', 4, False), ('auxiliary_head', 1, True),
    ('auxiliary_head', 2, True), ('rpn_head', 1, True), ('head', 1, False), ('head', 4, True)))
def test_heads_of_other_numbers_of_classes_are_named(name, number, fits):
    model = nn.ModuleDict({name: nn.Identity()})
    model[name].num_classes = number
    assert (f'model.{name}.num_classes is' in str(head_fault(Named('abc'), model))) != fits
    panoptic = SimpleNamespace(metainfo=dict(classes='abcd', thing_classes='a'), ann_file='')
    assert name != 'bbox_head' or head_fault(panoptic, model) is None


@pytest.mark.parametrize('fail, line', (
    (lambda file: Config({}).model, 'the config has no model; is it whole'),
    (lambda file: np.concatenate([]), 'a data set has no samples: .*check_data.py'),
    (lambda file: torch.load(file), 'a checkpoint cannot be loaded: .*EOFError'),
    (lambda file: override(Config({}), ['optim_wraper.x=1']), 'did you mean optim_wrapper'),
    (lambda file: file.write_text('a = (') and read_config(file), 'a.py, or .* is no Python')))
def test_errors_that_users_meet_are_put_into_words(tmp_path, fail, line):
    (tmp_path / 'a.py').touch()
    with pytest.raises(SystemExit, match=line), errors_in_a_line():
        fail(tmp_path / 'a.py')


@pytest.mark.parametrize('old, option, new', (
    ('data/', 'a=my data/x', 'my data/x'), ('data/', 'a=x,[1]/(y)', 'x,[1]/(y)'),
    ('dynamic', 'a=512.', 512.), ('x', 'a=None', None), ('mIoU', 'a=[mIoU,x]', ['mIoU', 'x']),
    (1, 'a=1,2', [1, 2]), ([1, 2], 'a=[(3, 4), x]', [(3, 4), 'x']),
    ([dict(b=1)], 'a.0.b=5', [dict(b=5)])))
def test_settings_keep_blanks_commas_and_brackets_of_paths(old, option, new):
    cfg = Config(dict(a=old))
    override(cfg, [option])
    assert cfg.a == new
    override(cfg, ['sync_bn=torch'])  # read by MMEngine, though no config has it
    assert cfg.sync_bn == 'torch'


@pytest.mark.parametrize('option', ('a', 'a.0=5', 'a.b.c=5'))
def test_settings_that_cannot_be_read_are_named(option):
    with pytest.raises(ValueError, match='--cfg-options'):
        override(Config(dict(a=[1])), [option])


def test_a_slip_in_a_users_transform_is_placed(tmp_path):
    file = tmp_path / 'my_steps.py'
    file.write_text("def transform(results):\n    return results['brightness']\n")
    step = runpy.run_path(str(file))['transform']
    place = rf'brightness.*transform\(\) of {file}, line 2'
    with pytest.raises(SystemExit, match=place), errors_in_a_line():
        step({})
    system = tmp_path / 'dist-packages.py'  # as folders of Debian are called
    system.write_text('{}[0]')
    with pytest.raises(SystemExit, match='raised in test_a_slip'), errors_in_a_line():
        runpy.run_path(str(system))


def annotate(data, change):
    """Changes the first image, annotation and category of a COCO file."""
    found = json.loads(data.file().read_text())
    change(found['images'][0], found['annotations'][0], found['categories'][0])
    data.file().write_text(json.dumps(found))


@pytest.mark.parametrize('change, message', (
    (lambda image, box, kind: box.pop('area'), 'annotation 1 (image 0, 0.jpg) lacks area'),
    (lambda image, box, kind: box.update(category_id='1'), "has category_id '1'"),
    (lambda image, box, kind: box.update(image_id=9), 'is of an image that the file does not list'),
    (lambda image, box, kind: box.update(id=2), 'has an id that is not its own'),
    (lambda image, box, kind: box.update(bbox=[1, 2, -3, 4]), 'has bbox [1, 2, -3, 4], which'),
    (lambda image, box, kind: image.update(id=1), 'images 0.jpg and 1.jpg share the id 1'),
    (lambda image, box, kind: image.pop('file_name'), 'image 0 (None) lacks file_name')))
def test_annotations_by_hand_are_told_apart(tmp_path, change, message):
    data = Detection(tmp_path)
    annotate(data, change)
    dataset = dict(data_root=str(tmp_path), ann_file='annotations/instances_val2017.json',
                   pipeline=[dict(type='LoadAnnotations', with_bbox=True)])
    blamed = dict(loader=dict(dataset=dataset)), ['loader']
    line, = annotation_faults(*blamed)
    assert line.startswith(str(data.file())) and message in line
    with pytest.raises(ValueError, match=r'\(KeyError: 1\)$'), annotations_blamed(*blamed):
        raise KeyError(1)


def test_classes_that_the_file_calls_otherwise_are_named(tmp_path):
    data = Detection(tmp_path)
    assert name_fault(data.build()) is None
    annotate(data, lambda image, box, kind: kind.update(name='Person'))
    assert "has no 'person', which the config has; it has 'Person'" in name_fault(data.build())


def test_images_that_exif_turns_are_named(tmp_path):
    data = Detection(tmp_path)
    assert size_fault(data.build()) is None
    exif = Image.Exif()
    exif[0x0112] = 6
    picture().save(data.image(), exif=exif.tobytes())
    assert size_fault(data.build()).startswith(f'{data.image()} is turned by its EXIF data')
    assert 'as its EXIF data turn it' in Inspection(data.build(), {})[0].fault


def test_what_there_is_of_each_class_is_counted(tmp_path):
    data = Segmentation(tmp_path)  # labels of 0 to 3, of which 0 is ignored
    inspection = Inspection(data.build(), data.config().model)
    summary = Summary('here', inspection.names)
    for index in range(len(inspection)):
        summary.add(inspection[index])
    assert summary.amounts == {'ignored': 3072, 'wall': 3072, 'building': 3072, 'sky': 3072}
    assert [name for name, images, *_ in summary.rows() if images == '1'] == [
        'wall', 'building', 'sky', 'ignored']
    notes = '\n'.join(summary.notes())
    assert '147 of 150 classes never occur: floor, tree' in notes and '25.0% is ignored' in notes
    assert summary.as_dict()['classes']['sky']['amount'] == 3072


def test_a_foreground_of_255_is_asked_about():
    summary = Summary('here', ['background', 'crack'])
    summary.add(Sample(0, [], None, (2, 4), dict(background=4, ignored=4), {}, 'pixels'))
    assert 'is 255 the foreground, and should be 1?' in '\n'.join(summary.notes())
