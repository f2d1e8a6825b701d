# Copyright (c) mmvisionmix authors. All rights reserved.
"""Every config file is held to the same rules, and builds."""
import ast
import math
import re
from collections import Counter
from copy import deepcopy
from functools import lru_cache
from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config, ConfigDict
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS, DefaultScope

from mmvisionmix.complexity import count_complexity

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
FILES = sorted(file for file in CONFIGS.rglob('*.py') if '_base_' not in file.parts)
ENTRIES = sorted(CONFIGS.glob('*.py'))
METAFILES = sorted(CONFIGS.glob('*/metafile.yml'))
ROWS = [row for file in METAFILES for row in yaml.safe_load(file.read_text())['Models']]
# Runs of Tables VI and VII in thousands of iterations.
LENGTHS = {
    'vit-b_upernet': (2, 4, 8, 16), 'lkca-b_upernet': (2, 4, 8, 16),
    **dict.fromkeys((
        'vit-s_upernet', 'r50_upernet', 'twins-pcpvt-s_upernet', 'swin-s_upernet',
        'lkca-s_upernet', 'vit-s_fpn', 'twins-pcpvt-s_fpn', 'lkca-s_fpn'), (10, 20)),
}
SIZES = ('0.5m', '1m', '2m', '2.69m', '4m', '8m')
# Networks of Tables I-V on each data set.
CLASSIFIERS = {
    'cifar10': SIZES, 'cifar100': SIZES, 'tiny-imagenet': SIZES, 'svhn': ('1m', '2.69m')}
LINGLO = CONFIGS / 'linglo'
# What Sections 5.1 to 5.4 change in LinGlo-b0.
ABLATIONS = {
    'b0-cchh': dict(layout='cchh'),
    'b0-chhh': dict(layout='chhh'),
    'b0-dot-product': dict(attention='dot-product'),
    'b0-cpe': dict(encoding='cpe'),
    'b0-r-cpe': dict(encoding='r-cpe'),
    'b0-p-cpe': dict(encoding='p-cpe'),
    'b0-wo-c': dict(encoding=None, patch_sizes=(4, 2, 2, 2), absolute_pos=True),
    'wo-ch': dict(
        arch='w/o-ch', encoding=None, patch_sizes=(16, 1, 1, 1), absolute_pos=True),
}
LINGLO_TASKS = ('retinanet_8xb2-1x_coco', 'fpn_4xb8-40k_ade20k-512x512')
DUALFORMER = CONFIGS / 'dualformer'
# What Tables 5 and 6 change in DualFormer-XS.
DUALFORMER_ABLATIONS = {
    'wo-conv': dict(mixing='attention'),
    'wo-conv-intra': dict(mixing='attention', paths=('intra', )),
    'wo-conv-inter': dict(mixing='attention', paths=('inter', )),
    'serial': dict(mixing='serial'),
    'serial-equal': dict(mixing='serial', arch=dict(
        embed_dims=(64, 128, 288, 344), depths=(2, 2, 4, 2), reductions=(4, 2, 1, 1),
        mlp_ratios=(8, 8, 4, 4))),
    'shared-partition': dict(share_partition=True),
    'k-means': dict(partition='k-means'),
}
DUALFORMER_SIZES = ('t', 'xs', 's', 'b')
# The size that the others are configured after, by task, and stochastic depth of larger ones.
DUALFORMER_TASKS = {
    '8xb128-300e_in1k': ('xs', dict(s=0.05, b=0.3)),
    'mask-rcnn_8xb2-1x_coco': ('xs', dict(s=0.2, b=0.4)),
    'mask-rcnn_8xb2-ms-3x_coco': ('xs', dict(s=0.2, b=0.4)),
    'upernet_8xb4-80k_ade20k-512x512': ('s', dict(b=0.4)),
}
DENSE = [file for paper in ('linglo', 'mcganet', 'dualformer')
         for file in sorted((CONFIGS / paper).glob('*.py')) if '_in1k' not in file.stem]
# What papers say of their training on ImageNet: learning rate, steps between loading and packing,
# epochs of warm-up and of all.
RANDAUGMENT = ['RandomResizedCrop', 'RandomFlip', 'RandAugment']
ON_IMAGENET = {
    'linglo/linglo-b0_8xb128-300e_in1k': (1e-3, [*RANDAUGMENT[:2], 'RandomErasing'], 5, 300),
    'linglo/linglo-b0_8xb128-100e_in1k': (1e-3, [*RANDAUGMENT[:2], 'RandomErasing'], 3, 100),
    'mcganet/mcganet_8xb128-300e_in1k': (1e-3, [*RANDAUGMENT, 'RandomErasing'], 5, 300),
    'dualformer/dualformer-xs_8xb128-300e_in1k': (5e-4, [*RANDAUGMENT, 'RandomErasing'], 5, 300),
}
load = lru_cache(maxsize=None)(Config.fromfile)


def build_model(model, scope='mmseg'):
    with DefaultScope.overwrite_default_scope(scope):
        return revert_sync_batchnorm(MODELS.build(deepcopy(model)))


@lru_cache(maxsize=None)
@torch.no_grad()
def run_model(model, scope):
    """Runs a network as far as its heads, without values; configs that share it run it once."""
    config = ConfigDict(ast.literal_eval(model))
    # mmpretrain's Swin takes no map that is smaller than its windows; timm's CaiT has one size.
    size = 2 * (config.get('img_size', 224), ) if scope == 'mmpretrain' else (64, 96)
    network, image = build_model(config, scope).eval().to('meta'), torch.rand(
        1, 3, *size, device='meta')
    if hasattr(network, 'roi_head'):  # proposals need values
        return len(network.rpn_head(network.extract_feat(image)))
    if hasattr(network, 'panoptic_head'):  # which asks data samples for sizes
        return len(network.extract_feat(image))
    return len(network(image, mode='tensor'))


def is_comparison(file):
    """Whether a config is of a network that a paper compares its own with."""
    paper = file.parent
    if paper.name in ('toy', 'real', 'tasks'):
        return file.name.startswith(('vit', 'resnet', 'r18', 'pvtv2', 'mit'))
    return paper != CONFIGS and not file.name.startswith(paper.name)


def recipe_name(file):
    """The name of a config, or of the one that an entry recipe stands for."""
    if file in ENTRIES:
        file = Path(re.search(r"'(.+)'", file.read_text()).group(1))
    return file.stem


def without_model(cfg):
    return {key: value for key, value in cfg.to_dict().items() if key != 'model'}


def optimizer_of(cfg):
    optimizer = cfg.optim_wrapper.optimizer
    return optimizer.type, optimizer.lr, optimizer.weight_decay


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.stem)
def test_config_builds_and_is_what_its_name_says(file):
    cfg = load(file)
    assert 'custom_imports' not in cfg
    backbone = cfg.model.get('backbone', cfg.model)  # timm's networks have none
    assert backbone.type.startswith('mmvisionmix.') != is_comparison(file)
    assert run_model(repr(cfg.model.to_dict()), cfg.default_scope)

    batch = cfg.train_dataloader.batch_size
    named = re.search(r'_(\d+)xb(\d+)-', recipe_name(file))
    gpus = int(named.group(1)) if named else 1
    assert batch == (int(named.group(2)) if named else batch)
    assert cfg.auto_scale_lr.base_batch_size == gpus * batch

    length = cfg.train_cfg.get('max_iters', cfg.train_cfg.get('max_epochs'))
    schedulers = cfg.param_scheduler
    assert (schedulers if isinstance(schedulers, dict) else schedulers[-1]).end == length
    named = re.search(r'-(\d+)(k|e|x)[_-]', recipe_name(file))
    if named:
        assert length == int(named.group(1)) * dict(k=1000, e=1, x=12)[named.group(2)]


def test_basenames_are_unique_and_entry_recipes_one_line():
    """`mim train` finds configs by basename and refuses duplicates."""
    counts = Counter(file.name for file in FILES)
    assert not [name for name, count in counts.items() if count > 1]
    for file in ENTRIES:
        assert re.fullmatch(r"_base_ = '\./\w+/[\w.-]+\.py'\n", file.read_text()), file


@pytest.mark.parametrize('row', [
    pytest.param(row, id=row['Name'], marks=pytest.mark.xdist_group(Path(row['Config']).parts[1]))
    for row in ROWS])
def test_metafile_gives_the_computed_parameters_and_macs(row):
    assert row['Name'] == Path(row['Config']).stem
    counting = 'convolution' if 'ade20k' in row['Name'] else 'literal'
    computed = count_complexity(load(CONFIGS.parent / row['Config']), counting)
    assert row['Metadata']['Parameters'] == computed.parameters
    assert row['Metadata']['FLOPs'] == computed.macs


def test_published_figures_of_metafiles_are_those_of_the_readmes():
    lines = [line for file in METAFILES for line in file.with_name('README.md').read_text(
        encoding='utf-8').splitlines() if '.py)' in line]
    for row in ROWS:
        for figure in re.findall(r' ([\d.]+)', row['Metadata'].get('Published', '')):
            assert any(f'{row["Name"]}.py)' in line and figure in line for line in lines), row


def test_model_index_lists_every_metafile_and_every_config_of_a_paper():
    index = yaml.safe_load((CONFIGS.parent / 'model-index.yml').read_text())['Import']
    assert index == [str(file.relative_to(CONFIGS.parent)) for file in METAFILES]
    papers = [file for folder in METAFILES for file in folder.parent.glob('*.py')]
    assert sorted(row['Name'] for row in ROWS) == sorted(file.stem for file in papers)


@pytest.mark.parametrize('network', LENGTHS)
def test_rows_of_tables_6_and_7_are_trained_from_scratch_and_measured_as_in_the_paper(network):
    for length in LENGTHS[network]:
        cfg = load(CONFIGS / f'lkca/{network}_1xb16-{length}k_ade20k-512x512.py')
        assert not cfg.model.get('pretrained') and not cfg.model.backbone.get('init_cfg')
        assert cfg.load_from is None and cfg.val_evaluator == cfg.test_evaluator
        assert cfg.val_evaluator.type == 'mmvisionmix.TopKIoUMetric'
        assert cfg.val_evaluator.top_k == 10
        warm_up, decay = cfg.param_scheduler
        assert warm_up.end == decay.begin == min(1500, 100 * length)


@pytest.mark.parametrize('data', CLASSIFIERS)
def test_rows_of_tables_1_to_5_share_the_recipe_of_the_paper(data):
    files = {file.stem.partition('_')[0]: file
             for file in (CONFIGS / 'lkca').glob(f'*_1xb128-100e_{data}.py')}
    assert {f'{kind}-{size}' for kind in ('lkca', 'vit') for size in CLASSIFIERS[data]} < set(files)
    reference = load(files['lkca-2.69m'])
    assert optimizer_of(reference) == ('AdamW', 1e-3, 0.05)
    assert reference.param_scheduler[0].end == 10
    steps = {step.type: step for step in reference.train_dataloader.dataset.pipeline}
    assert {'RandomCrop', 'RandomFlip', 'AutoAugment'} <= set(steps)
    erasing = steps['RandomErasing']
    assert (erasing.erase_prob, erasing.max_area_ratio, erasing.aspect_range) == (.25, .4, .3)
    assert [augment.type for augment in reference.model.train_cfg.augments] == ['Mixup', 'CutMix']
    assert reference.model.head.loss.type == 'LabelSmoothLoss'
    for cfg in map(load, files.values()):
        head = cfg.model.get('head', cfg.model)
        assert without_model(cfg) == without_model(reference)
        assert cfg.model.train_cfg == reference.model.train_cfg
        assert head.loss == reference.model.head.loss
        assert head.num_classes == cfg.data_preprocessor.num_classes


@pytest.mark.parametrize('name', ON_IMAGENET)
def test_networks_are_trained_on_imagenet_as_in_their_papers(name):
    cfg = load(CONFIGS / f'{name}.py')
    rate, augmentation, warm_up, length = ON_IMAGENET[name]
    assert optimizer_of(cfg) == ('AdamW', rate, 0.05)
    linear, cosine = cfg.param_scheduler[:2]
    assert (linear.type, cosine.type) == ('LinearLR', 'CosineAnnealingLR')
    assert linear.by_epoch and linear.convert_to_iter_based and cosine.by_epoch
    assert linear.end == cosine.begin == warm_up and cfg.train_cfg.max_epochs == length
    loading, *steps, packing = cfg.train_dataloader.dataset.pipeline
    assert [step.type for step in steps] == augmentation
    assert steps[0].scale == cfg.test_dataloader.dataset.pipeline[2].crop_size == 224
    assert [augment.type for augment in cfg.model.train_cfg.augments] == ['Mixup', 'CutMix']
    assert cfg.model.head.loss.label_smooth_val == 0.1
    assert (cfg.train_dataloader.sampler.type == 'RepeatAugSampler') != name.startswith('mcganet')


def test_learning_rate_of_dualformer_warms_up_anneals_and_cools_down():
    """5 linear epochs, 285 along a cosine and 10 at its end: Section 4.1."""
    cfg = load(DUALFORMER / 'dualformer-xs_8xb128-300e_in1k.py')
    optimizer = torch.optim.SGD([torch.zeros(1)], cfg.optim_wrapper.optimizer.lr)
    schedulers = []
    for settings in deepcopy(cfg.param_scheduler):
        settings.pop('convert_to_iter_based', None)
        schedulers.append(PARAM_SCHEDULERS.build(settings, default_args=dict(optimizer=optimizer)))
    rates = []
    for _ in range(cfg.train_cfg.max_epochs):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    assert rates[0] == pytest.approx(5e-7) and rates[5] == pytest.approx(5e-4, rel=1e-3)
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[290:] == pytest.approx([1e-5] * 10, rel=2e-3)


@pytest.mark.parametrize('folder, task, sizes, rates', (
    *((LINGLO, task, ('b0', 'b1', 'b2'), {}) for task in ('8xb128-300e_in1k', *LINGLO_TASKS)),
    *((DUALFORMER, task, DUALFORMER_SIZES if size == 'xs' else ('s', 'b'), rates)
      for task, (size, rates) in DUALFORMER_TASKS.items())))
def test_sizes_differ_in_the_network_alone(folder, task, sizes, rates):
    cfgs = {arch: load(folder / f'{folder.name}-{arch}_{task}.py') for arch in sizes}
    reference = cfgs.get('xs', cfgs[sizes[0]])
    for arch, cfg in cfgs.items():
        assert without_model(cfg) == without_model(reference)
        rate = dict(drop_path_rate=rates[arch]) if arch in rates else {}
        assert cfg.model.backbone == {**reference.model.backbone, 'arch': arch, **rate}


@pytest.mark.parametrize('reference, name, change', (
    *(('linglo/linglo-b0_8xb128-100e', f'linglo/linglo-{name}_8xb128-100e', change)
      for name, change in ABLATIONS.items()),
    *(('dualformer/dualformer-xs_8xb128-300e', f'dualformer/dualformer-xs-{name}_8xb128-300e',
       change) for name, change in DUALFORMER_ABLATIONS.items())))
def test_ablation_differs_in_what_it_ablates(reference, name, change):
    expected = load(CONFIGS / f'{reference}_in1k.py').to_dict()
    expected['model']['backbone'].update(change)
    for narrower, channels in (('wo-ch_', 150), ('serial-equal_', 344)):
        if narrower in name:
            expected['model']['head']['in_channels'] = channels
    assert load(CONFIGS / f'{name}_in1k.py').to_dict() == expected


@pytest.mark.parametrize('name, count', (('dualformer/dualformer-xs', 13), ('mcganet/mcganet', 3),
                                          ('linglo/linglo-b0', 9)))
def test_classifiers_that_a_network_is_compared_with_are_trained_alike(name, count):
    reference = load(CONFIGS / f'{name}_8xb128-300e_in1k.py')
    compared = [file for file in (CONFIGS / name).parent.glob('*_in1k.py') if is_comparison(file)]
    assert len(compared) == count
    for cfg in map(load, compared):
        assert without_model(cfg) == without_model(reference)
        assert cfg.model.train_cfg == reference.model.train_cfg
        assert cfg.model.head.loss == reference.model.head.loss


@pytest.mark.parametrize('arch', DUALFORMER_SIZES)
def test_longer_schedule_differs_in_epochs_and_in_the_sizes_of_images(arch):
    short, long = (
        load(DUALFORMER / f'dualformer-{arch}_mask-rcnn_8xb2-{task}_coco.py').to_dict()
        for task in ('1x', 'ms-3x'))
    assert {key for key in long if long[key] != short[key]} == {
        'train_cfg', 'param_scheduler', 'train_pipeline', 'train_dataloader'}
    assert long['param_scheduler'][1]['milestones'] == [27, 33]
    resize = long['train_dataloader']['dataset']['pipeline'][2]
    assert resize['type'] == 'RandomResize' and resize['keep_ratio']
    assert resize['scale'] == [(1333, 640), (1333, 800)]


@pytest.mark.parametrize('name, custom', (
    ('dualformer/dualformer-xs_8xb128-300e_in1k', ()),
    ('linglo/linglo-b0-wo-c_8xb128-100e_in1k', 'position.weight'),
    ('mcganet/mcganet_8xb128-300e_in1k', 'mixer.tokens')))
def test_norms_and_biases_and_learned_tokens_do_not_decay(name, custom):
    cfg = load(CONFIGS / f'{name}.py')
    model = build_model(cfg.model, cfg.default_scope)
    groups = build_optim_wrapper(model, cfg.optim_wrapper.to_dict()).optimizer.param_groups
    decaying = {id(group['params'][0]) for group in groups if group['weight_decay']}
    assert not custom or any(name.endswith(custom) for name, _ in model.named_parameters())
    for name, parameter in model.named_parameters():
        kept = parameter.ndim == 1 or name.endswith(custom)
        assert (id(parameter) in decaying) != kept, name
    assert {group['weight_decay'] for group in groups} == {0, 0.05}


@pytest.mark.parametrize('name, kind, metric', (
    ('linglo/linglo-b0_retinanet', 'RetinaNet', 'bbox'),
    ('mcganet/mcganet_retinanet', 'RetinaNet', 'bbox'),
    ('mcganet/mcganet_mask-rcnn', 'MaskRCNN', ['bbox', 'segm']),
    ('dualformer/dualformer-xs_mask-rcnn', 'MaskRCNN', ['bbox', 'segm'])))
def test_detectors_are_trained_as_in_their_papers(name, kind, metric):
    cfg = load(CONFIGS / f'{name}_8xb2-1x_coco.py')
    assert cfg.model.type == kind and optimizer_of(cfg) == ('AdamW', 1e-4, 1e-4)
    decay = cfg.param_scheduler[-1]
    assert decay.by_epoch and (decay.milestones, decay.gamma) == ([8, 11], 0.1)
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        resize, = (step for step in loader.dataset.pipeline if step.type == 'Resize')
        assert resize.scale == (1333, 800) and resize.keep_ratio
    assert cfg.val_evaluator.type == 'CocoMetric' and cfg.val_evaluator.metric == metric


@pytest.mark.parametrize('name, head', (
    ('linglo/linglo-b0_fpn_4xb8-40k', 'FPNHead'), ('mcganet/mcganet_fpn_4xb4-80k', 'FPNHead'),
    ('dualformer/dualformer-s_upernet_8xb4-80k', 'UPerHead')))
def test_segmentors_are_trained_as_in_the_papers(name, head):
    cfg = load(CONFIGS / f'{name}_ade20k-512x512.py')
    assert cfg.model.decode_head.type == head and cfg.model.decode_head.num_classes == 150
    assert optimizer_of(cfg) == ('AdamW', 1e-4, 1e-4)
    decay, = cfg.param_scheduler
    assert (decay.type, decay.power, decay.eta_min, decay.begin) == ('PolyLR', 0.9, 0, 0)
    steps = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
    assert cfg.model.data_preprocessor.size == steps['RandomCrop'].crop_size == (512, 512)
    resize, = (step for step in cfg.test_dataloader.dataset.pipeline if step.type == 'Resize')
    assert resize.scale == (2048, 512) and resize.keep_ratio
    assert cfg.val_evaluator.type == 'IoUMetric' and cfg.val_evaluator.iou_metrics == ['mIoU']


@pytest.mark.parametrize('file', DENSE, ids=lambda file: file.stem)
def test_dense_networks_of_a_table_are_trained_alike_from_weights_of_classifiers(file):
    model = load(file).model
    if is_comparison(file):
        assert '://' in (model.get('pretrained') or model.backbone.init_cfg.checkpoint)
    else:
        assert not model.get('pretrained')
        assert model.backbone.init_cfg == dict(
            type='Pretrained', checkpoint=None, prefix='backbone.')
    paper, task = file.parent.name, file.stem.partition('_')[2]
    reference = next(other for other in DENSE if other.name.startswith(paper)
                     and other.stem.endswith(f'_{task}'))
    shared = without_model(load(reference))
    assert shared == {
        key: value for key, value in without_model(load(file)).items() if key in shared}


@pytest.mark.parametrize('task', LINGLO_TASKS)
def test_new_layers_of_linglo_start_with_xavier_weights(task):
    cfg = load(LINGLO / f'linglo-b0_{task}.py')
    model = build_model(cfg.model, cfg.default_scope)
    model.init_weights()
    for part in (part for key, part in model.named_modules() if not key.startswith('backbone')):
        if isinstance(part, torch.nn.Conv2d):
            bound = (6 / sum(part.weight.shape[:2]) / math.prod(part.kernel_size))**0.5
            assert 0.98 * bound < part.weight.abs().max() <= bound
