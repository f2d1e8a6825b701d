# Copyright (c) mmvisionmix authors. All rights reserved.
"""The recipe trains and is tested on demo data, by our tools and by mmpose's."""
import re
from pathlib import Path

import pytest

from demo_data import SceneRecipe, write_coco

mmpose = pytest.importorskip('mmpose', reason='mmpose is an extra: see projects/pose/README.md')

ROOT = Path(__file__).resolve().parents[3]
CONFIG = next((ROOT / 'projects/pose/configs').glob('*.py'))
TOOLS = dict(ours=ROOT / 'tools', stock=Path(mmpose.__file__).parent / '.mim/tools')
METRIC = r'coco/AP: [\d.]+'


def options(data):
    made = ['train_cfg.max_epochs=1', 'train_dataloader.batch_size=2', 'model.test_cfg.flip_test=0']
    for split in ('train', 'val', 'test'):
        loader = f'{split}_dataloader'
        made += [f'{loader}.num_workers=0', f'{loader}.persistent_workers=False',
                 f'{loader}.dataset.data_root={data}']
        if split != 'train':
            truth = f'{data}/annotations/person_keypoints_val2017.json'
            made += [f'{loader}.dataset.bbox_file=', f'{split}_evaluator.ann_file={truth}']
    return ['--work-dir', 'work', '--cfg-options', *made]


@pytest.mark.parametrize('tools', TOOLS)
def test_trains_validates_and_is_tested(run_tool, tmp_path, tools):
    write_coco(tmp_path / 'data', SceneRecipe(size=64, train=2, val=2))
    given = options(tmp_path / 'data')
    out = run_tool(TOOLS[tools] / 'train.py', CONFIG, *given, cwd=tmp_path)
    assert 'LinGlo starts from scratch' in out and re.search(METRIC, out)
    out = run_tool(TOOLS[tools] / 'test.py', CONFIG, 'work/epoch_1.pth', *given, cwd=tmp_path)
    assert re.search(METRIC, out)
