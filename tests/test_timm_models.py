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
from timm.models import group_parameters
from timm.optim import optim_factory

from mmvisionmix import timm_models
from mmvisionmix.models import DualFormer, LinGlo, LKCAViT, MCGANet, switch_to_deploy

ROOT = Path(__file__).resolve().parents[1]
BACKBONES = (DualFormer, LinGlo, LKCAViT, MCGANet)
NAMES = list(timm_models.VARIANTS)
FAMILIES = ('dualformer_t', 'linglo_b0', 'lkca_0p5m', 'mcganet_base')
CONFIGS = {
    **{f'dualformer_{arch}': f'dualformer/dualformer-{arch}_8xb128-300e_in1k'
       for arch in ('t', 'xs', 's', 'b')},
    **{f'linglo_{arch}': f'linglo/linglo-{arch}_8xb128-300e_in1k' for arch in ('b0', 'b1', 'b2')},
    'linglo_wo_ch': 'linglo/linglo-wo-ch_8xb128-100e_in1k',
    'mcganet_base': 'mcganet/mcganet_8xb128-300e_in1k',
    **{f'lkca_{name}': f'lkca/lkca-{name.replace("p", ".")}_1xb128-100e_cifar10'
       for name in ('0p5m', '1m', '2m', '2p69m', '4m', '8m')},
    'lkca_t': 'lkca/lkca-1m_1xb128-100e_cifar10',
    'lkca_l': 'lkca/lkca-l_1xb128-100e_tiny-imagenet',
}
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


def test_every_arch_of_every_backbone_is_registered():
    assert timm.list_models(module='timm_models') == sorted(NAMES)
    assert set(NAMES) <= set(timm.list_models())
    assert timm.list_models('linglo_b*') == ['linglo_b0', 'linglo_b1', 'linglo_b2']
    assert len(NAMES) == sum(len(cls.arch_settings) for cls in BACKBONES)
    assert not set(NAMES) & set(timm.list_models(pretrained=True))


@pytest.mark.parametrize('name', CONFIGS)
def test_there_are_as_many_parameters_as_in_the_config(name, monkeypatch):
    monkeypatch.setattr(timm_models, '_initialise_silently', lambda backbone: None)
    with torch.device('meta'):
        counts = [sum(param.numel() for param in model.parameters())
                  for model in (create(name), classifier_of(name))]
    assert counts[0] == counts[1] > 0


@families
def test_checkpoints_of_the_config_load_and_give_the_same_classes(name, tmp_path):
    theirs = classifier_of(name)
    for param in theirs.parameters():
        torch.nn.init.normal_(param, std=0.05)
    torch.save(dict(state_dict=theirs.state_dict()), tmp_path / 'epoch_1.pth')
    path = str(tmp_path / 'epoch_1.pth')
    x = images()
    for ours in (create(name, checkpoint_path=path),
                 create(name, pretrained=True, pretrained_cfg_overlay=dict(file=path))):
        with torch.no_grad():
            torch.testing.assert_close(ours(x), theirs(x, mode='tensor'), rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(
                ours.forward_head(ours.forward_features(x)), ours(x), rtol=0, atol=0)


@families
def test_state_dicts_of_models_load_again(name):
    first, second = create(name), create(name)
    second.load_state_dict(first.state_dict())
    x = images()
    assert torch.equal(first(x), second(x)) and first(x).std() > 0


@families
def test_classifier_is_where_the_pretrained_cfg_says(name):
    model = create(name, num_classes=7)
    cfg = model.pretrained_cfg
    assert model.get_submodule(cfg['classifier']) is model.get_classifier()
    assert isinstance(model.get_submodule(cfg['first_conv']), torch.nn.Conv2d)
    assert model.get_submodule(cfg['first_conv']).in_channels == 3
    assert not any(cfg.get(key) for key in ('url', 'hf_hub_id', 'file'))
    assert model.num_classes == model.get_classifier().out_features == 7
    assert model(images()).shape == (2, 7)


@families
def test_without_a_classifier_features_come_out(name):
    x = images()
    model = create(name, num_classes=5)
    maps = model.forward_features(x)
    assert maps.shape[:2] == (2, model.num_features)
    features = model.forward_head(maps, pre_logits=True)
    assert features.shape == (2, model.head_hidden_size)
    assert torch.allclose(model.get_classifier()(features), model(x))
    model.reset_classifier(0)
    assert torch.equal(model(x), features)
    model.reset_classifier(3)
    assert model.num_classes == 3 and model(x).shape == (2, 3)
    model.reset_classifier(0, '')
    assert model(x).shape == maps.shape
    assert create(name, num_classes=0).state_dict().keys() == model.state_dict().keys()
    assert create(name, num_classes=0, global_pool='')(x).shape == maps.shape


@families
def test_pooling_is_the_one_asked_for(name):
    model = create(name)
    maps = model.forward_features(images(side=64))
    outs = []
    for pool in ('avg', 'max', 'avgmax'):
        model.reset_classifier(0, pool)
        outs.append(model.forward_head(maps, pre_logits=True))
    assert not torch.allclose(outs[0], outs[1]) and not torch.allclose(outs[1], outs[2])
    head = model.head
    assert torch.allclose(outs[1], head.pre_logits(head.norm(maps.amax((2, 3)))))
    for pool in ('nearest', 'catavgmax'):
        with pytest.raises(ValueError, match='global_pool must be one of'):
            create(name, global_pool=pool)
    with pytest.raises(ValueError, match='a classifier needs pooling'):
        create(name, global_pool='', num_classes=5)


@families
def test_features_only_gives_maps_as_feature_info_says(name):
    x = images(channels=1)
    every = create(name, features_only=True, in_chans=1)
    assert len(every(x)) == 4
    depth = len(every.feature_info)
    for indices, stages in (((1, 3), (1, 3)), ((-1, 0), (0, depth - 1)),
                            (2, (depth - 2, depth - 1))):
        model = create(name, features_only=True, out_indices=indices, in_chans=1)
        info = model.feature_info
        assert tuple(info.out_indices) == stages
        outs = model(x)
        assert [out.shape[1] for out in outs] == info.channels()
        assert [-(-32 // reduction) for reduction in info.reduction()] == [
            out.shape[2] for out in outs] == [out.shape[3] for out in outs]
        for module in info.module_name():
            model.get_submodule(module)
    assert not any(param.requires_grad is False for param in every.parameters())


@families
def test_dropout_and_stochastic_depth_go_where_timm_has_them(name):
    model = create(name, drop_rate=0.3, drop_path_rate=0.2, proj_drop_rate=0.1)
    assert model.head.drop.p == model.drop_rate == 0.3
    rates = {module.drop_prob for module in model.backbone.modules()
             if type(module).__name__ == 'DropPath'}
    assert max(rates) == pytest.approx(0.2) and min(rates) == 0
    assert {module.p for module in model.backbone.modules() if isinstance(module, torch.nn.Dropout)
            and module.p} == {0.1}


@families
def test_gradient_checkpointing_changes_no_gradient(name):
    model, x = create(name).train(), images()
    grads = []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        assert model.backbone.with_cp == enable
        model.zero_grad()
        torch.manual_seed(0)
        model(x).square().mean().backward()
        grads.append({key: param.grad.clone() for key, param in model.named_parameters()})
    for key, grad in grads[0].items():
        torch.testing.assert_close(grads[1][key], grad, rtol=1e-4, atol=1e-6)


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


@families
def test_what_the_configs_do_not_decay_timm_does_not_either(name):
    model = create(name)
    groups = optim_factory.param_groups_weight_decay(
        model, 0.1, no_weight_decay_list=model.no_weight_decay())
    assert {group['weight_decay'] for group in groups} == {0., 0.1}
    spared = {id(param) for group in groups for param in group['params']
              if not group['weight_decay']}
    names = {key for key, param in model.named_parameters() if id(param) in spared
             and param.ndim > 1}
    expected = dict(lkca_0p5m={'pos_embed'}, mcganet_base={'tokens'}).get(name, set())
    assert {key.rsplit('.', 1)[-1] for key in names} == expected


def test_weights_that_are_not_published_are_refused():
    with pytest.raises(RuntimeError, match='of linglo_b0 are published.*checkpoint_path'):
        timm.create_model('linglo_b0', pretrained=True)


def test_options_of_the_backbone_are_taken():
    model = create('lkca_0p5m', img_size=48)
    assert model.backbone.pos_embed.shape[2:] == (12, 12)
    assert create('mcganet_base', num_groups=5).backbone.stages[0].blocks[0].mixer.tokens.shape[
        0] == 5


def test_building_a_model_logs_nothing(capfd):
    create('lkca_0p5m')
    assert capfd.readouterr() == ('', '')


def test_without_timm_the_import_says_what_to_install():
    code = 'import sys; sys.modules["timm"] = None; import mmvisionmix.timm_models'
    result = subprocess.run([sys.executable, '-c', code], stderr=subprocess.PIPE, text=True)
    assert 'mmvisionmix.timm_models needs timm: pip install timm' in result.stderr


@families
def test_folding_keeps_the_classes_and_folded_checkpoints_load(name, tmp_path):
    model, x = create(name), images()
    for param in model.parameters():
        torch.nn.init.normal_(param, std=0.05)
    expected = model(x)
    switch_to_deploy(model)
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'folded.pth')
    again = create(name, checkpoint_path=str(tmp_path / 'folded.pth'))
    torch.testing.assert_close(again(x), expected, rtol=1e-4, atol=1e-5)


@families
def test_weights_are_taken_for_other_classes_and_for_maps(name, tmp_path):
    theirs = classifier_of(name)
    torch.save(dict(state_dict=theirs.state_dict()), tmp_path / 'epoch_1.pth')
    given = dict(pretrained=True, pretrained_cfg_overlay=dict(file=str(tmp_path / 'epoch_1.pth')))
    model = create(name, num_classes=11, **given)
    assert model(images()).shape == (2, 11)
    maps = create(name, features_only=True, **given)
    for ours in (model, maps):
        for key, value in theirs.backbone.stem.state_dict().items():
            assert torch.equal(ours.backbone.stem.state_dict()[key], value)
        for key, value in theirs.backbone.stages.state_dict().items():
            assert torch.equal(ours.backbone.stages.state_dict()[key], value)


def test_the_example_of_the_page_does_what_it_says():
    page = (ROOT / 'docs/timm.md').read_text(encoding='utf-8')
    code = page.split('```python\n')[1].split('```')[0]
    found = {}
    exec(code, found)
    assert found['model'].num_classes == 10
    assert found['maps'].feature_info.channels() == [64, 128, 256]
    assert found['maps'].feature_info.reduction() == [8, 16, 32]
    for name in NAMES:
        assert f'`{name}`' in page
