# Copyright (c) mmvisionmix authors. All rights reserved.
"""Checkpoints of tools/model_converters/reparameterize.py, and ``--deploy`` of tools/test.py."""
import pickle
import runpy
from pathlib import Path

import pytest
import test_export
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import load_checkpoint
from test_export import FOLDERS, STOCK, config, write_pictures
from torch import nn

from mmvisionmix.models import DualFormer, LinGlo, LKCAViT, find_backbones, switch_to_deploy

ROOT = test_export.ROOT
META = dict(epoch=7, dataset_meta=dict(classes=('thing', )))
HOOKS = "custom_hooks = [dict(type='EMAHook')]\n"
CLASSIFIER = config(test_export.CLASSIFIER, 'LKCAViT') + FOLDERS + HOOKS
SEGMENTOR = config(test_export.SEGMENTOR, 'DualFormer')
GROUPS = config(test_export.SEGMENTOR, 'DualFormer', more=test_export.GROUPS)
@pytest.fixture(scope='module')
def tool():
    return runpy.run_path(str(ROOT / 'tools/model_converters/reparameterize.py'))


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """The working folder of a test, with ``config.py`` and ``trained.pth``."""
    folder = tmp_path / 'a folder'
    folder.mkdir()
    monkeypatch.chdir(folder)

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


def run(tool, *arguments, checkpoint='trained.pth', out='out.pth'):
    tool['main'](['config.py', checkpoint, out, *arguments])


def predict(model):
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return model.eval()(x, mode='tensor')


@pytest.mark.parametrize('config, kept', (
    (CLASSIFIER, 0), (SEGMENTOR, 0), (GROUPS, 19)), ids=('classifier', 'segmentor', 'groups'))
def test_predictions_stay_and_what_did_not_fold_is_told(tool, workspace, capsys, config, kept):
    model = workspace(config)
    expected = predict(model)
    run(tool, out='new folder/out.pth')
    lines = capsys.readouterr().out
    assert ('convolutions keep their norms, as GroupNorm does not fold' in lines) == bool(kept)
    assert f'backbone: {kept} convolutions keep' in lines or not kept
    assert 'on a random 32x32 image' in lines  # of the backbone, or of the preprocessor
    deployed = build()
    switch_to_deploy(deployed)
    load_checkpoint(deployed, 'new folder/out.pth', strict=True)
    torch.testing.assert_close(predict(deployed), expected, rtol=1e-4, atol=1e-4)
    count, after = (sum(p.numel() for p in one.parameters()) for one in (model, deployed))
    assert f'parameters: {count:,} -> {after:,}' in lines and after <= count
    assert "tools/test.py config.py 'new folder/out.pth' --deploy" in lines
    checkpoint = torch.load('new folder/out.pth')
    assert set(checkpoint) == {'meta', 'state_dict'}  # no averages, no optimizer
    assert checkpoint['meta'] == dict(META, deployed=True)


@pytest.mark.parametrize('break_it, message', (
    (lambda: Path('trained.pth').unlink(), 'trained.pth does not exist'),
    (lambda: Path('trained.pth').write_bytes(b'no checkpoint'), 'trained.pth cannot be loaded'),
    (lambda: Path('config.py').write_text(STOCK), 'trained.pth lacks 10 of the 10 weights'),
    (lambda: Path('config.py').write_text(GROUPS), 'trained.pth is of another model, whose layers'),
    (lambda: Path('out.pth').write_text('mine'), 'out.pth exists; remove it or choose another')))
def test_what_cannot_be_converted_is_told_in_a_line(tool, workspace, break_it, message):
    workspace(SEGMENTOR)
    break_it()
    with pytest.raises(SystemExit, match=message) as error:
        run(tool)
    assert '\n' not in str(error.value)
    assert not Path('out.pth').exists() or Path('out.pth').read_text() == 'mine'


def test_models_of_others_and_deployed_checkpoints_are_refused(tool, workspace):
    workspace()
    run(tool)
    with pytest.raises(SystemExit, match='^error: these weights are of a deployed model'):
        run(tool, checkpoint='out.pth', out='again.pth')
    workspace(STOCK)
    with pytest.raises(SystemExit, match='no backbone of mmvisionmix; its backbone is LeNet5'):
        run(tool, out='again.pth')
    assert not Path('again.pth').exists()


def scale(backbone):
    for param in backbone.norms['3'].parameters():
        param.data *= 1.001


def spoil(backbone):
    backbone.norms['3'].weight.data[0] = float('nan')


@pytest.mark.parametrize('mistake, error', [(scale, '1.0e-03'), (spoil, 'nan')])
def test_nothing_is_written_if_the_feature_maps_differ(
        tool, workspace, monkeypatch, capsys, mistake, error):
    workspace()
    monkeypatch.setattr(LKCAViT, 'switch_to_deploy', mistake)
    with pytest.raises(SystemExit, match='more than 1.0e-05; nothing is written'):
        run(tool)
    assert f'relative error {error}' in capsys.readouterr().out and not Path('out.pth').exists()


def test_backbones_are_found_inside_wrappers():
    teacher, student = LinGlo(out_indices=0), DualFormer(out_indices=0)
    model = nn.ModuleDict(dict(teacher=teacher, student=nn.Sequential(student)))
    assert find_backbones(model) == {'teacher': teacher, 'student.0': student}
    assert list(find_backbones(teacher)) == ['']
    switch_to_deploy(model)
    assert teacher.stages[0].blocks[0].mixer.folded is not None
    assert student.stem.halve.folded is not None


def test_test_tool_takes_plain_and_deployed_checkpoints(tool, workspace, run_tool):
    workspace()
    run(tool)
    write_pictures()
    scores = []
    for checkpoint, options in (('trained.pth', []), ('trained.pth', ['--deploy']),
                                ('out.pth', ['--deploy'])):
        log = run_tool(ROOT / 'tools/test.py', 'config.py', checkpoint, '--out', 'out.pkl',
                       *options, cwd=Path.cwd())
        assert 'do not match' not in log and ('--deploy: ' in log) == bool(options)
        predictions = pickle.loads(Path('out.pkl').read_bytes())
        scores.append(torch.stack([sample['pred_score'] for sample in predictions]))
    assert scores[0].unique().numel() > 3
    for deployed in scores[1:]:
        torch.testing.assert_close(deployed, scores[0], rtol=1e-4, atol=1e-5)
    log = run_tool(ROOT / 'tools/test.py', 'config.py', 'out.pth', cwd=Path.cwd(), fails=True)
    assert 'tools/model_converters/reparameterize.py' in log
    weights = torch.load('trained.pth')['state_dict']
    part = {f'module.{key}': value for key, value in weights.items() if 'head' not in key}
    torch.save(dict(state_dict=part), 'part.pth')
    command = (ROOT / 'tools/test.py', 'config.py', 'part.pth', '--deploy')
    assert 'the checkpoint lacks 2 of ' in run_tool(*command, cwd=Path.cwd(), fails=True)
    assert '--deploy: ' in run_tool(*command, '--allow-missing', cwd=Path.cwd())
