# Copyright (c) mmvisionmix authors. All rights reserved.
"""The network of docs/parts.md, by the page's own code, trains and validates on demo data."""
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / 'docs/parts.md').read_text(encoding='utf-8')
BLOCKS = dict(re.findall(r'```python\n# (\w+\.py)\n(.*?)```', PAGE, re.DOTALL))


def test_network_of_the_page_trains(run_tool, demo_ade20k, tmp_path, monkeypatch):
    assert len(BLOCKS['mixformer.py'].splitlines()) <= 40
    for name, code in BLOCKS.items():
        (tmp_path / name).write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path), prepend=':')
    options = ['train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'train_dataloader.batch_size=2']
    for loader in ('train_dataloader', 'val_dataloader'):
        options += [f'{loader}.num_workers=0', f'{loader}.persistent_workers=False',
                    f'{loader}.dataset.data_root={demo_ade20k}']
    out = run_tool(ROOT / 'tools/train.py', 'mixformer_demo.py', '--cfg-options', *options,
                   cwd=tmp_path)
    assert re.search(r'Iter\(val\) \[1/1\] .*mIoU: [\d.]+', out)


def test_page_lists_all_mixers():
    from mmengine.model import BaseModule

    from mmvisionmix.models import BaseBackbone
    from mmvisionmix.registry import MODELS
    MODELS.import_from_location()
    mixers = {name for name, kind in MODELS.module_dict.items()
              if issubclass(kind, BaseModule) and not issubclass(kind, BaseBackbone)}
    assert set(re.findall(r'\| `mmvisionmix\.(\w+)`', PAGE)) == mixers
