# Copyright (c) mmvisionmix authors. All rights reserved.
import json
import time
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import learning_curves
import pytest
from get_flops import count_parts
from learning_curves import NETWORKS, TASKS, VALIDATIONS, Run
from PIL import Image
from studies import Recorder, train_all

from demo_data import SceneRecipe


def make_run(tmp_path, network='linglo', task='segmentation', seed=0, iterations=60):
    return Run(network, task, seed, iterations, tmp_path)


def frame_of(cfg):
    """The config without the backbone and what the neck takes from it."""
    frame = deepcopy(cfg.to_dict())
    del frame['model']['backbone'], frame['model']['neck']['in_channels'], frame['work_dir']
    return frame


@pytest.mark.parametrize('network', NETWORKS)
def test_networks_have_three_and_a_half_million_parameters_in_both_tasks(network):
    configs = [learning_curves.read_config(network, task) for task in TASKS]
    for cfg in configs:
        _, backbone = count_parts(cfg, (128, 128))
        assert backbone.parameters == pytest.approx(3.54e6, rel=0.03)
    segmentation, detection = (cfg.model.backbone.to_dict() for cfg in configs)
    for backbone in (segmentation, detection):
        for key in ('out_indices', '_scope_', 'init_cfg', 'norm_cfg', 'drop_path_rate'):
            backbone.pop(key, None)
    assert segmentation.pop('img_size', 128) in (128, (128, 128))
    assert detection.pop('img_size', 128) in (128, (128, 128))
    assert segmentation == detection


@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize('network', NETWORKS)
def test_networks_of_a_task_differ_in_the_backbone_alone(tmp_path, network, task):
    assert frame_of(make_run(tmp_path, network, task).make_config()) == frame_of(
        make_run(tmp_path, 'lkca-3.5m', task).make_config())


@pytest.mark.parametrize('task', TASKS)
def test_schedule_spans_the_training_whatever_its_length(tmp_path, task):
    for iterations in (TASKS[task].iterations, 60, VALIDATIONS):
        cfg = make_run(tmp_path, task=task, iterations=iterations).make_config()
        warm_up, decay = cfg.param_scheduler
        assert 0 < warm_up.end == decay.begin < decay.end == cfg.train_cfg.max_iters == iterations
        assert iterations == VALIDATIONS * cfg.train_cfg.val_interval


def test_study_trains_what_is_not_trained_yet_and_draws(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(learning_curves, 'TASKS', {
        name: task._replace(recipe=SceneRecipe(size=128, train=8, val=4))
        for name, task in TASKS.items()})
    known = make_run(tmp_path, 'resnet-3.5m', iterations=VALIDATIONS)
    known.folder.mkdir()
    (known.folder / 'result.json').write_text(json.dumps(dict(mIoU=[[6, 12.5]])))
    options = ('--iterations', str(VALIDATIONS), '--seeds', '0', '--out', str(tmp_path))
    learning_curves.main(('--tasks', 'segmentation', '--backbones', 'resnet-3.5m', *options))
    assert '| ResNet | 3.54M | 0.20G | 12.5 (12.5) |' in capsys.readouterr().out
    learning_curves.main(('--backbones', 'linglo', '--picture', 'new/curves.png', *options))
    reached = []
    for task in TASKS:
        run = make_run(tmp_path, task=task, iterations=VALIDATIONS)
        (history, ) = json.loads((run.folder / 'result.json').read_text()).values()
        assert [at for at, _ in history] == list(range(1, VALIDATIONS + 1))
        assert all(0 <= value <= 100 for _, value in history)
        reached.append(f'{history[-1][1]:.1f}')
    row = '| LinGlo-b0 | 3.55M | 0.26G | {0} ({0}) | {1} ({1}) |'.format(*reached)
    assert row in capsys.readouterr().out
    assert Image.open('new/curves.png').size[0] > 900
    assert not list(tmp_path.glob('**/*.pth'))


def test_curves_are_means_over_seeds_in_a_band_of_all(tmp_path):
    histories = {make_run(tmp_path, network, seed=seed): [(10, last - 5.), (20, last)]
                 for network, seeds in dict(linglo=(30, 50), **{'vit-3.5m': (20, 20)}).items()
                 for seed, last in enumerate(seeds)}
    ax, = learning_curves.draw(histories).axes
    lines = {line.get_label(): line for line in ax.lines}
    assert list(lines) == ['LinGlo-b0', 'ViT']
    assert lines['LinGlo-b0'].get_ydata().tolist() == [35, 40]
    assert lines['LinGlo-b0'].get_xdata().tolist() == [10, 20]
    assert [lines[name].get_linestyle() for name in lines] == ['-', '--']
    band = ax.collections[0].get_paths()[0].get_extents()
    assert (band.ymin, band.ymax) == (25, 50)
    assert '40.0 ± 14.1 (30.0, 50.0)' in learning_curves.tabulate(histories)


class Failing(NamedTuple):
    """A training that fails, or writes its number after a while."""
    number: int
    out: Path

    def train(self):
        if not self.number:
            raise ValueError('the first fails')
        time.sleep(1)
        (self.out / str(self.number)).touch()


def test_study_ends_with_the_first_failure(tmp_path):
    with pytest.raises(ValueError, match='the first fails'):
        train_all([Failing(number, tmp_path) for number in range(8)], workers=1)
    assert len(list(tmp_path.iterdir())) < 4  # those that had begun


def test_no_detections_count_as_zero_and_a_wrong_metric_does_not():
    class Iterations:
        epoch, iter = 0, 50

    recorder = Recorder('coco/bbox_mAP', 100)
    recorder.after_val_epoch(Iterations, {'coco/bbox_mAP': 0.25})
    recorder.after_val_epoch(Iterations, {})
    assert recorder.history == [(50, 25.), (50, 0.)]
    with pytest.raises(KeyError, match='coco/bbox_mAP'):
        recorder.after_val_epoch(Iterations, {'coco/segm_mAP': 0.5})


def test_too_few_iterations_are_refused(capsys):
    with pytest.raises(SystemExit):
        learning_curves.main(('--iterations', str(VALIDATIONS - 1)))
    assert '--iterations must be at least 6, got 5' in capsys.readouterr().err
