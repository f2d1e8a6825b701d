# Copyright (c) mmvisionmix authors. All rights reserved.
"""Fine-tuning as docs/fine_tuning.md has it: its configs are read from the page."""
import re
import runpy
from argparse import Namespace
from copy import deepcopy
from pathlib import Path

import mmpretrain
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import AmpOptimWrapper, build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from mmpretrain.structures import DataSample
from PIL import Image
from test_apis import ROOT, build, config_file, read, save
from torch import nn
from train import apply_train_options, check_device

from demo_data import SceneRecipe, write_coco
from mmvisionmix.models import LinGlo, switch_to_deploy

PUBLISH = Path(mmpretrain.__file__).parent / '.mim/tools/model_converters/publish_model.py'
PAGE = (ROOT / 'docs/fine_tuning.md').read_text()
CONFIGS = dict(re.findall(r'```python\n# (\S+\.py)\n(.*?)```', PAGE, re.DOTALL))
WEIGHTS = 'work_dirs/linglo_b0_imagenet/epoch_300.pth'  # what these configs start from
# Backbones small enough to be trained here.
TINY = dict(
    DualFormer=dict(
        arch=dict(
            embed_dims=(8, 16, 24, 16), depths=(1, 2, 1, 1), reductions=(4, 2, 1, 1),
            mlp_ratios=(3, 2, 2, 2)),
        num_heads=2),
    LKCAViT=dict(arch=dict(embed_dims=16, num_layers=4, mlp_ratio=2), img_size=32, patch_size=8),
    LinGlo=dict(
        arch=dict(
            embed_dims=(8, 12, 24, 16), depths=(1, 2, 1, 1), num_heads=(1, 2, 4, 2),
            mlp_ratios=(3, 2, 2, 2))),
    MCGANet=dict(
        arch=dict(
            embed_dims=(8, 16, 16, 16), depths=(1, 2, 1, 1), num_heads=(1, 2, 4, 2),
            mlp_ratios=(3, 2, 2, 2))))
# Depth of each of their parameters but the stem's, where the blocks have the depths 1 to n.
DEPTHS = dict.fromkeys(TINY, {
    r'stages\.0\.': 1, r'stages\.1\.(downsample|blocks\.0)\.': 2, r'stages\.1\.blocks\.1\.': 3,
    r'stages\.2\.': 4, r'stages\.3\.': 5, r'norms\.3\.': 6})
DEPTHS['LKCAViT'] = {
    r'stages\.0\.': 1, r'stages\.1\.': 2, r'stages\.2\.': 3, r'stages\.3\.': 4, r'norms\.3\.': 5}
STEM = dict.fromkeys(TINY, r'stem\.')
STEM['LKCAViT'] = r'stem\.|pos_embed'
# A dense network, and the classifier that its backbone starts from.
FINE_TUNED = {
    'retinanet_linglo_b0_coco': 'linglo_b0_imagenet',
    'fpn_mcganet_ade20k': 'mcganet_imagenet',
    'upernet_dualformer_s_ade20k': 'dualformer/dualformer-s_8xb128-300e_in1k',
}
backbones = pytest.mark.parametrize('name', TINY)


def tiny_classifier(name, **kwargs):
    cfg = dict(
        type='ImageClassifier',
        backbone=dict(type=f'mmvisionmix.{name}', out_indices=-1, **TINY[name], **kwargs),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(
            type='LinearClsHead', num_classes=3, in_channels=16,
            loss=dict(type='CrossEntropyLoss')))
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg)
    model.init_weights()
    return model


def tiny_backbone(name, **kwargs):
    return MODELS.build(dict(type=f'mmvisionmix.{name}', **TINY[name], **kwargs))


def detector(dims):
    model = deepcopy(read(config_file('retinanet_linglo_b0_coco')).model)
    head = dict(model.bbox_head, num_classes=2, in_channels=8, feat_channels=8, stacked_convs=1)
    head['anchor_generator'].strides = [4, 8, 16, 32]
    return dict(
        type='RetinaNet', bbox_head=head, train_cfg=model.train_cfg, test_cfg=model.test_cfg,
        neck=dict(type='FPN', in_channels=dims, out_channels=8, num_outs=4))


def tiny_detector(name):
    dims = [16] * 4 if name == 'LKCAViT' else list(TINY[name]['arch']['embed_dims'])
    backbone = dict(type=f'mmvisionmix.{name}', out_indices=(0, 1, 2, 3), **TINY[name])
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(dict(backbone=backbone, **detector(dims)))
    model.init_weights()
    return model


def random_classifier(name):
    """Its weights and statistics are far from those of a new network."""
    model = tiny_classifier(name)
    for key, value in model.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape) + 0.5 if 'var' in key else
                        torch.randn(value.shape) * 0.3)
    return model.eval()


def filled(name, file, prefix='backbone.', **kwargs):
    """A backbone for dense networks that starts from a file."""
    init_cfg = dict(type='Pretrained', checkpoint=str(file), prefix=prefix)
    backbone = tiny_backbone(name, out_indices=(0, 1, 2, 3), init_cfg=init_cfg, **kwargs)
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


def test_a_detector_fills_a_backbone_too(tmp_path):
    model = tiny_detector('MCGANet')
    torch.save(model.state_dict(), tmp_path / 'model.pth')
    state = filled('MCGANet', tmp_path / 'model.pth').state_dict()
    assert state.keys() == model.backbone.state_dict().keys()
    for key, value in model.backbone.state_dict().items():
        assert torch.equal(state[key], value), key


@pytest.mark.parametrize('prefix, wanted', ((None, 'backbone.'), ('backbone.', 'None'),
                                            ('module.backbone.', 'None')))
def test_prefix_that_would_serve_is_named(tmp_path, prefix, wanted):
    classifier = random_classifier('LinGlo')
    model = classifier.backbone if wanted == 'None' else classifier
    torch.save(model.state_dict(), tmp_path / 'model.pth')
    with pytest.raises(ValueError, match=rf'Set model\.backbone\.init_cfg\.prefix={wanted}$'):
        filled('LinGlo', tmp_path / 'model.pth', prefix)


@backbones
def test_a_folded_classifier_is_refused(tmp_path, name):
    classifier = random_classifier(name)
    switch_to_deploy(classifier)
    torch.save(dict(state_dict=classifier.state_dict()), tmp_path / 'folded.pth')
    with pytest.raises(ValueError, match='reparameterize.py'):
        filled(name, tmp_path / 'folded.pth')


def test_a_network_of_another_size_is_named_weight_by_weight(tmp_path, monkeypatch):
    """MMEngine goes on; what does not fit stays as initialised."""
    torch.save(LinGlo('b1', out_indices=-1).state_dict(), tmp_path / 'b1.pth')
    backbone = LinGlo('b0', init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'b1.pth')))
    messages = []
    monkeypatch.setattr('mmengine.runner.checkpoint.print_log',
                        lambda message, *args, **kwargs: messages.append(message))
    backbone.init_weights()
    warning, = [message for message in messages if 'size mismatch' in message]
    assert 'size mismatch for stem.conv.weight: copying a param with shape' in warning
    assert 'missing keys in source state_dict: norms.0.weight' in warning
    assert backbone.stem.conv.weight.std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize('name', FINE_TUNED)
def test_a_classifier_fills_the_backbone_of_a_dense_network(tmp_path, name):
    classifier, cfg = build(FINE_TUNED[name])
    torch.manual_seed(1)
    for value in classifier.backbone.state_dict().values():
        value.copy_(torch.rand(value.shape) * 10)
    weights = save(classifier, cfg, tmp_path / 'classifier.pth')
    cfg = deepcopy(read(config_file(name)))
    cfg.merge_from_dict({'model.backbone.init_cfg.checkpoint': weights})
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        backbone = MODELS.build(cfg.model.backbone)
    backbone.init_weights()
    assert_filled(backbone, classifier.backbone.state_dict())


class Recorder(Hook):
    """Keeps the weights after each step, and what validation gives."""
    priority = 'VERY_HIGH'  # before they are averaged

    def __init__(self):
        self.weights, self.scores = [], []

    def after_train_iter(self, runner, *args, **kwargs):
        self.weights.append(
            {key: value.clone() for key, value in runner.model.state_dict().items()})

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.scores.append(torch.stack([sample.pred_score for sample in outputs]))


@backbones
def test_averaged_weights_are_validated_saved_and_start_a_backbone(tmp_path, name):
    """Two epochs of one step. Of a checkpoint, mmpretrain's tool publishes either weights."""
    images = torch.randn(4, 3, 32, 32)
    loader = dict(
        batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=[dict(inputs=image, data_samples=DataSample().set_gt_label(i % 3))
                 for i, image in enumerate(images)])
    recorder = Recorder()
    runner = Runner(
        tiny_classifier(name), str(tmp_path), default_scope='mmpretrain', experiment_name=name,
        train_dataloader=loader, val_dataloader=loader, val_cfg=dict(),
        val_evaluator=dict(type='Accuracy'), train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=1.)), randomness=dict(seed=0),
        custom_hooks=[recorder, dict(type='EMAHook', momentum=0.25)])
    runner.train()
    first, last = recorder.weights
    file = str(tmp_path / 'epoch_2.pth')
    averages = torch.load(file, map_location='cpu')['state_dict']
    parameters = dict(runner.model.named_parameters())
    for key, value in averages.items():  # statistics are not averaged
        wanted = 0.75 * first[key] + 0.25 * last[key] if key in parameters else last[key]
        torch.testing.assert_close(value, wanted)
        assert torch.equal(runner.model.state_dict()[key], last[key])
    assert any((first[key] != last[key]).any() for key in parameters)
    assert len(recorder.scores) == 2
    for scores, weights in zip(recorder.scores, (first, averages)):
        model = tiny_classifier(name).eval()
        model.load_state_dict(weights)
        expected = model(images, mode='tensor').softmax(1)
        torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)

    publish = runpy.run_path(str(PUBLISH))['process_checkpoint']
    for no_ema in (False, True):
        publish(file, str(tmp_path / str(no_ema)), Namespace(no_ema=no_ema, dataset_type=None))
    with_averages, = tmp_path.glob('False_*.pth')
    without, = tmp_path.glob('True_*.pth')
    for path, state in ((file, averages), (with_averages, averages), (without, last)):
        assert_filled(filled(name, path), {
            key[len('backbone.'):]: value for key, value in state.items()
            if key.startswith('backbone.')})


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
    """Keeps the weights that training starts from."""

    def before_train(self, runner):
        self.weights = deepcopy(runner.model.backbone.state_dict())


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
    start, recorder = Start(), Recorder()
    runner.register_custom_hooks([start, recorder])
    runner.train()
    for key, value in classifier_weights.items():
        assert torch.equal(start.weights[key], value), key
    assert recorder.scores[0].shape == (3, 3)
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


def losses(model):
    """The sum of the losses of two random images."""
    generator = torch.Generator().manual_seed(0)
    meta = dict.fromkeys(('img_shape', 'batch_input_shape', 'pad_shape'), (64, 64))
    boxes = torch.tensor([[8., 8., 40., 40.]])
    samples = [DetDataSample(metainfo=meta, gt_instances=InstanceData(
        bboxes=boxes, labels=torch.tensor([label]))) for label in range(2)]
    images = torch.randn(2, 3, 64, 64, generator=generator)
    return model.parse_losses(model(images, samples, mode='loss'))[0]


@backbones
def test_detector_learns_in_bfloat16_as_in_float32(page_config, monkeypatch, name):
    """With the wrapper that --amp makes, which is built as if there were a GPU."""
    monkeypatch.setattr(
        'mmengine.optim.optimizer.amp_optimizer_wrapper.is_cuda_available', lambda: True)
    cfg = deepcopy(read(page_config('detector.py')))
    cfg.merge_from_dict({'optim_wrapper.dtype': 'bfloat16'})
    apply_train_options(cfg, Namespace(amp=True, auto_scale_lr=False))
    monkeypatch.setattr('train.get_device', lambda: 'cpu')
    with pytest.raises(SystemExit, match="needs a GPU, and torch finds none, but 'cpu'"):
        check_device(cfg)
    model = tiny_detector(name).train()
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    assert type(wrapper) is AmpOptimWrapper

    losses(model).backward()
    expected = {key: value.grad for key, value in model.named_parameters()}
    wrapper.zero_grad()
    precisions = set()
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda layer, args, out: precisions.add(out.dtype))
    with wrapper.optim_context(model):
        loss = losses(model)
    wrapper.backward(loss)
    assert precisions == {torch.bfloat16}
    for key, value in model.named_parameters():
        assert value.grad.dtype == torch.float32 and value.grad.isfinite().all(), key
    one, other = (torch.cat([grad.flatten() for grad in grads]) for grads in (
        expected.values(), [value.grad for value in model.parameters()]))
    assert nn.functional.cosine_similarity(one, other, 0) > 0.98


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
    assert re.search(r'Distributed training is not used, all SyncBatchNorm \(SyncBN\) layers in '
                     r'the model will be automatically reverted', out)
    assert 'starts from scratch' not in out and 'size mismatch' not in out
    missing, = set(re.findall('missing keys in source state_dict: (.*)', out))
    assert missing == 'norms.1.weight, norms.1.bias, norms.2.weight, norms.2.bias'
    saved = torch.load(tmp_path / 'work_dirs/detector/epoch_1.pth', map_location='cpu')
    rates = sorted({group['initial_lr'] for group in saved['optimizer']['param_groups']})
    # The 8 blocks of stages 1 to 3, and what follows them; the stem and stage 0 are frozen.
    assert rates == pytest.approx([1e-4 / 8 * 0.8**steps for steps in range(8, -1, -1)])
    averages, last = saved['state_dict'], saved['ema_state_dict']
    for key, value in classifier_weights.items():
        rests = key.startswith(('stem.', 'stages.0.')) or 'running' in key
        rests |= key.endswith('num_batches_tracked')
        assert torch.equal(averages[f'backbone.{key}'], value) == rests, key
        assert torch.equal(last[f'module.backbone.{key}'], value) == rests, key
        assert rests or (averages[f'backbone.{key}'] != last[f'module.backbone.{key}']).any()
