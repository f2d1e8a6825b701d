# Copyright (c) mmvisionmix authors. All rights reserved.
"""The demo data: what is drawn, what the codebases read, and what happens to folders."""
import os
import runpy
from pathlib import Path

import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets import CocoDataset, CocoPanopticDataset
from mmdet.datasets.transforms import LoadAnnotations
from mmengine.dataset import Compose
from mmengine.registry import DATASETS
from mmseg.datasets import ADE20KDataset
from PIL import Image
from pycocotools.coco import COCO

import demo_data
from demo_data import SPLITS, Recipe, SceneRecipe, photographs, svhn
from demo_data.pictures import draw_pictures
from demo_data.scenes import draw_scene
from mmvisionmix.datasets.availability import DEMO_LAYOUTS

ROOT = Path(__file__).resolve().parents[2]
SCENES, PICTURES = SceneRecipe(size=48, train=12, val=11, seed=5), Recipe(train=13, val=11, seed=5)
WRITERS = {
    'ade20k': (demo_data.write_ade20k, SCENES), 'coco': (demo_data.write_coco, SCENES),
    'cifar10': (demo_data.write_cifar10, PICTURES),
    'cifar100': (demo_data.write_cifar100, PICTURES),
    'svhn': (demo_data.write_svhn, PICTURES),
    'tiny-imagenet': (demo_data.write_tiny_imagenet, PICTURES),
    'imagenet': (demo_data.write_imagenet, PICTURES)}


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """A data set of every layout, which no test may change."""
    root = tmp_path_factory.mktemp('demo')
    for layout, (write, recipe) in WRITERS.items():
        assert write(root / layout, recipe)
    return root


def contents(root):
    return {path.relative_to(root).as_posix(): path.read_bytes()
            for path in root.rglob('*') if path.is_file()}


def place_parts(split, sizes):
    """Pictures whose pixels say where they come from: (photograph, row, column)."""
    parts = []
    for index, size in enumerate(sizes):
        rows, columns = np.indices(size)
        pixels = np.stack([np.full_like(rows, index), rows, columns], -1).astype(np.uint8)
        parts.append(photographs.split_part(pixels, split))
    return parts


def in_part(along, longer, split):
    border = round(longer * photographs.TRAIN_SHARE)
    return (along < border).all() if split == 'train' else (along >= border).all()


@pytest.mark.parametrize('split', SPLITS)
def test_scenes_show_the_labelled_photograph_and_the_right_part(split):
    sizes = [(100, 200), (200, 100), (150, 150), (90, 220), (120, 180), (180, 120)]
    parts, counts = place_parts(split, sizes), set()
    for number in range(60):
        image, classes = draw_scene(SCENES.rng(split, number), parts, (60, 50))
        assert (image[..., 0] == classes).all()
        shift = image[..., 1:].astype(int) - np.stack(np.indices((60, 50)), -1)
        counts.add(len(np.unique(classes)))
        for index in np.unique(classes):
            height, width = sizes[index]
            along = image[classes == index][:, 2 if width >= height else 1]
            assert in_part(along, max(height, width), split)
            assert len(np.unique(shift[classes == index], axis=0)) == 1  # an unscaled window
    assert counts == {2, 3, 4, 5}


def test_mmseg_reads_ade20k(made):
    parts = photographs.load_parts('train', 48, 48)
    data = ADE20KDataset(
        data_root=str(made / 'ade20k'), pipeline=[],
        data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'))
    assert data.reduce_zero_label and len(data) == SCENES.train
    for index, info in enumerate(data, 1):
        image, classes = draw_scene(SCENES.rng('train', index), parts, (48, 48))
        assert (np.asarray(Image.open(info['seg_map_path'])) == classes + 1).all()
        written = np.asarray(Image.open(info['img_path'])).astype(int)
        assert np.abs(written - image).mean() < 4  # JPEG loses a little


@pytest.mark.parametrize('split', SPLITS)
def test_mmdet_reads_coco(made, split):
    name = f'annotations/instances_{split}2017.json'
    truth = COCO(str(made / 'coco' / name))
    data = CocoDataset(data_root=str(made / 'coco'), ann_file=name, test_mode=True, pipeline=[],
                       data_prefix=dict(img=f'{split}2017/'))
    assert len(data) == SCENES.count(split) and len(data.cat_ids) == 80
    load = Compose([LoadImageFromFile(), LoadAnnotations(with_mask=True)])
    kinds = set()
    for index in range(len(data)):
        info = load(data.get_data_info(index))
        annotations = truth.loadAnns(truth.getAnnIds(info['img_id']))
        assert len(info['gt_masks'].masks) == len(annotations)
        for mask, box, label, each in zip(info['gt_masks'].masks, info['gt_bboxes'].tensor,
                                          info['gt_bboxes_labels'], annotations):
            rows, columns = np.nonzero(mask)
            assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert each['area'] == len(rows) and (mask == truth.annToMask(each)).all()
            assert label == each['category_id'] - 1 < 10
            kinds.add((each['iscrowd'], type(each['segmentation'])))
    assert kinds == {(0, list), (0, dict), (1, dict)}


def test_mmdet_reads_panoptic_coco(made):
    """Every pixel is of one segment; things are the objects, and stuff is what they leave."""
    root = made / 'coco'
    data = CocoPanopticDataset(
        data_root=str(root), ann_file='annotations/panoptic_val2017.json', test_mode=True,
        data_prefix=dict(img='val2017/', seg='annotations/panoptic_val2017/'))
    truth = COCO(str(root / 'annotations/instances_val2017.json'))
    assert len(data) == SCENES.val and len(data.cat_ids) == 133
    for info in map(data.get_data_info, range(len(data))):
        ids = np.asarray(Image.open(info['seg_map_path']))[..., 0]
        *things, stuff = info['segments_info']
        assert sorted(np.unique(ids)) == [one['id'] for one in info['segments_info']]
        for each, segment in zip(truth.loadAnns(truth.getAnnIds(info['img_id'])), things):
            assert (truth.annToMask(each) == (ids == segment['id'])).all()
            assert segment['category'] == each['category_id'] - 1
        assert not stuff['is_thing']


@pytest.mark.parametrize('layout, kind, size', [
    ('cifar10', 'mmvisionmix.DemoCIFAR10', 32), ('cifar100', 'mmvisionmix.DemoCIFAR100', 32),
    ('tiny-imagenet', 'mmvisionmix.TinyImageNet', 64), ('imagenet', 'mmpretrain.ImageNet', 256),
    ('svhn', 'mmvisionmix.SVHN', 32)])
@pytest.mark.parametrize('split', SPLITS)
def test_mmpretrain_reads_the_pictures(made, layout, kind, size, split):
    part = 'test' if split == 'val' and layout in ('cifar10', 'cifar100', 'svhn') else split
    data = DATASETS.build(dict(
        type=kind, data_root=str(made / layout), split=part, pipeline=[
            dict(type='mmpretrain.LoadImageFromFile')] if size > 32 else []))
    drawn = (svhn.draw_digits(PICTURES, split, iter) if layout == 'svhn' else
             draw_pictures(PICTURES, split, size, iter))
    if (layout, split) == ('tiny-imagenet', 'train'):  # listed by class
        drawn = sorted(drawn, key=lambda picture: picture.label)
    assert [info['gt_label'] for info in data] == [picture.label for picture in drawn]
    order = slice(None, None, -1 if size > 32 else 1)  # files are read as BGR
    for info, picture in zip(data, drawn):
        assert np.abs(info['img'][..., order].astype(int) - picture.image).mean() < 4  # JPEG


@pytest.mark.parametrize('layout, kind', [
    ('cifar10', 'mmvisionmix.DemoCIFAR10'), ('cifar100', 'mmvisionmix.DemoCIFAR100')])
def test_demo_cifar_names_a_missing_file_and_never_downloads(tmp_path, monkeypatch, layout, kind):
    monkeypatch.setattr('mmpretrain.datasets.cifar.download_and_extract_archive', None)
    WRITERS[layout][0](tmp_path, Recipe(train=5, val=5))
    lost = next(path for path in tmp_path.glob('*/*') if path.is_file())
    lost.unlink()
    with pytest.raises(FileNotFoundError, match=f'make_demo_data.py {layout} --out {tmp_path}'):
        DATASETS.build(dict(type=kind, data_root=str(tmp_path), download=True))


@pytest.mark.parametrize('layout', WRITERS)
def test_the_same_recipe_gives_the_same_bytes(made, tmp_path, layout):
    write, recipe = WRITERS[layout]
    write(tmp_path / 'again', recipe)
    assert contents(tmp_path / 'again') == contents(made / layout)
    assert not write(tmp_path / 'again', recipe)  # complete: left alone
    fewer = type(recipe)(**{**vars(recipe), 'train': 10})
    assert write(tmp_path / 'again', fewer)
    ours, others = contents(tmp_path / 'again'), contents(made / layout)
    pictures = [name for name in ours if name.lower().endswith(('.jpg', '.jpeg', '.png'))]
    assert all(ours[name] == others[name] for name in pictures)
    assert os.listdir(tmp_path) == ['again']


@pytest.mark.parametrize('stranger', ['notes.txt', 'images/training/ADE_train_00000099.jpg'])
def test_a_folder_with_anything_else_is_refused_and_unchanged(tmp_path, stranger):
    demo_data.write_ade20k(tmp_path, SceneRecipe(size=32, train=1, val=1))
    (tmp_path / stranger).write_text('precious')
    before = contents(tmp_path)
    with pytest.raises(FileExistsError, match=Path(stranger).name):
        demo_data.write_ade20k(tmp_path, SCENES)
    assert contents(tmp_path) == before


@pytest.fixture(scope='module')
def tool():
    return runpy.run_path(str(ROOT / 'tools/dataset_tools/make_demo_data.py'))


def test_the_command_says_what_it_made_where_and_what_next(tool, tmp_path, capsys):
    tool['main'](['coco', '--out', str(tmp_path), '--train', '11', '--val', '2', '--size', '32'])
    made, following = capsys.readouterr().out.strip().splitlines()[-2:]
    assert made.startswith('Made 11 training and 2 validation pictures')
    assert made.endswith(f'in {tmp_path}') and following.startswith('Next: ')
    assert set(DEMO_LAYOUTS.values()) == set(WRITERS)
    with pytest.raises(SystemExit, match='size must be from 32 to 1024 pixels, got 8'):
        tool['main'](['ade20k', '--size', '8'])
