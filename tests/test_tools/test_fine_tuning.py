# Copyright (c) mmvisionmix authors. All rights reserved.
"""Fine-tuning as docs/fine_tuning.md has it: its configs are read from the page."""
import re
from copy import deepcopy

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from PIL import Image
from test_apis import ROOT, build, config_file, read, save
from test_models.small_backbones import SMALL
from torch import nn

from demo_data import SceneRecipe, write_coco

PAGE = (ROOT / 'docs/fine_tuning.md').read_text()
CONFIGS = dict(re.findall(r'```python\n# (\S+\.py)\n(.*?)```', PAGE, re.DOTALL))
WEIGHTS = 'work_dirs/linglo_b0_imagenet/epoch_300.pth'  # what these configs start from
# Depth of each of their parameters but the stem's, where the blocks have the depths 1 to n.
DEPTHS = dict.fromkeys(SMALL, {
    r'stages\.0\.': 1, r'stages\.1\.(downsample|blocks\.0)\.': 2, r'stages\.1\.blocks\.1\.': 3,
    r'stages\.2\.': 4, r'stages\.3\.': 5, r'norms\.3\.': 6})
DEPTHS['LKCAViT'] = {
    r'stages\.0\.': 1, r'stages\.1\.': 2, r'stages\.2\.': 3, r'stages\.3\.': 4, r'norms\.3\.': 5}
STEM = dict.fromkeys(SMALL, r'stem\.')
STEM['LKCAViT'] = r'stem\.|pos_embed'
backbones = pytest.mark.parametrize('name', SMALL)


def widths(name):
    dims = SMALL[name]['arch']['embed_dims']
    return [dims] * 4 if name == 'LKCAViT' else list(dims)


def tiny_backbone(name, **options):
    return {'type': f'mmvisionmix.{name}', **SMALL[name], **options}


def tiny_classifier(name):
    cfg = dict(
        type='ImageClassifier', backbone=tiny_backbone(name, out_indices=-1),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(
            type='LinearClsHead', num_classes=3, in_channels=widths(name)[-1],
            loss=dict(type='CrossEntropyLoss')))
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg)
    model.init_weights()
    return model


def tiny_detector(name):
    cfg = read(config_file('retinanet_linglo_b0_coco')).model
    head = dict(cfg.bbox_head, num_classes=2, in_channels=8, feat_channels=8, stacked_convs=1)
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(dict(
            type='RetinaNet', backbone=tiny_backbone(name, out_indices=(0, 1, 2, 3)),
            neck=dict(type='FPN', in_channels=widths(name), out_channels=8, num_outs=4),
            bbox_head=head, train_cfg=cfg.train_cfg, test_cfg=cfg.test_cfg))


def random_classifier(name):
    """Its weights and statistics are far from those of a new network."""
    model = tiny_classifier(name)
    for key, value in model.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape) + 0.5 if 'var' in key else
                        torch.randn(value.shape) * 0.3)
    return model.eval()


def filled(name, file, prefix):
    """A backbone for dense networks that starts from a file."""
    init_cfg = dict(type='Pretrained', checkpoint=str(file), prefix=prefix)
    backbone = MODELS.build(tiny_backbone(name, out_indices=(0, 1, 2, 3), init_cfg=init_cfg))
    backbone.init_weights()
    return backbone


def assert_filled(backbone, weights):
    """All of a classifier's backbone is used, the norm of the last stage too.

    What stays as initialised are the norms of earlier stages, whose maps a classifier does not
    give and so does not normalise.
    """
    state = backbone.state_dict()
    for key, value in weights.items():
        assert torch.equal(state.pop(key), value), key
    earlier = [i for i in backbone.out_indices if i < 3]
    assert sorted(state) == [f'norms.{i}.{key}' for i in earlier for key in ('bias', 'weight')]
    for key, value in state.items():
        assert (value == key.endswith('weight')).all()


@backbones
@pytest.mark.parametrize('prefix', ('backbone.', 'backbone', None, ''))
def test_weights_are_found_with_and_without_prefix(tmp_path, name, prefix):
    classifier = random_classifier(name)
    model = classifier if prefix else classifier.backbone
    torch.save(model.state_dict(), tmp_path / 'model.pth')
    assert_filled(filled(name, tmp_path / 'model.pth', prefix), classifier.backbone.state_dict())


@pytest.mark.parametrize('prefix, wanted', ((None, 'backbone.'), ('backbone.', 'None'),
                                            ('module.backbone.', 'None')))
def test_prefix_that_would_serve_is_named(tmp_path, prefix, wanted):
    classifier = random_classifier('LinGlo')
    model = classifier.backbone if wanted == 'None' else classifier
    torch.save(model.state_dict(), tmp_path / 'model.pth')
    with pytest.raises(ValueError, match=rf'Set model\.backbone\.init_cfg\.prefix={wanted}$'):
        filled('LinGlo', tmp_path / 'model.pth', prefix)


@pytest.fixture(scope='module')
def page_config(tmp_path_factory):
    """Gives the file of a config of the page."""
    folder = tmp_path_factory.mktemp('page')
    for name, text in CONFIGS.items():
        (folder / name).write_text(text)
    return lambda name: str(folder / name)


@pytest.fixture
def classifier_weights(tmp_path):
    """A checkpoint of LinGlo-b0 where configs of the page expect it; its backbone's weights."""
    model, cfg = build('linglo_b0_imagenet')
    torch.manual_seed(1)
    for value in model.backbone.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape) * 0.1)
    (tmp_path / WEIGHTS).parent.mkdir(parents=True)
    save(model, cfg, tmp_path / WEIGHTS)
    return model.backbone.state_dict()


class Start(Hook):
    """Keeps the weights that training starts from, and the scores of validation."""

    def before_train(self, runner):
        self.weights = deepcopy(runner.model.backbone.state_dict())

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.scores = torch.stack([sample.pred_score for sample in outputs])


def test_classifier_of_the_page_learns_other_classes(
        tmp_path, monkeypatch, page_config, classifier_weights):
    monkeypatch.chdir(tmp_path)
    cfg = Config.fromfile(page_config('flowers.py'))
    classes = ('daisy', 'rose', 'tulip')
    for split in ('train', 'val'):
        for index, name in enumerate(classes):
            folder = tmp_path / 'data/flowers' / split / name
            folder.mkdir(parents=True)
            Image.new('RGB', (80, 64), (80 * index, 99, 99)).save(folder / 'image.jpg')
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(num_workers=0, persistent_workers=False, batch_size=3)
    cfg.train_dataloader.dataset.pipeline[1].scale = 64
    cfg.val_dataloader.dataset.pipeline[2].crop_size = 64
    cfg.merge_from_dict(dict(train_cfg=dict(max_epochs=1), work_dir='work'))
    runner = Runner.from_cfg(cfg)
    start = Start()
    runner.register_custom_hooks([start])
    runner.train()
    for key, value in classifier_weights.items():
        assert torch.equal(start.weights[key], value), key
    assert start.scores.shape == (3, 3)
    assert torch.load('work/epoch_1.pth')['meta']['dataset_meta']['classes'] == classes
    groups = runner.optim_wrapper.optimizer.param_groups
    rates = sorted({group['initial_lr'] for group in groups}, reverse=True)
    assert rates == pytest.approx([2e-4 * 0.8**i for i in range(12)])  # 10 blocks


@pytest.mark.parametrize('scope, constructor', (
    ('mmpretrain', 'LearningRateDecayOptimWrapperConstructor'),
    ('mmpretrain', 'mmvisionmix.LayerDecayOptimWrapperConstructor'),
    ('mmdet', 'mmvisionmix.LayerDecayOptimWrapperConstructor')))
@backbones
def test_learning_rate_decays_from_the_head_to_the_stem(scope, constructor, name):
    """By mmpretrain's constructor in classifiers, by ours in models of any task."""
    model = tiny_classifier(name) if scope == 'mmpretrain' else tiny_detector(name)
    rules = dict(layer_decay_rate=0.5, norm_decay_mult=0.)
    if constructor.startswith('mmvisionmix'):
        rules['custom_keys'] = {'head': dict(lr_mult=10.)}
    with DefaultScope.overwrite_default_scope(scope):
        groups = build_optim_wrapper(model, dict(
            optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05), constructor=constructor,
            paramwise_cfg=rules)).optimizer.param_groups
    top = max(DEPTHS[name].values())
    patterns = {STEM[name]: 0, r'norms\.': top, **DEPTHS[name]}
    groups = {id(group['params'][0]): group for group in groups}
    seen = set()
    for key, parameter in model.named_parameters():
        depth = next((depth for pattern, depth in patterns.items()
                      if re.match(rf'backbone\.({pattern})', key)), top)
        wanted = 1e-3 * 0.5**(top - depth) * (10 if 'head' in key and 'custom_keys' in rules else 1)
        assert groups[id(parameter)]['lr'] == pytest.approx(wanted), key
        seen.add(depth)
    assert seen == set(range(top + 1)) and len(groups) == len(list(model.parameters()))
    assert groups[id(model.backbone.norms['3'].weight)]['weight_decay'] == 0


def test_learning_rate_decay_needs_a_backbone_of_ours():
    with pytest.raises(ValueError, match='has no backbone of mmvisionmix'):
        build_optim_wrapper(nn.Sequential(nn.Linear(1, 1)), dict(
            optimizer=dict(type='SGD', lr=1.),
            constructor='mmvisionmix.LayerDecayOptimWrapperConstructor',
            paramwise_cfg=dict(layer_decay_rate=0.5)))


def test_detector_of_the_page_trains_by_our_tool(
        run_tool, tmp_path, page_config, classifier_weights):
    """Batches of 2 where 16 are expected, on a CPU, with norms that want a GPU per process."""
    write_coco(tmp_path / 'data', SceneRecipe(size=128, train=4, val=2))
    options = [f'{loader}_dataloader.{option}' for loader in ('train', 'val') for option in (
        'dataset.data_root=data', 'num_workers=0', 'persistent_workers=False')]
    out = run_tool(
        ROOT / 'tools/train.py', page_config('detector.py'), '--auto-scale-lr', '--cfg-options',
        *options, 'train_cfg.max_epochs=1', 'train_cfg.val_interval=2',
        'train_dataloader.dataset.pipeline.2.scale="(64,64)"',
        'val_evaluator.ann_file=data/annotations/instances_val2017.json',
        'param_scheduler.0.start_factor=0.5', 'custom_hooks.0.momentum=0.5',
        'model.backbone.norm_cfg.type=SyncBN', cwd=tmp_path)
    assert ('LR is set based on batch size of 16 and the current batch size is 2. '
            'Scaling the original LR by 0.125') in out
    assert 'starts from scratch' not in out and 'size mismatch' not in out
    saved = torch.load(tmp_path / 'work_dirs/detector/epoch_1.pth', map_location='cpu')
    rates = sorted({group['initial_lr'] for group in saved['optimizer']['param_groups']})
    # The 8 blocks of stages 1 to 3, and what follows them; the stem and stage 0 are frozen.
    assert rates == pytest.approx([1e-4 / 8 * 0.8**steps for steps in range(8, -1, -1)])
    for key, value in classifier_weights.items():
        rests = key.startswith(('stem.', 'stages.0.')) or 'running' in key
        rests |= key.endswith('num_batches_tracked')
        assert torch.equal(saved['state_dict'][f'backbone.{key}'], value) == rests, key
