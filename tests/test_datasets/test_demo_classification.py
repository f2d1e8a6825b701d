# Copyright (c) mmvisionmix authors. All rights reserved.
"""The demo data for classification, read back by the very classes that read the real data sets."""
import pickle
import sys
from functools import lru_cache

import mmcv
import numpy as np
import pytest
from mmengine.registry import DATASETS
from PIL import Image

from mmvisionmix.datasets.demo_data import (
    CLASSES,
    Recipe,
    photographs,
    pictures,
    svhn,
    write_cifar10,
    write_cifar100,
    write_imagenet,
    write_svhn,
    write_tiny_imagenet,
)
from mmvisionmix.datasets.demo_data.pictures import draw_pictures, random_view

RECIPE = Recipe(train=13, val=11, seed=5)
WRITERS = {
    'cifar10': write_cifar10,
    'cifar100': write_cifar100,
    'svhn': write_svhn,
    'tiny-imagenet': write_tiny_imagenet,
    'imagenet': write_imagenet,
}


@pytest.fixture(scope='module', autouse=True)
def photographs_in_memory():
    """Loads the parts of the photographs once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, 'load_parts', lru_cache(maxsize=None)(photographs.load_parts))
        yield


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """The folders of all layouts, made from RECIPE, which no test may change."""
    root = tmp_path_factory.mktemp('demo')
    for layout, write in WRITERS.items():
        assert write(root / layout, RECIPE)
    return root


def read(kind, folder, split):
    """Images (N, height, width, 3), in RGB, and labels that a data set gives."""
    load = [dict(type='LoadImageFromFile')] if kind.endswith('ImageNet') else []
    dataset = DATASETS.build(
        dict(type=kind, data_root=str(folder), split=split, pipeline=load))
    images = np.stack([dataset[index]['img'] for index in range(len(dataset))])
    return images[..., ::-1] if load else images, dataset.get_gt_labels(), dataset.CLASSES


def drawn(split, size):
    views = draw_pictures(RECIPE, split, size, iter)
    return np.stack([view.image for view in views]), np.array([view.label for view in views])


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob('*') if path.is_file()}


# What is drawn


def test_views_are_shrunk_squares_of_the_labelled_part(monkeypatch):
    parts = [np.full((200, 300, 3), (20 * label, 0, 0), np.uint8) for label in range(10)]
    monkeypatch.setattr(pictures, 'load_parts', lambda split, *size: parts)
    views = draw_pictures(RECIPE, 'train', 16, iter)
    assert [view.label for view in views] == [index % 10 for index in range(13)]
    assert all((view.image[..., 0] == 20 * view.label).all() for view in views)
    assert all(view.image.shape == (16, 16, 3) for view in views)


def test_views_show_one_to_four_times_their_side():
    rows = np.broadcast_to(np.arange(250, dtype=np.uint8)[:, None, None], (250, 250, 3))
    rng = np.random.default_rng(0)
    heights = [np.ptp(random_view(rng, rows, 16)[..., 0].astype(int)) for _ in range(200)]
    assert 14 <= min(heights) <= 18 and 58 <= max(heights) <= 64


def test_training_and_validation_views_come_from_different_parts(monkeypatch):
    colours = {'train': (0, 255, 0), 'val': (255, 0, 0)}

    def halves(_):
        pixels = np.zeros((300, 500, 3), np.uint8)
        border = round(500 * photographs.TRAIN_SHARE)
        pixels[:, :border], pixels[:, border:] = colours['train'], colours['val']
        return pixels

    monkeypatch.setattr(photographs, 'read_photograph', halves)
    monkeypatch.setattr(pictures, 'load_parts', photographs.load_parts)
    for split, colour in colours.items():
        views = draw_pictures(RECIPE, split, 64, iter)
        assert all((view.image == colour).all() for view in views)


def test_no_digit_is_in_both_parts():
    (train, train_labels), (test, test_labels) = map(svhn.load_digits, ('train', 'val'))
    assert len(train) == 1438 and len(test) == 359
    assert set(train_labels) == set(test_labels) == set(range(10))
    assert not {ink.tobytes() for ink in train} & {ink.tobytes() for ink in test}


def test_digits_are_the_enlarged_ones_in_two_colours():
    ink, labels = svhn.load_digits('train')
    for index, (image, label) in enumerate(svhn.draw_digits(RECIPE, 'train', iter)):
        assert image.shape == (32, 32, 3) and label == labels[index]
        grey = image.mean(-1).reshape(8, 4, 8, 4).mean((1, 3))
        assert abs(np.corrcoef(grey.ravel(), ink[index].ravel())[0, 1]) > 0.95
        assert np.ptp(image.astype(int), axis=(0, 1)).min() > 40


def test_digits_come_again_in_other_colours_when_they_run_out(monkeypatch):
    ink, labels = svhn.load_digits('val')
    monkeypatch.setattr(svhn, 'load_digits', lambda split: (ink[:2], labels[:2]))
    images, shown = zip(*svhn.draw_digits(Recipe(train=1, val=4), 'val', iter))
    assert shown == (*labels[:2], *labels[:2])
    assert (images[0] != images[2]).any()


# What the data sets read


@pytest.mark.parametrize('layout, kind', [
    ('cifar10', 'mmvisionmix.DemoCIFAR10'), ('cifar100', 'mmvisionmix.DemoCIFAR100')])
@pytest.mark.parametrize('split, part', [('train', 'train'), ('test', 'val')])
def test_cifar_reads_back_what_was_drawn(made, layout, kind, split, part):
    images, labels, classes = read(kind, made / layout, split)
    expected = drawn(part, 32)
    assert (images == expected[0]).all() and (labels == expected[1]).all()
    assert tuple(classes) == CLASSES


@pytest.mark.parametrize('layout, kind', [('cifar10', 'CIFAR10'), ('cifar100', 'CIFAR100')])
def test_the_real_cifar_classes_read_it_but_for_the_checksums(made, monkeypatch, layout, kind):
    import mmpretrain.datasets
    monkeypatch.setattr('mmpretrain.datasets.cifar.check_md5', lambda *_: True)
    dataset = getattr(mmpretrain.datasets, kind)(data_root=str(made / layout), split='test')
    assert (dataset.get_gt_labels() == drawn('val', 32)[1]).all()
    assert (dataset[3]['img'] == drawn('val', 32)[0][3]).all()


@pytest.mark.parametrize('layout, kind', [
    ('cifar10', 'mmvisionmix.DemoCIFAR10'), ('cifar100', 'mmvisionmix.DemoCIFAR100')])
def test_demo_cifar_names_a_missing_file_and_never_downloads(tmp_path, monkeypatch, layout, kind):
    monkeypatch.setattr('mmpretrain.datasets.cifar.download_and_extract_archive', None)
    WRITERS[layout](tmp_path, Recipe(train=5, val=5))
    folder = next(path for path in tmp_path.iterdir() if path.is_dir())
    for path in folder.iterdir():
        path.rename(tmp_path / 'elsewhere')
        with pytest.raises(FileNotFoundError) as error:
            DATASETS.build(dict(type=kind, data_root=str(tmp_path), download=True))
        assert f'{path} does not exist' in str(error.value)
        assert f'make_demo_data.py {layout} --out {tmp_path}' in str(error.value)
        (tmp_path / 'elsewhere').rename(path)
    assert len(DATASETS.build(dict(type=kind, data_root=str(tmp_path), download=True))) == 5


def test_cifar_files_hold_the_keys_of_the_real_ones(made):
    batch = pickle.loads((made / 'cifar10/cifar-10-batches-py/data_batch_5').read_bytes())
    assert set(batch) == {'batch_label', 'labels', 'data', 'filenames'}
    assert batch['data'].shape == (3, 3072) and batch['data'].dtype == np.uint8
    assert [CLASSES.index(name.split('_')[0]) for name in batch['filenames']] == batch['labels']
    batch = pickle.loads((made / 'cifar100/cifar-100-python/train').read_bytes())
    assert set(batch) == {'batch_label', 'fine_labels', 'coarse_labels', 'data', 'filenames'}
    assert batch['coarse_labels'] == [0] * 13


def test_fewer_training_pictures_than_batches_can_be_read(tmp_path):
    write_cifar10(tmp_path, Recipe(train=2, val=1))
    assert read('mmvisionmix.DemoCIFAR10', tmp_path, 'train')[1].tolist() == [0, 1]


@pytest.mark.parametrize('split, part', [('train', 'train'), ('test', 'val')])
def test_svhn_reads_back_what_was_drawn(made, split, part):
    images, labels, _ = read('mmvisionmix.SVHN', made / 'svhn', split)
    expected, digits = zip(*svhn.draw_digits(RECIPE, part, iter))
    assert (images == np.stack(expected)).all() and labels.tolist() == list(digits)
    assert 0 in digits  # written as 10


@pytest.mark.parametrize('layout, kind, size', [
    ('tiny-imagenet', 'mmvisionmix.TinyImageNet', 64), ('imagenet', 'mmpretrain.ImageNet', 256)])
@pytest.mark.parametrize('split', ['train', 'val'])
def test_image_folders_read_back_what_was_drawn(made, layout, kind, size, split):
    images, labels, classes = read(kind, made / layout, split)
    expected, expected_labels = drawn(split, size)
    order = np.argsort(expected_labels, kind='stable')  # Tiny ImageNet's are listed by class
    if layout == 'tiny-imagenet' and split == 'train':
        expected, expected_labels = expected[order], expected_labels[order]
    assert (labels == expected_labels).all()
    assert np.abs(images.astype(int) - expected).mean() < 4  # JPEG
    assert len(classes) == {'tiny-imagenet': 10, 'imagenet': 1000}[layout]


def test_image_folders_have_the_names_of_the_real_ones(made):
    tiny = set(contents(made / 'tiny-imagenet'))
    assert {'wnids.txt', 'words.txt', 'val/val_annotations.txt', 'val/images/val_10.JPEG',
            'train/n90000002/images/n90000002_1.JPEG'} <= tiny
    assert len(tiny) == 13 + 11 + 3 + 2
    imagenet = set(contents(made / 'imagenet'))
    assert {'meta/train.txt', 'meta/val.txt', 'train/n01440764/n01440764_11.JPEG',
            'val/n01443537/ILSVRC2012_val_00000002.JPEG'} <= imagenet
    assert len(imagenet) == 13 + 11 + 2 + 2
    assert mmcv.imread(str(made / 'imagenet/train/n01440764/n01440764_1.JPEG')).shape[:2] == (
        256, 256)


def test_tiny_imagenet_needs_a_training_picture_of_each_class(tmp_path):
    with pytest.raises(ValueError, match='train must be at least 10, one of each class, got 9'):
        write_tiny_imagenet(tmp_path / 'new', Recipe(train=9, val=1))
    assert not (tmp_path / 'new').exists()


# The folders


@pytest.mark.parametrize('layout', WRITERS)
def test_the_same_recipe_gives_the_same_bytes_and_another_seed_others(made, tmp_path, layout):
    WRITERS[layout](tmp_path, RECIPE)
    assert contents(tmp_path) == contents(made / layout)
    assert WRITERS[layout](tmp_path, Recipe(train=13, val=11, seed=6))
    before, after = contents(made / layout), contents(tmp_path)
    changed = [name for name in after if after[name] != before[name]]
    assert len(changed) == {  # all pictures, and the manifest
        'cifar10': 7, 'cifar100': 3, 'svhn': 3, 'tiny-imagenet': 25, 'imagenet': 25}[layout]


@pytest.mark.parametrize('layout', WRITERS)
def test_a_complete_folder_is_left_alone_and_a_strange_one_refused(made, tmp_path, layout):
    assert not WRITERS[layout](made / layout, RECIPE)
    assert 'scikit-learn' in (made / layout / 'CREDITS.txt').read_text()
    (tmp_path / 'thesis.tex').touch()
    with pytest.raises(FileExistsError, match='thesis.tex'):
        WRITERS[layout](tmp_path, RECIPE)
    assert [path.name for path in tmp_path.iterdir()] == ['thesis.tex']


def test_a_missing_package_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'sklearn', None)
    with pytest.raises(ImportError, match=r'pip install "mmvisionmix\[demo\]"'):
        write_svhn(tmp_path / 'new', RECIPE)
    assert not (tmp_path / 'new').exists()


def test_progress_is_told_of_every_picture(tmp_path):
    seen = []

    def track(items):
        seen.extend(items)
        return items

    write_cifar100(tmp_path, Recipe(train=3, val=2), track)
    assert len(seen) == 5


def test_pictures_are_saved_without_colour_subsampling(made):
    image = Image.open(made / 'tiny-imagenet/val/images/val_0.JPEG')
    assert [component[1:3] for component in image.layer] == [(1, 1)] * 3
