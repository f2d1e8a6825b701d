# Copyright (c) mmvisionmix authors. All rights reserved.
"""tools/dataset_tools/check_data.py lists what is bad in the data of a config."""
import re
import runpy

import pytest
from damage import DAMAGE, ROOT, Classification, Detection, Segmentation, cut, values
from inspection import Inspection

from demo_data import Recipe, write_cifar10
from mmvisionmix.datasets.classification import DemoCIFAR10


@pytest.fixture(scope='module')
def main():
    return runpy.run_path(str(ROOT / 'tools/dataset_tools/check_data.py'))['main']


def check(main, capsys, data, *args):
    """The exit code, and what is printed."""
    options = [f'{name}_dataloader.dataset.data_root={data.root}' for name in (
        'train', 'val', 'test')]
    if isinstance(data, Detection):
        options += [f'{name}_evaluator.ann_file={data.file()}' for name in ('val', 'test')]
    with pytest.raises(SystemExit) as end:
        main([str(ROOT / 'configs' / data.recipe), *args, '--cfg-options', *options])
    return end.value.code, capsys.readouterr().out


@pytest.mark.parametrize('layout, name', [
    (layout, name) for name, (layouts, *_) in DAMAGE.items() for layout in layouts])
def test_what_is_wrong_with_a_sample_is_found(tmp_path, layout, name):
    _, do, wrong = DAMAGE[name]
    data = layout(tmp_path)
    do(data)
    inspection = Inspection(data.build(), data.config().model)
    assert 'JSON' in name or inspection[1].fault is None
    found = inspection[0]
    assert bool(found.fault) == bool(wrong)
    assert not wrong or found.fault.startswith(wrong)
    assert found.files == [str(data.image()), *(
        [str(data.label())] if layout is Segmentation else [])]


@pytest.mark.parametrize('layout', (Segmentation, Detection, Classification))
def test_good_data_pass_and_each_data_set_is_read_once(main, capsys, tmp_path, layout):
    code, out = check(main, capsys, layout(tmp_path))
    assert code == 0
    assert out.count('0 of 4 samples are bad') == 2  # validation and test share one
    assert 'what is wrong' not in out


def test_bad_samples_are_listed_with_files_and_reasons(main, capsys, tmp_path):
    data = Segmentation(tmp_path)
    cut(data.image(1, 'train'))
    values(151).save(data.label(3, 'train'))
    data.label(2).unlink()
    code, out = check(main, capsys, data, '--jobs', '2')
    assert code == 1
    rows = [re.split(r' +\| ', line) for line in out.splitlines() if re.match(r'\| \d +\|', line)]
    found = [(*row[:2], re.split(r' \(|;|:', row[2])[0]) for row in rows]
    assert found == [
        (f'| {index}', f'{data.image(index, split)} {data.label(index, split)}', fault)
        for index, split, fault in ((1, 'train', 'the image is damaged or cut short'),
                                    (3, 'train', 'the label has the values 151'),
                                    (2, 'val', 'FileNotFoundError'))]
    assert '2 of 4 samples are bad' in out and '1 of 4 samples are bad' in out


def test_data_sets_of_arrays_are_counted(tmp_path):
    write_cifar10(tmp_path, Recipe(train=20, val=10))
    inspection = Inspection(DemoCIFAR10(data_root=str(tmp_path), split='test'), {})
    assert {sample.fault for sample in inspection} == {None}
    assert sum(sum(sample.counts.values()) for sample in inspection) == 10


@pytest.mark.parametrize('layout, content', (
    (Detection, '{"images": ['), (Detection, '{"images": [], "annotations": []}'),
    (Classification, 'n01440764/0.JPEG cat\n')))
def test_annotations_that_cannot_be_read_are_named_in_one_line(
        main, capsys, tmp_path, layout, content):
    data = layout(tmp_path)
    data.file().write_text(content)
    code, _ = check(main, capsys, data, '--loaders', 'val')
    place = data.file() if layout is Detection else data.root  # mmpretrain finds the file
    assert re.match(f'error: (\\w+ cannot read {place}, or finds no samples there|'
                    f'{place} is no JSON, or cut short): ', code)
    assert '\n' not in code
