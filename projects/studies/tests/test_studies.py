# Copyright (c) mmvisionmix authors. All rights reserved.
import json
from copy import deepcopy
from typing import NamedTuple

import digits_study
import learning_curves
import numpy as np
import pytest
from get_flops import count_parts
from learning_curves import NETWORKS, TASKS, VALIDATIONS
from mmengine.config import Config
from mmpretrain.registry import DATASETS
from PIL import Image
from studies import Recorder, train_all

from demo_data import SceneRecipe, svhn

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


# What learns on the demo data


def curves_run(out, network='linglo', task='segmentation', seed=0, iterations=60):
    return learning_curves.Run(network, task, seed, iterations, out)


@pytest.mark.parametrize('network', NETWORKS)
def test_networks_are_of_one_size_and_differ_in_the_backbone_alone(tmp_path, network):
    def frame_of(name, task):
        frame = deepcopy(curves_run(tmp_path, name, task).make_config().to_dict())
        del frame['model']['backbone'], frame['model']['neck']['in_channels'], frame['work_dir']
        return frame

    for task in TASKS:
        _, backbone = count_parts(learning_curves.read_config(network, task), (128, 128))
        assert backbone.parameters == pytest.approx(3.54e6, rel=0.03)
        assert frame_of(network, task) == frame_of('lkca-3.5m', task)


@pytest.mark.parametrize('task', TASKS)
def test_schedule_spans_the_training_whatever_its_length(tmp_path, task):
    for iterations in (TASKS[task].iterations, VALIDATIONS):
        cfg = curves_run(tmp_path, task=task, iterations=iterations).make_config()
        warm_up, decay = cfg.param_scheduler
        assert 0 < warm_up.end == decay.begin < decay.end == cfg.train_cfg.max_iters == iterations
        assert iterations == VALIDATIONS * cfg.train_cfg.val_interval


def test_curves_train_what_is_not_trained_yet_and_draw(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(learning_curves, 'TASKS', {
        name: task._replace(recipe=SceneRecipe(size=128, train=8, val=4))
        for name, task in TASKS.items()})
    known = curves_run(tmp_path, iterations=VALIDATIONS)
    known.folder.mkdir()
    (known.folder / 'result.json').write_text(json.dumps(dict(mIoU=[[3, 4], [6, 12.5]])))
    learning_curves.main(('--iterations', str(VALIDATIONS), '--seeds', '0', '--out', str(tmp_path),
                          '--backbones', 'linglo', '--picture', 'new/curves.png'))
    run = curves_run(tmp_path, task='detection', iterations=VALIDATIONS)
    (history, ) = json.loads((run.folder / 'result.json').read_text()).values()
    assert [at for at, _ in history] == list(range(1, VALIDATIONS + 1))
    row = f'| LinGlo-b0 | 3.55M | 0.26G | 12.5 (12.5) | {history[-1][1]:.1f} ('
    assert row in ' '.join(capsys.readouterr().out.split())
    assert Image.open('new/curves.png').size[0] > 900
    assert not list(tmp_path.glob('**/*.pth'))


def test_curves_are_means_over_seeds_in_a_band_of_all(tmp_path):
    histories = {curves_run(tmp_path, seed=seed): [(10, last - 5.), (20, last)]
                 for seed, last in enumerate((30, 50))}
    ax, = learning_curves.draw(histories).axes
    line, = ax.lines
    assert (line.get_xdata().tolist(), line.get_ydata().tolist()) == ([10, 20], [35, 40])
    band = ax.collections[0].get_paths()[0].get_extents()
    assert (band.ymin, band.ymax) == (25, 50)
    assert '40.0 ± 14.1 (30.0, 50.0)' in learning_curves.tabulate(histories)


# What both share


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


@pytest.mark.parametrize('main, options, message', [
    (digits_study.main, ['--epochs', '1'], '--epochs must be at least 2'),
    (learning_curves.main, ['--iterations', '5'], '--iterations must be at least 6, got 5')])
def test_too_short_trainings_are_refused(monkeypatch, capsys, main, options, message):
    monkeypatch.setattr('sys.argv', ['study', *options])
    with pytest.raises(SystemExit):
        main()
    assert message in capsys.readouterr().err
