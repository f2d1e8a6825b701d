# Copyright (c) mmvisionmix authors. All rights reserved.
import json
from typing import NamedTuple

import digits_study
import numpy as np
import pytest
from mmengine.config import Config
from mmpretrain.registry import DATASETS
from studies import Recorder, train_all

from demo_data import svhn

# What the digits are trained with


def digits_run(out, network='lkca', size='0.5m', seed=0, epochs=20, recipe='light'):
    return digits_study.Run(network, size, seed, epochs, 32, recipe, out)


def test_no_validation_digit_is_trained_on(tmp_path):
    digits_study.write_digits(tmp_path / 'digits')
    sets = [DATASETS.build(dict(type='mmvisionmix.SVHN', data_root=str(tmp_path / 'digits'),
                                split=split)) for split in ('train', 'test')]
    assert [data.get_gt_labels().tolist() for data in sets] == [
        svhn.load_digits(split)[1].tolist() for split in ('train', 'val')]
    image = sets[0][0]['img']
    assert (image == image[..., :1]).all()
    small = image[..., 0].reshape(8, 4, 8, 4).mean((1, 3))
    assert np.corrcoef(small.ravel(), svhn.load_digits('train')[0][0].ravel())[0, 1] > 0.97


def test_digits_configs_differ_in_what_is_compared_alone(tmp_path):
    reference = digits_run(tmp_path, 'vit', '1m', epochs=30).make_config()
    warm_up, annealing = reference.param_scheduler  # of the paper's proportions
    assert (warm_up.end, annealing.begin, annealing.end, annealing.T_max) == (3, 3, 30, 27)
    for network in digits_study.NETWORKS:
        for size in digits_study.SIZES:
            cfg = digits_run(tmp_path, network, size, epochs=30).make_config()
            for key in ('train_dataloader', 'val_dataloader', 'optim_wrapper', 'param_scheduler',
                        'train_cfg', 'data_preprocessor'):
                assert cfg[key] == reference[key], key
    paper = digits_run(tmp_path, 'vit', '1m', epochs=30, recipe='paper').make_config()
    assert {'RandomFlip', 'AutoAugment', 'RandomErasing'} <= {
        step.type for step in paper.train_dataloader.dataset.pipeline}
    assert [augment.type for augment in paper.model.train_cfg.augments] == ['Mixup', 'CutMix']
    assert paper.model.backbone == reference.model.backbone


def test_digits_trains_what_is_not_trained_yet(tmp_path, monkeypatch, capsys):
    few = {split: [part[:40] for part in svhn.load_digits(split)] for split in ('train', 'val')}
    monkeypatch.setattr(svhn, 'load_digits', few.__getitem__)
    known = digits_run(tmp_path, 'vit', epochs=2)
    known.folder.mkdir()
    (known.folder / 'result.json').write_text(json.dumps({'accuracy/top1': [[2, 12.5]]}))
    monkeypatch.setattr('sys.argv', [
        'digits_study.py', '--sizes', '0.5m', '--seeds', '0', '--epochs', '2', '--workers', '1',
        '--out', str(tmp_path)])
    digits_study.main()
    run = digits_run(tmp_path, epochs=2)
    result = json.loads((run.folder / 'result.json').read_text())
    lkca = f'{result["accuracy/top1"][-1][1]:.1f}'
    assert f'| 0.5M | 12.5 (12.5) | {lkca} ({lkca}) |' in capsys.readouterr().out
    log, = run.folder.glob('*/vis_data/config.py')
    assert Config.fromfile(log).randomness.seed == 0


# What trains them


class Failing(NamedTuple):
    """A training that fails, or writes its number."""
    number: int
    out: str

    def train(self):
        if not self.number:
            raise ValueError('the first fails')
        with open(f'{self.out}/{self.number}', 'w'):
            pass


def test_a_study_ends_with_the_first_failure(tmp_path):
    with pytest.raises(ValueError, match='the first fails'):
        train_all([Failing(number, str(tmp_path)) for number in range(99)], workers=1)
    assert len(list(tmp_path.iterdir())) < 50  # those that had begun


def test_no_detections_count_as_zero_and_a_wrong_metric_does_not():
    class Iterations:
        epoch, iter = 0, 50

    recorder = Recorder('coco/bbox_mAP', 100)
    recorder.after_val_epoch(Iterations, {'coco/bbox_mAP': 0.25})
    recorder.after_val_epoch(Iterations, {})
    assert recorder.history == [(50, 25.), (50, 0.)]
    with pytest.raises(KeyError, match='coco/bbox_mAP'):
        recorder.after_val_epoch(Iterations, {'coco/segm_mAP': 0.5})


def test_too_short_trainings_are_refused(monkeypatch, capsys):
    monkeypatch.setattr('sys.argv', ['study', '--epochs', '1'])
    with pytest.raises(SystemExit):
        digits_study.main()
    assert '--epochs must be at least 2' in capsys.readouterr().err
