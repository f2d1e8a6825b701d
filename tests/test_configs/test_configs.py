# Copyright (c) mmvisionmix authors. All rights reserved.
"""Every config file is held to the same rules, and builds."""
import re
from collections import Counter
from copy import deepcopy
from functools import lru_cache
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope

from mmvisionmix.complexity import count_complexity

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
FILES = sorted(file for file in CONFIGS.rglob('*.py') if '_base_' not in file.parts)
ENTRIES = sorted(CONFIGS.glob('*.py'))
METAFILES = sorted(CONFIGS.glob('*/metafile.yml'))
ROWS = [row for file in METAFILES for row in yaml.safe_load(file.read_text())['Models']]
ADE20K = '{}_1xb16-{}k_ade20k-512x512'
# Runs of Tables VI and VII in thousands of iterations.
LENGTHS = {
    'vit-b_upernet': (2, 4, 8, 16), 'lkca-b_upernet': (2, 4, 8, 16),
    **dict.fromkeys((
        'vit-s_upernet', 'r50_upernet', 'twins-pcpvt-s_upernet', 'swin-s_upernet',
        'lkca-s_upernet', 'vit-s_fpn', 'twins-pcpvt-s_fpn', 'lkca-s_fpn'), (10, 20)),
}
TABLE_ROWS = [(network, length) for network, lengths in LENGTHS.items() for length in lengths]
SIZES = ('0.5m', '1m', '2m', '2.69m', '4m', '8m')
# Networks of Tables I-V on each data set.
CLASSIFIERS = {
    'cifar10': SIZES, 'cifar100': SIZES, 'tiny-imagenet': SIZES, 'svhn': ('1m', '2.69m')}
load = lru_cache(maxsize=None)(Config.fromfile)


def build_model(model, scope='mmseg'):
    with DefaultScope.overwrite_default_scope(scope):
        return revert_sync_batchnorm(MODELS.build(deepcopy(model)))


def is_comparison(file):
    """Whether a config is of a network that a paper compares its own with."""
    paper = file.parent
    return (paper / 'metafile.yml').exists() and not file.name.startswith(paper.name)


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.stem)
def test_config_builds_and_names_its_backbone_by_scope(file):
    cfg = load(file)
    assert 'custom_imports' not in cfg
    assert cfg.model.backbone.type.startswith('mmvisionmix.') != is_comparison(file)
    build_model(cfg.model, cfg.default_scope)


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.stem)
def test_batch_size_is_that_of_the_name_and_of_the_learning_rate(file):
    cfg = load(file)
    batch = cfg.train_dataloader.batch_size
    named = re.search(r'_(\d+)xb(\d+)-', file.stem)
    gpus = int(named.group(1)) if named else 1
    assert batch == (int(named.group(2)) if named else batch)
    assert cfg.auto_scale_lr.base_batch_size == gpus * batch


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.stem)
def test_schedule_spans_the_training(file):
    cfg = load(file)
    last = cfg.param_scheduler[-1]
    assert last.end == cfg.train_cfg.get('max_iters', cfg.train_cfg.get('max_epochs'))
    iterations = re.search(r'-(\d+)k_', file.stem)
    if iterations:
        assert cfg.train_cfg.max_iters == 1000 * int(iterations.group(1))


def test_basenames_are_unique():
    """`mim train` finds configs by basename and refuses duplicates."""
    counts = Counter(file.name for file in FILES)
    assert not [name for name, count in counts.items() if count > 1]


@pytest.mark.parametrize('file', ENTRIES, ids=lambda file: file.stem)
def test_entry_recipe_is_one_line(file):
    assert re.fullmatch(r"_base_ = '\./\w+/[\w.-]+\.py'\n", file.read_text())


@pytest.mark.parametrize('base', (
    '[__import__("mmvisionmix").config_path("upernet_lkca_s_ade20k")]',
    '"mmvisionmix::lkca/lkca-s_upernet_1xb16-20k_ade20k-512x512.py"',
    '"ours/upernet_lkca_s_ade20k.py"'))
def test_config_is_inherited_from_another_folder(base, tmp_path):
    (tmp_path / 'ours').symlink_to(CONFIGS)
    child = tmp_path / 'child.py'
    child.write_text(f'_base_ = {base}\nmodel = dict(backbone=dict(drop_path_rate=0.1))\n')
    cfg = Config.fromfile(child)
    assert cfg.model.backbone.drop_path_rate == 0.1
    assert cfg.model.backbone.arch == 's' and cfg.train_cfg.max_iters == 20000
    build_model(cfg.model)


@pytest.mark.parametrize('row', ROWS, ids=lambda row: row['Name'])
def test_metafile_gives_the_computed_parameters_and_macs(row):
    assert row['Name'] == Path(row['Config']).stem
    counting = 'convolution' if 'ade20k' in row['Name'] else 'literal'
    computed = count_complexity(load(CONFIGS.parent / row['Config']), counting)
    assert row['Metadata']['Parameters'] == computed.parameters
    assert row['Metadata']['FLOPs'] == computed.macs


@pytest.mark.parametrize('network, length', TABLE_ROWS)
def test_rows_of_tables_6_and_7_are_trained_from_scratch_and_measured_as_in_the_paper(
        network, length):
    cfg = load(CONFIGS / 'lkca' / f'{ADE20K.format(network, length)}.py')
    assert not cfg.model.get('pretrained') and not cfg.model.backbone.get('init_cfg')
    assert cfg.load_from is None
    assert cfg.val_evaluator == cfg.test_evaluator
    assert cfg.val_evaluator.type == 'mmvisionmix.TopKIoUMetric'
    assert cfg.val_evaluator.top_k == 10
    warm_up, decay = cfg.param_scheduler
    assert warm_up.end == decay.begin == min(1500, 100 * length)


@pytest.mark.parametrize('data', CLASSIFIERS)
@pytest.mark.parametrize('network', ('lkca', 'vit'))
def test_rows_of_tables_1_to_5_share_the_recipe_of_the_paper(network, data):
    large = ('l', ) if (network, data) == ('lkca', 'tiny-imagenet') else ()
    for size in CLASSIFIERS[data] + large:
        cfg = load(CONFIGS / 'lkca' / f'{network}-{size}_1xb128-100e_{data}.py')
        assert cfg.train_cfg.max_epochs == 100 and cfg.train_dataloader.num_workers == 4
        assert cfg.optim_wrapper.optimizer == dict(type='AdamW', lr=1e-3, weight_decay=0.05)
        assert cfg.param_scheduler[0].end == 10
        assert cfg.model.head.num_classes == cfg.data_preprocessor.num_classes
        steps = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
        assert {'RandomCrop', 'RandomFlip', 'AutoAugment'} <= set(steps)
        erasing = steps['RandomErasing']
        assert (erasing.erase_prob, erasing.max_area_ratio, erasing.aspect_range) == (.25, .4, .3)
        assert [augment.type for augment in cfg.model.train_cfg.augments] == ['Mixup', 'CutMix']
        assert cfg.model.head.loss.type == 'LabelSmoothLoss'
        if network == 'vit':
            assert cfg.model.backbone.type == 'VisionTransformer'
            assert not cfg.model.backbone.qkv_bias


def test_model_index_lists_every_metafile_and_every_config_of_a_paper():
    index = yaml.safe_load((CONFIGS.parent / 'model-index.yml').read_text())['Import']
    assert index == [str(file.relative_to(CONFIGS.parent)) for file in METAFILES]
    papers = [file for folder in METAFILES for file in folder.parent.glob('*.py')]
    assert sorted(row['Name'] for row in ROWS) == sorted(file.stem for file in papers)
