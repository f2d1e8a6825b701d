# Copyright (c) mmvisionmix authors. All rights reserved.
"""The network of docs/parts.md, by the page's own code, trains and validates on demo data."""
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from test_models.small_backbones import assert_same, randomise, run

from mmvisionmix.models import BaseBackbone
from mmvisionmix.registry import MODELS as OWN

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / 'docs/parts.md').read_text(encoding='utf-8')
BLOCKS = dict(re.findall(r'```python\n# (\w+\.py)\n(.*?)```', PAGE, re.DOTALL))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The page's files, where Python finds them."""
    for name, code in BLOCKS.items():
        (tmp_path / name).write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path), prepend=':')
    return tmp_path


def test_network_of_the_page_trains(run_tool, demo_ade20k, folder):
    assert len(BLOCKS['mixformer.py'].splitlines()) <= 40
    options = ['train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'train_dataloader.batch_size=2']
    for loader in ('train_dataloader', 'val_dataloader'):
        options += [f'{loader}.num_workers=0', f'{loader}.persistent_workers=False',
                    f'{loader}.dataset.data_root={demo_ade20k}']
    out = run_tool(ROOT / 'tools/train.py', 'mixformer_demo.py', '--cfg-options', *options,
                   cwd=folder)
    assert re.search(r'Iter\(val\) \[1/1\] .*mIoU: [\d.]+', out)


@torch.no_grad()
def test_network_of_the_page_is_folded_as_it_says(folder):
    backbone = Config.fromfile(folder / 'mixformer_demo.py').model.backbone
    model, x = randomise(MODELS.build(backbone)).eval(), torch.randn(1, 3, 64, 96)
    expected, before = run(model, x), len(model.state_dict())
    exec(PAGE.split('for good:\n\n```python\n')[1].split('```')[0], dict(model=model))
    assert len(model.state_dict()) < before
    assert_same(run(model, x), expected, 1e-4)


def test_page_lists_all_mixers():
    OWN.import_from_location()
    mixers = {name for name, kind in OWN.module_dict.items()
              if issubclass(kind, BaseModule) and not issubclass(kind, BaseBackbone)}
    assert set(re.findall(r'\| `mmvisionmix\.(\w+)`', PAGE)) == mixers
