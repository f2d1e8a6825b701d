# Copyright (c) mmvisionmix authors. All rights reserved.
import json

import digits_study
import numpy as np
import pytest
from digits_study import Run
from mmengine.config import Config
from mmpretrain.registry import DATASETS

from demo_data import svhn


def make_run(tmp_path, network='lkca', size='0.5m', seed=0, epochs=20, recipe='light'):
    return Run(network, size, seed, epochs, 32, recipe, tmp_path)


def test_digits_are_the_real_ones_and_no_validation_digit_is_trained_on(tmp_path):
    digits_study.write_digits(tmp_path / 'digits')
    sets = [DATASETS.build(dict(type='mmvisionmix.SVHN', data_root=str(tmp_path / 'digits'),
                                split=split)) for split in ('train', 'test')]
    assert [len(data) for data in sets] == [1438, 359]
    labels = [data.get_gt_labels().tolist() for data in sets]
    assert labels == [svhn.load_digits(split)[1].tolist() for split in ('train', 'val')]
    image = sets[0][0]['img']
    assert image.shape == (32, 32, 3) and (image == image[..., :1]).all()
    small = image[..., 0].reshape(8, 4, 8, 4).mean((1, 3))
    assert np.corrcoef(small.ravel(), svhn.load_digits('train')[0][0].ravel())[0, 1] > 0.97


@pytest.mark.parametrize('network', digits_study.NETWORKS)
@pytest.mark.parametrize('size', digits_study.SIZES)
def test_networks_of_a_size_differ_in_the_model_alone(tmp_path, network, size):
    cfg = make_run(tmp_path, network, size).make_config()
    other = make_run(tmp_path, 'vit', '1m').make_config()
    for key in ('train_dataloader', 'val_dataloader', 'optim_wrapper', 'param_scheduler',
                'train_cfg', 'data_preprocessor'):
        assert cfg[key] == other[key], key
    assert cfg.model.head.loss == other.model.head.loss


def test_schedule_keeps_the_papers_proportions(tmp_path):
    warm_up, annealing = make_run(tmp_path, epochs=30).make_config().param_scheduler
    assert (warm_up.begin if 'begin' in warm_up else 0, warm_up.end) == (0, 3)
    assert (annealing.begin, annealing.end, annealing.T_max) == (3, 30, 27)


def test_recipes_differ_in_augmentation_alone(tmp_path):
    paper, light = (make_run(tmp_path, recipe=name).make_config() for name in ('paper', 'light'))
    names = [step.type for step in paper.train_dataloader.dataset.pipeline]
    assert {'RandomFlip', 'AutoAugment', 'RandomErasing'} <= set(names)
    assert [augment.type for augment in paper.model.train_cfg.augments] == ['Mixup', 'CutMix']
    assert light.model.train_cfg is None
    assert [step.type for step in light.train_dataloader.dataset.pipeline] == [
        'RandomCrop', 'PackInputs']
    assert light.model.backbone == paper.model.backbone


def test_study_trains_what_is_not_trained_yet(tmp_path, monkeypatch, capsys):
    few = {split: [part[:40] for part in svhn.load_digits(split)] for split in ('train', 'val')}
    monkeypatch.setattr(svhn, 'load_digits', few.__getitem__)
    known = make_run(tmp_path, 'vit', epochs=2)
    known.folder.mkdir()
    (known.folder / 'result.json').write_text(json.dumps({'accuracy/top1': [[2, 12.5]]}))
    monkeypatch.setattr('sys.argv', [
        'digits_study.py', '--sizes', '0.5m', '--seeds', '0', '--epochs', '2', '--workers', '1',
        '--out', str(tmp_path)])
    digits_study.main()
    result = json.loads((make_run(tmp_path, epochs=2).folder / 'result.json').read_text())
    lkca = f'{result["accuracy/top1"][-1][1]:.1f}'
    assert f'| 0.5M | 12.5 (12.5) | {lkca} ({lkca}) |' in capsys.readouterr().out
    assert not list(known.folder.glob('*/vis_data'))
    log, = make_run(tmp_path, epochs=2).folder.glob('*/vis_data/config.py')
    assert Config.fromfile(log).randomness.seed == 0


def test_table_gives_mean_spread_and_every_seed(tmp_path):
    values = dict(vit=(90., 92.), lkca=(93., 96.))
    histories = {make_run(tmp_path, network, seed=seed): [(20, value)]
                 for network, pair in values.items() for seed, value in enumerate(pair)}
    row = digits_study.tabulate(histories).splitlines()[-1]
    assert row == '| 0.5M | 91.0 ± 1.4 (90.0, 92.0) | 94.5 ± 2.1 (93.0, 96.0) | +3.5 |'


def test_epochs_must_leave_room_for_a_warm_up(monkeypatch, capsys):
    monkeypatch.setattr('sys.argv', ['digits_study.py', '--epochs', '1'])
    with pytest.raises(SystemExit):
        digits_study.main()
    assert '--epochs must be at least 2' in capsys.readouterr().err
