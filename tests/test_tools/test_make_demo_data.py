# Copyright (c) mmvisionmix authors. All rights reserved.
"""The command line of tools/dataset_tools/make_demo_data.py."""

import runpy
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.utils import get_installed_path

from mmvisionmix.datasets.availability import DEMO_LAYOUTS, check_data
from mmvisionmix.datasets.demo_data import CLASSES, PALETTE

ROOT = Path(__file__).resolve().parents[2]
SMALL = ['--size', '32', '--train', '2', '--val', '1']


@pytest.fixture(scope='module')
def tool():
    return runpy.run_path(str(ROOT / 'tools/dataset_tools/make_demo_data.py'))


@pytest.fixture(scope='module')
def main(tool):
    return tool['main']


def test_makes_the_data_and_says_what_where_and_what_next(main, tmp_path, capsys):
    main(['ade20k', '--out', str(tmp_path), *SMALL])
    made, following = capsys.readouterr().out.strip().splitlines()[-2:]
    assert made == f'Made 2 training and 1 validation pictures of 32x32 pixels in {tmp_path}'
    assert len(list(tmp_path.glob('images/training/*.jpg'))) == 2
    assert len(list(tmp_path.glob('annotations/validation/*.png'))) == 1
    command = following.split()
    assert command[:3] == ['Next:', 'python', 'tools/train.py'] and (ROOT / command[3]).is_file()


def test_says_that_the_data_are_already_there(main, tmp_path, capsys):
    main(['ade20k', '--out', str(tmp_path), *SMALL])
    capsys.readouterr()
    main(['ade20k', '--out', str(tmp_path), *SMALL])
    assert capsys.readouterr().out.startswith('Already there: 2 training and 1 validation')


@pytest.mark.parametrize('layout, folder, options', [
    ('cifar10', 'cifar-10-batches-py', ['type=mmvisionmix.DemoCIFAR10']),
    ('cifar100', 'cifar-100-python', ['type=mmvisionmix.DemoCIFAR100']),
    ('svhn', 'train_32x32.mat', []),
    ('tiny-imagenet', 'train/n90000000', []),
    ('imagenet', 'train/n01440764', []),
])
def test_makes_the_layouts_for_classification(main, tmp_path, capsys, layout, folder, options):
    main([layout, '--out', str(tmp_path), '--train', '11', '--val', '2', '--seed', '3'])
    made, following = capsys.readouterr().out.strip().splitlines()[-2:]
    assert made == f'Made 11 training and 2 validation pictures in {tmp_path}'
    assert (tmp_path / folder).exists()
    for loader in ('train_dataloader', 'val_dataloader'):
        for option in (f'data_root={tmp_path}', *options):
            assert f'{loader}.dataset.{option}' in following.split()
    assert following.count('=') == 2 + 2 * len(options)


def test_makes_the_layout_for_detection_and_names_all_that_a_config_reads(main, tmp_path, capsys):
    main(['coco', '--out', str(tmp_path), *SMALL])
    made, following = capsys.readouterr().out.strip().splitlines()[-2:]
    assert made == f'Made 2 training and 1 validation pictures of up to 32x32 pixels in {tmp_path}'
    config = Config.fromfile(
        get_installed_path('mmdet') + '/.mim/configs/_base_/datasets/coco_instance.py')
    options = following.partition(' --cfg-options ')[2].split()
    config.merge_from_dict(dict(option.split('=') for option in options))
    check_data(config, ('train_dataloader', 'val_dataloader'))
    assert Path(config.val_evaluator.ann_file).parent == tmp_path / 'annotations'


def test_every_layout_has_its_own_place_below_data_demo(tool):
    for layout in tool['LAYOUTS']:
        assert tool['parse_args']([layout]).out == Path('data/demo', layout)


def test_tools_name_layouts_that_exist(tool):
    assert set(DEMO_LAYOUTS.values()) == set(tool['LAYOUTS'])


@pytest.mark.parametrize('arguments, message', [
    (['--size', '8'], 'size must be from 32 to 1024 pixels, got 8'),
    (['--val', '0'], 'val must be at least 1, got 0'),
    (['--seed', '-3'], 'seed must not be negative, got -3'),
])
def test_wrong_numbers_end_with_the_reason(main, tmp_path, arguments, message):
    with pytest.raises(SystemExit, match=f'make_demo_data.py: {message}'):
        main(['ade20k', '--out', str(tmp_path / 'new'), *arguments])
    assert not (tmp_path / 'new').exists()


def test_a_folder_with_other_things_is_refused(main, tmp_path):
    (tmp_path / 'thesis.tex').touch()
    with pytest.raises(SystemExit, match=r'thesis\.tex'):
        main(['ade20k', '--out', str(tmp_path), *SMALL])
    assert [path.name for path in tmp_path.iterdir()] == ['thesis.tex']


@pytest.mark.parametrize('arguments, message', [
    (['cityscapes'], "invalid choice: 'cityscapes' (choose from"),
    ([], 'required: LAYOUT'),
])
def test_a_wrong_layout_names_the_known_ones(main, capsys, arguments, message):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2 and message in capsys.readouterr().err


def test_the_demo_config_reads_what_is_made_by_default(tool):
    config = Config.fromfile(ROOT / 'configs/toy/lkca_upernet_demo-ade20k.py')
    args = tool['parse_args'](['ade20k'])
    for loader in (config.train_dataloader, config.val_dataloader, config.test_dataloader):
        assert Path(loader.dataset.data_root) == args.out
        assert tuple(loader.dataset.metainfo.classes) == CLASSES
        assert tuple(map(tuple, loader.dataset.metainfo.palette)) == PALETTE
