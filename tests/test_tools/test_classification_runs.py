# Copyright (c) mmvisionmix authors. All rights reserved.
"""The classification configs on demo data, through our tool and mmpretrain's own."""
import re
from pathlib import Path

import mmpretrain
import pytest

from demo_data import (
    Recipe,
    write_cifar10,
    write_cifar100,
    write_svhn,
    write_tiny_imagenet,
)

ROOT = Path(__file__).resolve().parents[2]
TRAIN = ROOT / 'tools/train.py'
STOCK_TRAIN = Path(mmpretrain.__file__).parent / '.mim/tools/train.py'
WRITERS = {'cifar10': write_cifar10, 'cifar100': write_cifar100, 'svhn': write_svhn,
           'tiny-imagenet': write_tiny_imagenet}
READERS = {'cifar10': 'mmvisionmix.DemoCIFAR10', 'cifar100': 'mmvisionmix.DemoCIFAR100'}


@pytest.mark.parametrize('script', (TRAIN, STOCK_TRAIN), ids=('ours', 'stock'))
@pytest.mark.parametrize('data', WRITERS)
def test_trains_an_epoch_and_validates(run_tool, tmp_path, data, script):
    WRITERS[data](tmp_path / 'data', Recipe(train=20, val=10))
    options = ['train_cfg.max_epochs=1']
    for loader in ('train', 'val', 'test'):
        options += [f'{loader}_dataloader.batch_size=10', f'{loader}_dataloader.num_workers=0',
                    f'{loader}_dataloader.persistent_workers=False',
                    f'{loader}_dataloader.dataset.data_root={tmp_path}/data']
        if data in READERS:
            options.append(f'{loader}_dataloader.dataset.type={READERS[data]}')
    network = 'vit' if data == 'svhn' else 'lkca'
    config = ROOT / f'configs/lkca/{network}-1m_1xb128-100e_{data}.py'
    out = run_tool(
        script, config, '--work-dir', tmp_path / 'work', '--cfg-options', *options, cwd=tmp_path)
    assert re.search(r'Epoch\(val\) \[1\]\[1/1\]    accuracy/top1: [\d.]+', out)
    assert (tmp_path / 'work/epoch_1.pth').exists()
