# Copyright (c) mmvisionmix authors. All rights reserved.
"""tools/dataset_tools/check_data.py lists what is bad in the data of a config."""
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from damage import Classification, Detection, Segmentation, cut, values
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / 'tools/dataset_tools/check_data.py'



@pytest.fixture(scope='module')
def main():
    return runpy.run_path(str(SCRIPT))['main']


def check(main, capsys, data, *args):
    """The exit code, and what is printed."""
    loaders = ('train', 'val', 'test')
    options = [f'{name}_dataloader.dataset.data_root={data.root}' for name in loaders]
    for name in ('val', 'test') if isinstance(data, Detection) else ():
        options.append(f'{name}_evaluator.ann_file={data.file("val")}')
    with pytest.raises(SystemExit) as end:
        main([str(ROOT / 'configs' / data.recipe), *args, '--cfg-options', *options])
    return end.value.code, capsys.readouterr().out


@pytest.mark.parametrize('layout', (Segmentation, Detection, Classification))
def test_good_data_pass_and_each_data_set_is_read_once(main, capsys, tmp_path, layout):
    code, out = check(main, capsys, layout(tmp_path))
    assert code == 0
    assert out.count('0 of 4 samples are bad') == 2  # validation and test share one
    assert '|' not in out


def test_bad_samples_are_listed_with_files_and_reasons(main, capsys, tmp_path):
    data = Segmentation(tmp_path)
    cut(data.image('train', 1))
    values(151).save(data.label('train', 3))
    data.label('val', 2).unlink()
    code, out = check(main, capsys, data, '--jobs', '2')
    assert code == 1
    rows = [line.split(' | ') for line in out.splitlines() if re.match(r'\| \d', line)]
    found = [(*row[:2], re.split(r' \(|;|:', row[2])[0]) for row in rows]
    assert found == [
        ('| 1', f'{data.image("train", 1)} {data.label("train", 1)}',
         'the image is damaged or cut short'),
        ('| 3', f'{data.image("train", 3)} {data.label("train", 3)}',
         'the label has the values 151'),
        ('| 2', f'{data.image("val", 2)} {data.label("val", 2)}', 'FileNotFoundError'),
    ]
    assert '2 of 4 samples are bad' in out and '1 of 4 samples are bad' in out


def test_only_the_data_of_the_loaders_asked_for_are_read(main, capsys, tmp_path):
    data = Classification(tmp_path)
    data.image('train').write_bytes(b'')
    code, out = check(main, capsys, data, '--loaders', 'val')
    assert code == 0 and 'train' not in out
    code, out = check(main, capsys, data, '--loaders', 'train')
    assert code == 1 and f'| 0 | {data.image("train")} | the image is empty (0 bytes) |' in out


def test_files_of_any_format_are_read_to_their_end(main, capsys, tmp_path):
    """OpenCV shows a cut BMP file, which training does not look at a second time."""
    data = Detection(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(data.image('train'), format='BMP')
    content = data.image('train').read_bytes()
    data.image('train').write_bytes(content[:len(content) * 3 // 4])
    code, out = check(main, capsys, data)
    assert code == 1 and 'the image is damaged or cut short' in out


def test_annotations_that_cannot_be_read_end_in_one_line(main, capsys, tmp_path):
    data = Detection(tmp_path)
    cut(data.file('train'))
    code, _ = check(main, capsys, data)
    assert code.startswith(f'error: CocoDataset cannot read {data.file("train")}: JSONDecodeError')


def test_missing_data_and_configs_are_named_as_in_training(main, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for config, name in ((ROOT / 'configs/toy/lkca_upernet_demo-ade20k.py', 'data/demo/ade20k'),
                         ('nowhere.py', 'nowhere.py')):
        with pytest.raises(SystemExit, match=f'error: .*{name}'):
            main([str(config)])
