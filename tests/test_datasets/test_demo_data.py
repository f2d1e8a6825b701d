# Copyright (c) mmvisionmix authors. All rights reserved.
"""The demo data: what is drawn, where it comes from, and which files it touches."""

import os
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from mmseg import datasets
from PIL import Image

from mmvisionmix.datasets.demo_data import (
    CLASSES,
    PALETTE,
    PHOTOGRAPHS,
    SPLITS,
    SceneRecipe,
    ade20k,
    owned_folder,
    photographs,
    write_ade20k,
)
from mmvisionmix.datasets.demo_data.scenes import draw_scene, random_crop, wavy_partition

RECIPE = SceneRecipe(size=48, train=4, val=3, seed=5)
FEWER = SceneRecipe(size=32, train=2, val=1, seed=6)
MORE = SceneRecipe(size=32, train=9, val=5, seed=6)


class PowerCutError(Exception):
    """Stands for whatever may stop a run."""


def contents(folder):
    """All files of a folder: {relative path: bytes}."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob('*') if path.is_file()
    }


def read(path):
    return np.asarray(Image.open(path))


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """A data set of RECIPE, which no test may change."""
    folder = tmp_path_factory.mktemp('demo') / 'ade20k'
    assert write_ade20k(folder, RECIPE)
    return folder


@pytest.fixture
def photographs_in_memory(monkeypatch, parts_in_memory):
    """Loads the parts of the photographs once, for tests that write several data sets."""
    monkeypatch.setattr(ade20k, 'load_parts', parts_in_memory)


@pytest.fixture(scope='module')
def parts_in_memory():
    return lru_cache(maxsize=None)(photographs.load_parts)


# The photographs and their parts


def coordinate_photograph(index, height, width):
    """A picture whose pixels say where they are: (index, row, column)."""
    rows, columns = np.indices((height, width))
    return np.stack([np.full_like(rows, index), rows, columns], -1).astype(np.uint8)


def halves(shape):
    """A photograph that is green where training crops come from, and red elsewhere."""
    pixels = np.zeros((*shape, 3), np.uint8)
    pixels[..., 0] = 255
    along_width = shape[1] >= shape[0]
    border = round(max(shape) * photographs.TRAIN_SHARE)
    (pixels[:, :border] if along_width else pixels[:border])[...] = (0, 255, 0)
    return pixels


@pytest.mark.parametrize('shape', [(40, 60), (60, 40), (50, 50)])
def test_parts_share_no_pixel_and_lose_none(shape):
    pixels = coordinate_photograph(0, *shape)
    parts = [photographs.split_part(pixels, split) for split in SPLITS]
    places = [set(map(tuple, part.reshape(-1, 3))) for part in parts]
    assert not places[0] & places[1]
    assert len(places[0] | places[1]) == shape[0] * shape[1]
    assert len(places[0]) > len(places[1])


def test_unknown_split_is_refused():
    with pytest.raises(ValueError, match="unknown split 'test'"):
        photographs.split_part(np.zeros((4, 4, 3)), 'test')


@pytest.mark.parametrize('shape', [(900, 1300), (1300, 900), (40, 70), (70, 40)])
def test_scaling_mixes_no_pixels_of_the_two_parts(monkeypatch, shape):
    monkeypatch.setattr(photographs, '_shipped_pixels', lambda _: halves(shape))
    for split, color in zip(SPLITS, [(0, 255, 0), (255, 0, 0)]):
        part = photographs.load_part(PHOTOGRAPHS[0], split, 100, 120)
        assert part.shape[0] >= 100 and part.shape[1] >= 120
        assert (part == color).all()


def test_large_photographs_are_scaled_down_as_a_whole(monkeypatch):
    monkeypatch.setattr(photographs, '_shipped_pixels', lambda _: halves((640, 1280)))
    shapes = [photographs.load_part(PHOTOGRAPHS[0], split, 32, 32).shape for split in SPLITS]
    assert shapes == [(320, 384, 3), (320, 256, 3)]


def test_every_photograph_is_read_in_colour_and_without_its_frame():
    for photograph in PHOTOGRAPHS:
        pixels = photographs.read_photograph(photograph)
        assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
    retina = photographs.read_photograph(PHOTOGRAPHS[CLASSES.index('retina')])
    assert retina.max(axis=-1).min() > 60  # the black frame around the eye is not there


def test_classes_and_colours_are_distinct():
    assert len(set(CLASSES)) == len(set(PALETTE)) == len(PHOTOGRAPHS) == 10


@pytest.mark.parametrize('key, package', [('brick', 'skimage'), ('china.jpg', 'sklearn.datasets')])
def test_missing_package_names_the_command_that_mends_it(monkeypatch, tmp_path, key, package):
    monkeypatch.setitem(sys.modules, package, None)
    photograph, = (photograph for photograph in PHOTOGRAPHS if photograph.key == key)
    with pytest.raises(ImportError, match=r'pip install "mmvisionmix\[demo\]"'):
        photographs.read_photograph(photograph)
    with pytest.raises(ImportError):
        write_ade20k(tmp_path / 'new', RECIPE)
    assert not (tmp_path / 'new').exists()


# The scenes


@pytest.mark.parametrize('split', SPLITS)
def test_every_pixel_comes_from_the_labelled_photograph_and_the_right_part(split):
    sizes = [(100, 200), (200, 100), (150, 150), (90, 220), (120, 180), (180, 120)]
    parts = [
        photographs.split_part(coordinate_photograph(index, *size), split)
        for index, size in enumerate(sizes)
    ]
    for number in range(40):
        image, classes = draw_scene(RECIPE.rng(split, number), parts, (60, 50))
        assert (image[..., 0] == classes).all()
        for index in np.unique(classes):
            height, width = sizes[index]
            along = image[classes == index][:, 2 if width >= height else 1]
            border = round(max(height, width) * photographs.TRAIN_SHARE)
            assert (along < border).all() if split == 'train' else (along >= border).all()


def test_regions_are_filled_with_unscaled_windows():
    parts = [coordinate_photograph(index, 200, 200) for index in range(5)]
    image, classes = draw_scene(np.random.default_rng(0), parts, (64, 64))
    shift = image[..., 1:].astype(int) - np.stack(np.indices((64, 64)), -1)
    for index in np.unique(classes):
        assert len(np.unique(shift[classes == index], axis=0)) == 1


def test_scenes_hold_two_to_five_photographs_and_use_all_of_them():
    parts = [coordinate_photograph(index, 64, 64) for index in range(10)]
    scenes = [draw_scene(np.random.default_rng(seed), parts, (48, 48)) for seed in range(150)]
    assert {len(np.unique(scene.classes)) for scene in scenes} == {2, 3, 4, 5}
    uses = np.bincount([index for scene in scenes for index in np.unique(scene.classes)])
    assert len(uses) == 10 and uses.min() > uses.max() / 3


@pytest.mark.parametrize('regions', [2, 5])
def test_no_region_is_tiny_and_borders_are_wavy(regions):
    for seed in range(20):
        partition = wavy_partition(np.random.default_rng(seed), (64, 96), regions)
        assert partition.shape == (64, 96)
        assert np.bincount(partition.ravel(), minlength=regions).min() >= 0.05 * partition.size
        assert not _is_straight(partition == 0)


def _is_straight(region):
    """Whether one straight line parts a region from the rest, judged by least squares."""
    rows, columns = np.indices(region.shape).reshape(2, -1)
    plane = np.stack([rows, columns, np.ones_like(rows)], -1)
    sides = np.where(region.ravel(), 1., -1.)
    normal = np.linalg.lstsq(plane, sides, rcond=None)[0]
    return (np.sign(plane @ normal) == sides).all()


def test_random_crop_reaches_every_position():
    rng, pixels = np.random.default_rng(0), coordinate_photograph(0, 6, 5)
    corners = {tuple(random_crop(rng, pixels, (4, 4))[0, 0, 1:]) for _ in range(200)}
    assert corners == {(row, column) for row in range(3) for column in range(2)}


@pytest.mark.parametrize('wrong, message', [
    (dict(size=31), 'size must be from 32 to 1024 pixels, got 31'),
    (dict(size=1025), 'size must be from 32 to 1024 pixels, got 1025'),
    (dict(train=0), 'train must be at least 1, got 0'),
    (dict(val=-1), 'val must be at least 1, got -1'),
    (dict(seed=-1), 'seed must not be negative, got -1'),
])
def test_wrong_recipes_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        SceneRecipe(**wrong)


# The layout of ADE20K


def test_files_are_those_of_ade20k(made):
    scenes = [f'{folder}/ADE_{split}_{index:08d}'
              for split, folder, count in (('train', 'training', 4), ('val', 'validation', 3))
              for index in range(1, count + 1)]
    expected = {f'images/{scene}.jpg' for scene in scenes}
    expected |= {f'annotations/{scene}.png' for scene in scenes}
    assert set(contents(made)) == expected | {'CREDITS.txt', 'demo_data.json'}


@pytest.mark.parametrize('split, folder', [('train', 'training'), ('val', 'validation')])
def test_files_show_the_drawn_scenes(made, split, folder):
    parts = photographs.load_parts(split, 48, 48)
    for index in range(1, RECIPE.count(split) + 1):
        image, classes = draw_scene(RECIPE.rng(split, index), parts, (48, 48))
        annotation = Image.open(made / f'annotations/{folder}/ADE_{split}_{index:08d}.png')
        written = read(made / f'images/{folder}/ADE_{split}_{index:08d}.jpg')
        assert annotation.mode == 'L'
        assert (np.asarray(annotation) == classes + 1).all()
        assert np.abs(written.astype(int) - image).mean() < 4  # JPEG loses a little


def test_scenes_larger_than_the_photographs_are_made(tmp_path):
    write_ade20k(tmp_path, SceneRecipe(size=600, train=1, val=1))
    assert read(tmp_path / 'images/validation/ADE_val_00000001.jpg').shape == (600, 600, 3)


def test_credits_name_every_photograph(made):
    text = (made / 'CREDITS.txt').read_text(encoding='utf-8')
    for photograph in PHOTOGRAPHS:
        assert photograph.key in text and photograph.origin in text and photograph.licence in text


def test_same_recipe_gives_the_same_bytes(made, tmp_path):
    write_ade20k(tmp_path, RECIPE)
    assert contents(tmp_path) == contents(made)


def test_another_seed_gives_other_scenes(made, tmp_path):
    write_ade20k(tmp_path, SceneRecipe(size=48, train=4, val=3, seed=6))
    ours, others = contents(made), contents(tmp_path)
    assert all(ours[name] != others[name] for name in ours if name.endswith(('.jpg', '.png')))


def test_number_of_training_scenes_changes_no_other_scene(made, tmp_path):
    write_ade20k(tmp_path, SceneRecipe(size=48, train=2, val=3, seed=5))
    fewer, more = contents(tmp_path), contents(made)
    pictures = [name for name in fewer if name.endswith(('.jpg', '.png'))]
    assert len(pictures) == 2 * (2 + 3)
    assert all(fewer[name] == more[name] for name in pictures)


def test_scenes_of_one_set_differ(made):
    pictures = [data for name, data in contents(made).items() if name.endswith('.jpg')]
    assert len(set(pictures)) == len(pictures) == 7


def test_mmseg_reads_it_as_ade20k(made):
    dataset = datasets.ADE20KDataset(
        data_root=str(made),
        data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
        pipeline=[])
    assert dataset.reduce_zero_label and len(dataset) == 4
    load = datasets.LoadAnnotations()
    for index in range(4):
        info = dataset.get_data_info(index)
        labels = load(info)['gt_seg_map']
        assert Path(info['img_path']).stem == Path(info['seg_map_path']).stem
        assert labels.max() < len(CLASSES)
        assert (labels == read(info['seg_map_path']) - 1).all()


# The folder


@pytest.mark.usefixtures('photographs_in_memory')
def test_a_complete_folder_is_left_alone(tmp_path):
    write_ade20k(tmp_path, RECIPE)
    (tmp_path / 'mine.txt').touch()  # nothing is going to be written, so it disturbs nothing
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*')}
    assert not write_ade20k(tmp_path, RECIPE)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*')} == before


@pytest.mark.usefixtures('photographs_in_memory')
def test_missing_file_is_made_again(made, tmp_path):
    write_ade20k(tmp_path, RECIPE)
    (tmp_path / 'images/training/ADE_train_00000002.jpg').unlink()
    assert write_ade20k(tmp_path, RECIPE)
    assert contents(tmp_path) == contents(made)


@pytest.mark.usefixtures('photographs_in_memory')
def test_other_parameters_replace_all_files_and_leave_nothing_behind(made, tmp_path):
    write_ade20k(tmp_path, MORE)
    assert write_ade20k(tmp_path, RECIPE)
    assert contents(tmp_path) == contents(made)


def test_subfolders_of_removed_files_are_removed(tmp_path):
    folder = owned_folder.OwnedFolder(tmp_path)
    with folder.rewriting({}, ['a/b/file']):
        (tmp_path / 'a/b/file').touch()
    with folder.rewriting({'other': 1}, ['c/file']):
        (tmp_path / 'c/file').touch()
    assert sorted(os.listdir(tmp_path)) == ['c', 'demo_data.json']


@pytest.mark.usefixtures('photographs_in_memory')
@pytest.mark.parametrize('stranger', [
    'notes.txt', 'images/mine.jpg', 'images/training/ADE_train_00000099.jpg', 'empty folder/'
])
@pytest.mark.parametrize('earlier', [False, True], ids=['new folder', 'rewritten folder'])
def test_a_folder_with_anything_else_is_refused_and_unchanged(tmp_path, stranger, earlier):
    if earlier:
        write_ade20k(tmp_path, FEWER)
    path = tmp_path / stranger
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir() if stranger.endswith('/') else path.write_text('precious')
    before = contents(tmp_path)
    with pytest.raises(FileExistsError, match=path.name):
        write_ade20k(tmp_path, RECIPE)
    assert contents(tmp_path) == before and path.exists()


@pytest.mark.usefixtures('photographs_in_memory')
def test_links_are_not_followed(tmp_path):
    elsewhere, folder = tmp_path / 'elsewhere', tmp_path / 'demo'
    write_ade20k(folder, FEWER)
    (folder / 'images').rename(elsewhere)
    (folder / 'images').symlink_to(elsewhere)
    before = contents(elsewhere)
    with pytest.raises(FileExistsError, match='images'):
        write_ade20k(folder, RECIPE)
    assert contents(elsewhere) == before


OURS = f'"made_by": "{owned_folder.MADE_BY}"'


@pytest.mark.parametrize('text', [
    'not json', '[]', '{}', '{"files": []}', '{"made_by": "somebody", "files": []}',
    f'{{{OURS}}}', f'{{{OURS}, "files": 5}}', f'{{{OURS}, "files": ["../../precious"]}}',
    f'{{{OURS}, "files": ["/precious"]}}'
])
def test_a_foreign_or_dangerous_manifest_is_refused(tmp_path, text):
    (tmp_path / 'demo_data.json').write_text(text)
    with pytest.raises(FileExistsError, match='not a manifest of demo data'):
        write_ade20k(tmp_path, RECIPE)
    assert contents(tmp_path) == {'demo_data.json': text.encode()}


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / 'file').write_text('precious')
    with pytest.raises(NotADirectoryError, match='is a file'):
        write_ade20k(tmp_path / 'file', RECIPE)


def failing_at(call, function):
    """A function that works until its given call, counted from 1, which fails before it acts."""
    calls = iter(range(1, call))

    def wrapper(*args, **kwargs):
        if next(calls, None) is None:
            raise PowerCutError
        return function(*args, **kwargs)

    return wrapper


@pytest.mark.usefixtures('photographs_in_memory')
@pytest.mark.parametrize('owner, function, call, earlier', [
    (os, 'replace', 1, None),  # the first manifest is drafted, but not in place
    (os, 'replace', 1, MORE),
    (Path, 'unlink', 2, MORE),  # some old files are gone
    (Image.Image, 'save', 1, None),
    (Image.Image, 'save', 4, FEWER),  # an image lacks its annotation
    (Image.Image, 'save', 4, MORE),
    (os, 'replace', 2, None),  # all is written, but not yet declared complete
    (os, 'replace', 2, MORE),
])
def test_an_interrupted_run_is_done_again(made, tmp_path, monkeypatch, owner, function, call,
                                          earlier):
    if earlier:
        write_ade20k(tmp_path, earlier)
    with monkeypatch.context() as patch:
        patch.setattr(owner, function, failing_at(call, getattr(owner, function)))
        with pytest.raises(PowerCutError):
            write_ade20k(tmp_path, RECIPE)
    assert write_ade20k(tmp_path, RECIPE)
    assert contents(tmp_path) == contents(made)


def test_subfolders_left_empty_by_an_interruption_are_removed(tmp_path, monkeypatch):
    folder = owned_folder.OwnedFolder(tmp_path)
    with folder.rewriting({}, ['a/b/file']):
        (tmp_path / 'a/b/file').touch()
    with monkeypatch.context() as patch:
        patch.setattr(Path, 'rmdir', failing_at(2, Path.rmdir))
        with pytest.raises(PowerCutError), folder.rewriting({'other': 1}, []):
            pass
    assert not (tmp_path / 'a/b').exists() and (tmp_path / 'a').exists()
    with owned_folder.OwnedFolder(tmp_path).rewriting({'other': 1}, []):
        pass
    assert os.listdir(tmp_path) == ['demo_data.json']


@pytest.mark.usefixtures('photographs_in_memory')
def test_an_interrupted_run_may_be_followed_by_another_recipe(made, tmp_path):

    def stop_after_two(scenes):
        yield from scenes[:2]
        raise PowerCutError

    with pytest.raises(PowerCutError):
        write_ade20k(tmp_path, MORE, stop_after_two)
    assert write_ade20k(tmp_path, RECIPE)
    assert contents(tmp_path) == contents(made)
