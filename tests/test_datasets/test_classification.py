# Copyright (c) mmvisionmix authors. All rights reserved.
"""The data sets for classification: real file formats, labels, and what is said of bad files."""
import subprocess
import sys

import numpy as np
import pytest
from mmengine.registry import DATASETS
from PIL import Image
from scipy.io import savemat


def svhn(root, **kwargs):
    return DATASETS.build(dict(type='mmvisionmix.SVHN', data_root=str(root), **kwargs))


def tiny_imagenet(root, **kwargs):
    return DATASETS.build(dict(type='mmvisionmix.TinyImageNet', data_root=str(root), **kwargs))


@pytest.mark.parametrize('missing, name, extra', [
    ('mmpretrain', 'SVHN', 'cls'), ('scipy', 'SVHN', 'cls'), ('mmseg', 'CamVid', 'seg')])
def test_a_missing_package_is_named_with_the_extra_and_only_when_needed(missing, name, extra):
    code = (f'import sys; sys.modules[{missing!r}] = None\n'
            'import mmvisionmix, mmvisionmix.registry\n'
            'import mmvisionmix.datasets.availability\n'
            'from mmengine.registry import DATASETS\n'
            'print(DATASETS.get("mmvisionmix.DemoCIFAR10").__name__)\n'
            f'DATASETS.build(dict(type="mmvisionmix.{name}", data_root="."))\n')
    result = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert result.stdout.strip() == ('missing' if extra == 'cls' else 'DemoCIFAR10')
    last = result.stderr.strip().splitlines()[-1]
    assert missing in last and f'pip install "mmvisionmix[{extra}]"' in last


@pytest.fixture
def house_numbers(tmp_path):
    """Three digits per split, of SVHN's labels 10 (a zero), 3 and 9; returns (folder, images)."""
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32, 3), dtype=np.uint8)
    for split, content in zip(('train', 'test', 'extra'), images):
        savemat(tmp_path / f'{split}_32x32.mat', dict(
            X=content.transpose(1, 2, 3, 0), y=np.array([[10], [3], [9]], np.uint8)))
    return tmp_path, dict(zip(('train', 'test', 'extra'), images))


@pytest.mark.parametrize('split', ['train', 'test', 'extra'])
def test_svhn_gives_rgb_images_and_the_digits_they_show(house_numbers, split):
    folder, images = house_numbers
    dataset = svhn(folder, split=split, test_mode=True, indices=2, metainfo=dict(note='ours'),
                   pipeline=[dict(type='mmpretrain.PackInputs')])
    assert ''.join(dataset.CLASSES) == '0123456789' and dataset.metainfo['note'] == 'ours'
    assert dataset.test_mode and dataset.get_gt_labels().tolist() == [0, 3]
    for index in range(2):
        image = dataset[index]['inputs'].numpy()
        assert (image == images[split][index].transpose(2, 0, 1)).all()
    assert f'Split: \t{split}' in repr(dataset) and str(folder) in repr(dataset)


def cut_short(path):
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize('damage, message', [
    (cut_short, 'is damaged'),
    (lambda path: savemat(path, dict(X=np.zeros((32, 32, 3, 2), np.uint8))), "is damaged.*'y'"),
    (lambda path: savemat(path, dict(X=np.zeros((32, 32, 3, 2), np.uint8), y=[[1]])),
     r'should hold uint8 images of shape \(32, 32, 3, 1\)'),
    (lambda path: savemat(path, dict(X=np.zeros((32, 32, 3, 1)), y=[[1]])), '.*they are float64'),
    (lambda path: savemat(path, dict(X=np.zeros((32, 32, 3, 1), np.uint8), y=[[0]])),
     'should hold labels from 1 to 10'),
])
def test_svhn_damaged_file_is_named(house_numbers, damage, message):
    folder, _ = house_numbers
    damage(folder / 'train_32x32.mat')
    with pytest.raises(ValueError, match=f'train_32x32.mat {message}'):
        svhn(folder)
    assert len(svhn(folder, split='test')) == 3


WNIDS = ('n02', 'n01', 'n03')  # the real file is not sorted either


@pytest.fixture
def tiny(tmp_path):
    """Three classes with two training images each, and four validation images; files tell which."""
    (tmp_path / 'wnids.txt').write_text(''.join(f'{wnid}\n' for wnid in WNIDS))
    (tmp_path / 'words.txt').write_text(
        'n00\tentity\nn01\tgoldfish, Carassius auratus\nn02\tox\nn03\tpole\n')
    for value, wnid in enumerate(WNIDS):
        folder = tmp_path / 'train' / wnid
        (folder / 'images').mkdir(parents=True)
        (folder / f'{wnid}_boxes.txt').touch()
        for number in range(2):
            grey(10 * value + number).save(folder / f'images/{wnid}_{number}.JPEG')
    (tmp_path / 'val/images').mkdir(parents=True)
    rows = []
    for index, wnid in enumerate(('n03', 'n01', 'n02', 'n01')):
        grey(100 + index).save(tmp_path / f'val/images/val_{index}.JPEG')
        rows.append(f'val_{index}.JPEG\t{wnid}\t0\t32\t44\t62\n')
    (tmp_path / 'val/val_annotations.txt').write_text(''.join(rows))
    return tmp_path


def grey(value):
    return Image.new('RGB', (64, 64), (value, ) * 3)


@pytest.mark.parametrize('split, values, labels', [
    ('train', [0, 1, 10, 11, 20, 21], [0, 0, 1, 1, 2, 2]),
    ('val', [100, 101, 102, 103], [2, 1, 0, 1]),
])
def test_tiny_imagenet_pairs_images_with_the_lines_of_wnids(tiny, split, values, labels):
    dataset = tiny_imagenet(tiny, split=split, pipeline=[dict(type='LoadImageFromFile')])
    assert dataset.CLASSES == ('ox', 'goldfish, Carassius auratus', 'pole')
    assert dataset.get_gt_labels().tolist() == labels
    assert [round(dataset[index]['img'].mean()) for index in range(len(dataset))] == values
    assert f'Split: \t{split}' in repr(dataset) and str(tiny) in repr(dataset)


@pytest.mark.parametrize('build, split, file, url, layout', [
    (svhn, 'test', 'test_32x32.mat', 'http://ufldl.stanford.edu/housenumbers/', 'svhn'),
    *((tiny_imagenet, split, file, 'http://cs231n.stanford.edu/tiny-imagenet-200.zip',
       'tiny-imagenet')
      for split, file in (('train', 'wnids.txt'), ('train', 'words.txt'),
                          ('train', 'train/n01/images'), ('val', 'val/val_annotations.txt')))])
def test_missing_file_is_named_with_two_ways_to_get_it(tiny, build, split, file, url, layout):
    if build is tiny_imagenet:
        (tiny / file).rename(tiny / 'elsewhere')
    with pytest.raises(FileNotFoundError) as error:
        build(tiny, split=split)
    for part in (f'{tiny}/{file} does not exist', url, f'make_demo_data.py {layout} --out {tiny}'):
        assert part in str(error.value)


@pytest.mark.parametrize('split, file, text, message', [
    ('train', 'wnids.txt', 'n01\n\nn02\n', 'line 2 should have 1 columns'),
    ('train', 'words.txt', 'n01 goldfish\n', "line 1 should have 2 columns.* 'n01 goldfish'"),
    ('train', 'words.txt', 'n01\tgoldfish\nn02\tox\n', 'does not name 1 classes .* such as n03'),
    ('val', 'val/val_annotations.txt', 'val_0.JPEG\tn0', 'line 1 should have 6 columns'),
    ('val', 'val/val_annotations.txt', 'val_0.JPEG\tn07\t0\t0\t9\t9\n',
     'class n07 of val_0.JPEG is not in wnids.txt'),
])
def test_tiny_imagenet_damaged_file_is_named(tiny, split, file, text, message):
    (tiny / file).write_text(text)
    with pytest.raises(ValueError, match=f'{file} is damaged: .*{message}'):
        tiny_imagenet(tiny, split=split)


@pytest.mark.parametrize('build, known', [
    (svhn, 'train, test, extra'), (tiny_imagenet, 'train, val')])
def test_unknown_split_names_the_known_ones(tmp_path, build, known):
    with pytest.raises(ValueError, match=f"unknown split 'trian'; known are {known}"):
        build(tmp_path, split='trian')
