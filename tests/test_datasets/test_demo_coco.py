# Copyright (c) mmvisionmix authors. All rights reserved.
"""The demo data for detection, read back by pycocotools and by mmdetection's COCO classes."""
import json
import sys
from functools import lru_cache

import numpy as np
import pytest
from matplotlib.path import Path
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets import CocoDataset
from mmdet.datasets.transforms import LoadAnnotations
from mmengine.dataset import Compose
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmvisionmix.datasets.demo_data import (
    CLASSES,
    PALETTE,
    SPLITS,
    SceneRecipe,
    coco,
    photographs,
    write_coco,
)
from mmvisionmix.datasets.demo_data.blobs import draw_blob, fill_polygon
from mmvisionmix.datasets.demo_data.objects import draw_objects

RECIPE = SceneRecipe(size=96, train=32, val=11, seed=5)
JPEG_TOLERANCE = 40
"""Colours change by so much at the border of two regions; classes differ by more."""


def flat_parts(split, height, width):
    """In the place of photographs, the colours of the classes; validation parts are darker."""
    shades = np.array(PALETTE) // (1 if split == 'train' else 2)
    return [np.full((height, width, 3), shade, np.uint8) for shade in shades]


def place_parts(split, size):
    """Pictures whose pixels say where they come from: (photograph, row, column)."""
    sources = []
    for index in range(10):
        rows, columns = np.indices((3 * size, 3 * size))
        pixels = np.stack([np.full_like(rows, index), rows, columns], -1).astype(np.uint8)
        sources.append(photographs.split_part(pixels, split))
    return sources


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob('*') if path.is_file()}


def scenes(split, parts, count=40, size=64):
    recipe = SceneRecipe(size=size)
    return [coco.draw_picture(recipe, split, index, parts) for index in range(1, count + 1)]


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """A data set of RECIPE, which no test may change."""
    folder = tmp_path_factory.mktemp('demo') / 'coco'
    assert write_coco(folder, RECIPE)
    return folder


@pytest.fixture
def flat(monkeypatch, tmp_path):
    """A data set whose photographs are of one colour each."""
    monkeypatch.setattr(coco, 'load_parts', flat_parts)
    write_coco(tmp_path / 'flat', RECIPE)
    return tmp_path / 'flat'


@pytest.fixture
def photographs_in_memory(monkeypatch, parts_in_memory):
    """Loads the parts of the photographs once, for tests that write several data sets."""
    monkeypatch.setattr(coco, 'load_parts', parts_in_memory)


@pytest.fixture(scope='module')
def parts_in_memory():
    return lru_cache(maxsize=None)(photographs.load_parts)


def open_coco(folder, split):
    return COCO(str(folder / f'annotations/instances_{split}2017.json'))


def open_dataset(folder, split, **options):
    return CocoDataset(
        data_root=str(folder), ann_file=f'annotations/instances_{split}2017.json',
        data_prefix=dict(img=f'{split}2017/'), pipeline=[], **options)


# The shapes


def test_a_blob_is_what_its_polygon_encloses():
    for seed in range(50):
        rng = np.random.default_rng(seed)
        blob = draw_blob(rng, (50, 70), rng.uniform(0, (50, 70)), rng.uniform(3, 25))
        assert (fill_polygon(blob.polygon, (50, 70)) == blob.mask).all()
        rows, columns = np.indices(blob.mask.shape).reshape(2, -1) + 0.5
        outline = Path(np.reshape(blob.polygon, (-1, 2)))
        inside = outline.contains_points(np.stack([columns, rows], -1)).reshape(blob.mask.shape)
        border = np.hypot(*np.gradient(inside.astype(float))) > 0
        assert (inside == blob.mask)[~border].all()


def test_blobs_are_round_and_wavy_but_stay_around_their_centre():
    for seed in range(50):
        blob = draw_blob(np.random.default_rng(seed), (101, 101), (50.5, 50.5), 25)
        assert blob.mask[50, 50]
        assert 0.5 < blob.mask.sum() / (np.pi * 25**2) < 2
        rows, columns = np.nonzero(blob.mask)
        distances = np.hypot(rows - 50, columns - 50)
        assert distances.max() < 2 * 25
    points = np.reshape(blob.polygon, (-1, 2)) - 50.5
    assert np.ptp(np.hypot(*points.T)) > 2


# The pictures


@pytest.mark.parametrize('split', SPLITS)
def test_objects_show_their_photograph_and_nothing_else_does(split):
    parts = place_parts(split, 64)
    for scene in scenes(split, parts):
        labels = np.full(scene.image.shape[:2], -1)
        for instance in scene.instances:
            assert (labels[instance.mask] == -1).all()  # no pixel belongs to two
            labels[instance.mask] = instance.label
        shown = scene.image[..., 0]
        assert (shown == labels)[labels >= 0].all()
        background, = np.unique(shown[labels < 0])
        assert background not in {instance.label for instance in scene.instances}


@pytest.mark.parametrize('split', SPLITS)
def test_pictures_are_made_of_unscaled_windows_of_the_right_part(split):
    border = round(3 * 64 * photographs.TRAIN_SHARE)
    for scene in scenes(split, place_parts(split, 64)):
        columns = scene.image[..., 2]
        assert (columns < border).all() if split == 'train' else (columns >= border).all()
        shift = scene.image[..., 1:].astype(int) - np.stack(np.indices(columns.shape), -1)
        for instance in scene.instances:
            windows = len(np.unique(shift[instance.mask], axis=0))
            assert windows == 1 or instance.crowd


def test_pictures_hold_up_to_four_objects_and_are_of_all_shapes():
    drawn = scenes('train', flat_parts('train', 64, 64), count=200)
    counts = [sum(not instance.crowd for instance in scene.instances) for scene in drawn]
    assert set(counts) == {0, 1, 2, 3, 4} and counts.count(0) == 20
    assert sum(any(instance.crowd for instance in scene.instances) for scene in drawn) == 40
    assert {max(scene.image.shape) for scene in drawn} == {64}
    ratios = [np.sign(scene.image.shape[0] - scene.image.shape[1]) for scene in drawn]
    assert min(ratios.count(sign) for sign in (-1, 0, 1)) > 20
    uses = np.bincount([instance.label for scene in drawn for instance in scene.instances])
    assert len(uses) == 10 and uses.min() > uses.max() / 3


def test_some_photographs_come_twice_and_those_never_overlap():
    twice = 0
    for seed in range(60):
        scene = draw_objects(
            np.random.default_rng(seed), flat_parts('train', 64, 64), (64, 64), 4, crowd=True)
        labels = [instance.label for instance in scene.instances]
        assert len(labels) == 5
        twice += len(set(labels)) < 5
    assert twice > 30


def test_nothing_visible_is_tiny():
    for scene in scenes('val', flat_parts('val', 64, 64), count=100):
        for instance in scene.instances:
            assert instance.mask.sum() >= 0.01 * instance.mask.size


def test_only_wholly_visible_objects_have_a_polygon():
    instances = [instance for scene in scenes('train', flat_parts('train', 64, 64), count=100)
                 for instance in scene.instances]
    for instance in instances:
        if instance.polygon:
            assert not instance.crowd
            assert (fill_polygon(instance.polygon, instance.mask.shape) == instance.mask).all()
    hidden = [not instance.polygon for instance in instances if not instance.crowd]
    assert 0.05 < np.mean(hidden) < 0.5


@pytest.mark.parametrize('mask, counts', [
    ([[0, 0], [0, 0]], [4]), ([[1, 1], [1, 1]], [0, 4]), ([[0, 1], [0, 0]], [2, 1, 1]),
    ([[1, 0, 1], [1, 0, 0]], [0, 2, 2, 1, 1])])
def test_runs_go_down_the_columns_and_begin_outside(mask, counts):
    mask = np.array(mask, bool)
    assert coco.encode_runs(mask) == dict(counts=counts, size=list(mask.shape))


# The layout of COCO


def test_files_are_those_of_coco(made):
    expected = {f'{split}2017/{index:012d}.jpg' for split in SPLITS
                for index in range(1, RECIPE.count(split) + 1)}
    expected |= {f'annotations/instances_{split}2017.json' for split in SPLITS}
    assert set(contents(made)) == expected | {'CREDITS.txt', 'demo_data.json'}


@pytest.mark.parametrize('split', SPLITS)
def test_boxes_areas_and_masks_agree_to_the_pixel(made, split):
    truth = open_coco(made, split)
    for annotation in truth.dataset['annotations']:
        mask = truth.annToMask(annotation).astype(bool)
        rows, columns = np.nonzero(mask)
        assert annotation['bbox'] == [columns.min(), rows.min(), np.ptp(columns) + 1,
                                      np.ptp(rows) + 1]
        assert annotation['area'] == len(rows)
    kinds = {(annotation['iscrowd'], type(annotation['segmentation']))
             for annotation in truth.dataset['annotations']}
    assert kinds == {(0, list), (0, dict), (1, dict)}


@pytest.mark.parametrize('split', SPLITS)
def test_json_follows_the_conventions_of_coco(made, split):
    data = json.loads((made / f'annotations/instances_{split}2017.json').read_text())
    assert list(data) == ['info', 'licenses', 'images', 'annotations', 'categories']
    assert [image['id'] for image in data['images']] == list(range(1, RECIPE.count(split) + 1))
    for image in data['images']:
        with Image.open(made / f'{split}2017' / image['file_name']) as picture:
            assert picture.size == (image['width'], image['height'])
    numbers = [annotation['id'] for annotation in data['annotations']]
    assert numbers == list(range(1, len(numbers) + 1))
    for annotation in data['annotations']:
        assert list(annotation) == ['id', 'image_id', 'category_id', 'iscrowd', 'area', 'bbox',
                                    'segmentation']
        assert 1 <= annotation['category_id'] <= 10
    with_objects = {annotation['image_id'] for annotation in data['annotations']}
    assert {image['id'] for image in data['images']} - with_objects == (
        {10, 20, 30} if split == 'train' else {10})


def test_categories_are_those_of_coco_and_tell_the_photographs(made):
    categories = open_coco(made, 'val').dataset['categories']
    ids = {category['name']: category['id'] for category in categories}
    assert tuple(ids) == CocoDataset.METAINFO['classes'] and len(ids) == 80
    assert [ids[name] for name in ('person', 'traffic light', 'stop sign', 'backpack', 'tie',
                                   'bowl', 'dining table', 'toilet', 'tv', 'book', 'toothbrush')
            ] == [1, 10, 13, 27, 32, 51, 67, 70, 72, 84, 90]
    assert tuple(category['supercategory'] for category in categories[:10]) == CLASSES
    for number, name in enumerate(CLASSES):
        line, = (line for line in coco.__doc__.splitlines() if f' {name}' in f'{line} '
                 and categories[number]['name'] in line)
        assert line.partition(categories[number]['name'])[2].split()[0] == name


@pytest.mark.parametrize('split, darker', [('train', 1), ('val', 2)])
def test_written_masks_lie_where_the_pictures_show_the_class(flat, split, darker):
    truth = open_coco(flat, split)
    for image in truth.dataset['images']:
        pixels = np.asarray(Image.open(flat / f'{split}2017' / image['file_name'])).astype(int)
        background = np.ones(pixels.shape[:2], bool)
        for annotation in truth.loadAnns(truth.getAnnIds(image['id'])):
            mask = truth.annToMask(annotation).astype(bool)
            colour = np.array(PALETTE[annotation['category_id'] - 1]) // darker
            assert np.abs(np.median(pixels[mask], axis=0) - colour).max() <= 3
            assert np.mean(np.abs(pixels[mask] - colour).max(-1) > JPEG_TOLERANCE) < 0.02
            background &= ~mask
        spread = np.abs(pixels[background] - np.median(pixels[background], axis=0)).max(-1)
        assert np.mean(spread > JPEG_TOLERANCE) < 0.02


@pytest.mark.parametrize('split', SPLITS)
@pytest.mark.parametrize('kind', ['bbox', 'segm'])
def test_the_truth_as_detections_gets_full_marks(made, split, kind):
    truth = open_coco(made, split)
    detections = [
        dict(image_id=annotation['image_id'], category_id=annotation['category_id'], score=1.,
             bbox=annotation['bbox'], segmentation=truth.annToRLE(annotation))
        for annotation in truth.dataset['annotations']]  # those of crowds count for nothing
    if kind == 'segm':
        for detection in detections:
            del detection['bbox']
    evaluation = COCOeval(truth, truth.loadRes(detections), kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[:3] == pytest.approx(1)


# What mmdetection reads


@pytest.mark.parametrize('split', SPLITS)
def test_mmdet_reads_it_as_coco(made, split):
    dataset, truth = open_dataset(made, split, test_mode=True), open_coco(made, split)
    assert len(dataset) == RECIPE.count(split)
    assert len(dataset.cat_ids) == 80  # its metric looks up the id of whatever a model predicts
    load = Compose([LoadImageFromFile(), LoadAnnotations(with_mask=True)])
    for index in range(len(dataset)):
        info = load(dataset.get_data_info(index))
        annotations = truth.loadAnns(truth.getAnnIds(info['img_id']))
        boxes = [[left, top, left + width, top + height]
                 for left, top, width, height in (each['bbox'] for each in annotations)]
        assert (info['gt_bboxes'].tensor.numpy() == np.reshape(boxes, (-1, 4))).all()
        assert info['gt_bboxes_labels'].tolist() == [
            each['category_id'] - 1 for each in annotations]
        assert info['gt_ignore_flags'].tolist() == [each['iscrowd'] for each in annotations]
        assert len(info['gt_masks'].masks) == len(annotations)
        for mask, annotation in zip(info['gt_masks'].masks, annotations):
            assert (mask == truth.annToMask(annotation)).all()


def test_mmdet_leaves_out_pictures_without_objects_in_training(made):
    dataset = open_dataset(made, 'train', filter_cfg=dict(filter_empty_gt=True, min_size=32))
    assert len(dataset) == 32 - 3


def test_mmdet_can_tell_the_first_ten_classes_alone(made):
    dataset = open_dataset(made, 'val', metainfo=dict(classes=coco.CATEGORIES[:10]))
    labels = {instance['bbox_label'] for info in dataset for instance in info['instances']}
    assert len(dataset.cat_ids) == 10 and labels <= set(range(10)) and len(labels) > 5


# The folder


@pytest.mark.usefixtures('photographs_in_memory')
def test_the_same_recipe_gives_the_same_bytes_and_another_seed_others(made, tmp_path):
    write_coco(tmp_path, RECIPE)
    before = contents(tmp_path)
    assert before == contents(made)
    assert write_coco(tmp_path, SceneRecipe(size=96, train=32, val=11, seed=6))
    after = contents(tmp_path)
    assert [name for name in after if after[name] == before[name]] == ['CREDITS.txt']


@pytest.mark.usefixtures('photographs_in_memory')
def test_number_of_training_pictures_changes_no_other_picture(made, tmp_path):
    write_coco(tmp_path, SceneRecipe(size=96, train=2, val=11, seed=5))
    fewer, more = contents(tmp_path), contents(made)
    assert [name for name in fewer if fewer[name] != more[name]] == [
        name for name in fewer if name.endswith(('train2017.json', 'demo_data.json'))]


def test_a_complete_folder_is_left_alone_and_a_strange_one_refused(made, tmp_path):
    assert not write_coco(made, RECIPE)
    (tmp_path / 'thesis.tex').touch()
    with pytest.raises(FileExistsError, match=r'thesis\.tex'):
        write_coco(tmp_path, SceneRecipe(size=32, train=1, val=1))
    assert [path.name for path in tmp_path.iterdir()] == ['thesis.tex']


@pytest.mark.usefixtures('photographs_in_memory')
@pytest.mark.parametrize('size', [32, 600])
def test_the_smallest_sets_of_any_size_can_be_read(tmp_path, size):
    write_coco(tmp_path, SceneRecipe(size=size, train=1, val=1))
    for split in SPLITS:
        instances = open_dataset(tmp_path, split)[0]['instances']
        assert [instance['ignore_flag'] for instance in instances].count(1) == 1
        assert len(instances) > 1


@pytest.mark.parametrize('package, extra', [
    ('pycocotools', r'mmvisionmix\[demo,det\]'), ('skimage', r'mmvisionmix\[demo\]')])
def test_a_missing_package_is_named_and_leaves_no_folder(monkeypatch, tmp_path, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=f'{package}.*pip install "{extra}"'):
        write_coco(tmp_path / 'new', RECIPE)
    assert not (tmp_path / 'new').exists()


def test_progress_is_told_of_every_picture(monkeypatch, tmp_path):
    seen = []

    def track(items):
        seen.extend(items)
        return items

    monkeypatch.setattr(coco, 'load_parts', flat_parts)
    write_coco(tmp_path, SceneRecipe(size=32, train=3, val=2), track)
    assert seen == [1, 2, 3, 1, 2]
