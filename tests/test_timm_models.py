# Copyright (c) mmvisionmix authors. All rights reserved.
"""What timm promises of its models holds of those that mmvisionmix.timm_models registers."""
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from timm.models import get_notrace_modules, group_parameters
from torchvision.models.feature_extraction import create_feature_extractor

from mmvisionmix import timm_models
from mmvisionmix.models import switch_to_deploy

ROOT = Path(__file__).resolve().parents[1]
NAMES = timm_models.NAMES
FAMILIES = ('dualformer_t', 'linglo_b0', 'lkca_0p5m', 'mcganet_base')
CONFIGS = dict(zip(FAMILIES, (
    'dualformer/dualformer-t_8xb128-300e_in1k', 'linglo/linglo-b0_8xb128-300e_in1k',
    'lkca/lkca-0.5m_1xb128-100e_cifar10', 'mcganet/mcganet_8xb128-300e_in1k')))
families = pytest.mark.parametrize('name', FAMILIES)


@pytest.fixture(autouse=True)
def repeatable():
    torch.manual_seed(0)


def create(name, **kwargs):
    return timm.create_model(name, **kwargs).eval()


def images(batch=2, channels=3, side=32):
    return torch.randn(batch, channels, side, side)


def classifier_of(name):
    """The classifier of a model's config, as mmpretrain builds it."""
    cfg = Config.fromfile(ROOT / f'configs/{CONFIGS[name]}.py')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(dict(cfg.model, train_cfg=None, data_preprocessor=None)).eval()


def test_every_arch_of_every_backbone_is_registered_and_none_as_pretrained():
    assert timm.list_models(module='timm_models') == sorted(NAMES)
    assert timm.list_models('linglo_b*') == ['linglo_b0', 'linglo_b1', 'linglo_b2']
    assert len(NAMES) == sum(len(cls.arch_settings) for cls in set(NAMES.values()))
    assert not set(NAMES) & set(timm.list_models(pretrained=True))
    with pytest.raises(RuntimeError, match='No pretrained weights exist for linglo_b0'):
        timm.create_model('linglo_b0', pretrained=True)


@families
def test_checkpoints_of_the_config_give_the_same_classes_and_maps(name, tmp_path):
    theirs = classifier_of(name)
    for param in theirs.parameters():
        torch.nn.init.normal_(param, std=0.05)
    path = str(tmp_path / 'epoch_1.pth')
    torch.save(dict(state_dict=theirs.state_dict()), path)
    given = dict(pretrained=True, pretrained_cfg_overlay=dict(file=path))
    x = images()
    with torch.no_grad():
        expected = theirs(x, mode='tensor')
        for ours in (create(name, checkpoint_path=path), create(name, **given)):
            torch.testing.assert_close(ours(x), expected, rtol=1e-4, atol=1e-5)
        ours.load_state_dict(ours.state_dict())
        switch_to_deploy(ours)
        torch.testing.assert_close(ours(x), expected, rtol=1e-4, atol=1e-5)
        whole = create(name, **given)
        maps = create(name, features_only=True, out_indices=(1, -1), **given)(x)
        last, raw = whole.forward_intermediates(x, (1, -1))
        assert all(map(torch.equal, maps, raw))
        assert torch.equal(last, whole.forward_features(x))
        assert torch.equal(whole.norm(raw[1]), last)
    other = create(name, num_classes=11, **given)
    assert other(x).shape == (2, 11) and torch.equal(other.forward_features(x), last)


@families
def test_features_are_as_feature_info_says(name):
    model = create(name, in_chans=1)
    depth = len(model.feature_info)
    x = images(channels=1)
    for indices, stages in ((None, None), ((-1, 0), [depth - 1, 0]), (2, [depth - 2, depth - 1])):
        options = {} if indices is None else dict(out_indices=indices)
        features = create(name, features_only=True, in_chans=1, **options)
        info = features.feature_info
        assert stages is None or list(info.out_indices) == stages
        outs = features(x)
        assert len(outs) == (2 if stages else 4)
        assert [out.shape[1] for out in outs] == info.channels()
        assert [(-(-32 // stride), ) * 2 for stride in info.reduction()] == [
            tuple(out.shape[2:]) for out in outs]
        features.train()(x)[0].mean().backward()
    for wrong in ((depth, ), (0, -depth - 1)):
        with pytest.raises(IndexError):
            create(name, features_only=True, out_indices=wrong)
    with pytest.raises(ValueError, match="output_fmt must be 'NCHW', got 'NLC'"):
        model.forward_intermediates(x, output_fmt='NLC')
    assert torch.equal(model.forward_intermediates(x, norm=True)[1][-1], model.forward_features(x))


@families
def test_heads_follow_timm(name):
    """Pooling, classes, what comes before them, and where the pretrained_cfg says they are."""
    model, x = create(name, num_classes=7, drop_rate=0.3), images()
    cfg = model.pretrained_cfg
    assert model.get_submodule(cfg['classifier']) is model.get_classifier()
    assert model.get_submodule(cfg['first_conv']).in_channels == 3
    assert model.num_classes == model.get_classifier().out_features == 7
    assert model.head.drop.p == model.drop_rate == 0.3
    maps = model.forward_features(x)
    assert maps.shape[:2] == (2, model.num_features)
    features = model.forward_head(maps, pre_logits=True)
    assert features.shape == (2, model.head_hidden_size)
    assert torch.allclose(model.get_classifier()(features), model(x))
    model.reset_classifier(0)
    assert torch.equal(model(x), features)
    model.reset_classifier(0, '')
    assert model(x).shape == (2, model.head_hidden_size, *maps.shape[2:])


@families
def test_options_of_timm_and_of_the_backbone_go_where_they_belong(name):
    model = create(name, drop_path_rate=0.2, proj_drop_rate=0.1, with_cp=True)
    paths = {layer.drop_prob for layer in model.modules() if type(layer).__name__ == 'DropPath'}
    assert max(paths) == pytest.approx(0.2) and min(paths) == 0
    assert 0.1 in {layer.p for layer in model.modules() if isinstance(layer, torch.nn.Dropout)}
    assert model.backbone.with_cp
    model.set_grad_checkpointing(False)
    assert not model.backbone.with_cp
    decayed = dict(lkca_0p5m={'pos_embed'}, mcganet_base={'tokens'}).get(name, set())
    assert {key.rsplit('.', 1)[-1] for key in model.no_weight_decay()} == decayed


@families
def test_networks_trace_by_torch_fx(name):
    """In both modes, with dropped paths, and for users of torchvision alone."""
    model, x = create(name, drop_path_rate=0.1), images()
    leaves = list(model.backbone.fx_leaves)
    assert set(leaves) <= set(get_notrace_modules())
    nodes = {'backbone.stages.1': 'middle', 'head.fc': 'classes'} if name.startswith('lkca') else {
        'backbone.stages.1.blocks.0': 'middle', 'head.fc': 'classes'}
    traced = create_feature_extractor(model, nodes, tracer_kwargs=dict(leaf_modules=leaves))
    for other in (x, images(3, side=64)):
        outs = traced.eval()(other)
        assert torch.equal(outs['classes'], model(other)) and outs['middle'].ndim > 2
    traced.train()(x)['classes'].mean().backward()
    assert all(param.grad is not None for param in traced.parameters())


@families
@pytest.mark.parametrize('coarse', (False, True))
def test_layers_are_grouped_from_the_stem_to_the_head(name, coarse):
    model = create(name)
    groups = group_parameters(model, model.group_matcher(coarse), reverse=True)
    assert set(groups) == {key for key, _ in model.named_parameters()}
    is_vit = name.startswith('lkca')
    blocks = len(model.backbone.stages) if coarse or is_vit else sum(model.backbone.depths)
    assert {index for key, index in groups.items() if '.stem.' in key} == {0}
    inner = [index for key, index in groups.items() if '.stages.' in key]
    assert set(range(1, blocks + 1)) <= set(inner) and inner == sorted(inner)
    assert groups['head.fc.weight'] >= max(inner)


def test_building_a_model_logs_nothing(capfd):
    create('lkca_0p5m', img_size=48)
    assert capfd.readouterr() == ('', '')


def test_without_timm_the_import_says_what_to_install():
    code = 'import sys; sys.modules["timm"] = None; import mmvisionmix.timm_models'
    result = subprocess.run([sys.executable, '-c', code], stderr=subprocess.PIPE, text=True)
    assert 'mmvisionmix.timm_models needs timm 1: pip install "timm>=1"' in result.stderr


def test_the_example_of_the_page_does_what_it_says():
    page = (ROOT / 'docs/timm.md').read_text(encoding='utf-8')
    found = {}
    exec(page.split('```python\n')[1].split('```')[0], found)
    assert found['model'].num_classes == 10
    assert found['maps'].feature_info.channels() == [64, 128, 256]
    assert found['maps'].feature_info.reduction() == [8, 16, 32]
    assert all(f'`{name}`' in page for name in NAMES)
