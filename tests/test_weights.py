# Copyright (c) mmvisionmix authors. All rights reserved.
"""The files in weights/: what their page says of them, and what they give."""
import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmpretrain import ImageClassificationInferencer
from mmseg.apis import inference_model, init_model
from PIL import Image
from skimage.data import chelsea
from sklearn.datasets import load_sample_image

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / 'weights'
PAGE = (FOLDER / 'README.md').read_text(encoding='utf-8')
# Config, metric in per cent, and where the data are, by file.
FILES = {
    'linglo-b0_fpn_camvid.pth': (
        'linglo-b0_fpn_1xb4-1500_camvid-240x320', 40.89, 'data/camvid/CamVid/test'),
    'lkca-0.5m_cifar10.pth': (
        'lkca-0.5m_1xb128-100e_cifar10-images', 82.98, 'data/cifar10-images/test')}
# Shares of the pixels of scikit-learn's china.jpg, in per cent.
SHARES = dict(
    Sky=45.62, Building=19.71, Pole=0.0, Road=0.12, Pavement=0.0, Tree=31.2, SignSymbol=0.0,
    Fence=0.0, Car=3.35, Pedestrian=0.0, Bicyclist=0.0)
files = pytest.mark.parametrize('name', FILES)


def test_the_page_lists_every_file_with_its_hash_and_all_are_small():
    found = sorted(FOLDER.glob('*.pth'))
    assert [file.name for file in found] == sorted(FILES)
    assert sum(file.stat().st_size for file in found) < 10e6
    for file in found:
        config, figure, _ = FILES[file.name]
        assert f'{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n' in PAGE
        assert re.search(rf'`{file.name}` .*configs/real/{config}\.py.*\| {figure} %', PAGE)


def test_a_photograph_that_the_segmentor_never_saw(tmp_path):
    """Sky above trees, and a building between them."""
    name = 'linglo-b0_fpn_camvid.pth'
    model = init_model(
        str(ROOT / f'configs/real/{FILES[name][0]}.py'), str(FOLDER / name), device='cpu')
    Image.fromarray(load_sample_image('china.jpg')).save(tmp_path / 'china.png')
    labels = inference_model(model, str(tmp_path / 'china.png')).pred_sem_seg.data.flatten()
    shares = 100 * torch.bincount(labels, minlength=11) / len(labels)
    found = dict(zip(model.dataset_meta['classes'], shares.tolist()))
    assert found == pytest.approx(SHARES, abs=0.05)


def test_a_cat_that_the_classifier_never_saw():
    name = 'lkca-0.5m_cifar10.pth'
    classify = ImageClassificationInferencer(
        str(ROOT / f'configs/real/{FILES[name][0]}.py'), str(FOLDER / name), device='cpu')
    cat = Image.fromarray(chelsea()).resize((32, 32), Image.Resampling.BICUBIC)
    found, = classify(np.asarray(cat)[..., ::-1])
    assert (found['pred_class'], found['pred_score']) == ('cat', pytest.approx(0.667, abs=2e-3))


@pytest.mark.slow
@files
def test_the_published_figure_is_reached(run_tool, tmp_path, name):
    config, figure, data = FILES[name]
    if not (ROOT / data).is_dir():
        pytest.skip(f'{data} is not here: docs/datasets.md says how to get it')
    out = run_tool(ROOT / 'tools/test.py', f'configs/real/{config}.py', f'weights/{name}',
                   '--work-dir', tmp_path, cwd=ROOT)
    assert float(re.findall(r'(?:mIoU|top1): ([\d.]+)', out)[-1]) == pytest.approx(figure, abs=.011)
