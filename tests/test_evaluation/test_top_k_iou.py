# Copyright (c) mmvisionmix authors. All rights reserved.
"""The metric against a confusion matrix that is worked out by hand."""
import subprocess
import sys

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import METRICS
from mmseg.evaluation import IoUMetric

# Rows are labels, columns predictions. The car is neither there nor predicted, so it has no IoU;
# the lake is predicted once and never there.
CLASSES = ('sky', 'wall', 'tree', 'car', 'road', 'lake')
CONFUSION = ([4, 1, 0, 0, 0, 0],
             [1, 3, 1, 0, 0, 0],
             [0, 1, 1, 0, 0, 1],
             [0, 0, 0, 0, 0, 0],
             [0, 0, 0, 0, 2, 0],
             [0, 0, 0, 0, 0, 0])
SKY, WALL, TREE, ROAD, LAKE = 4 / 6, 3 / 7, 1 / 4, 1, 0
MEAN = pytest.approx(100 * (SKY + WALL + TREE + ROAD + LAKE) / 5, abs=0.01)


def samples():
    """Two images of 3 x 3 pixels that make up the confusion matrix; labels of 255 do not count."""
    pixels = [(label, prediction) for label, row in enumerate(CONFUSION)
              for prediction, count in enumerate(row) for _ in range(count)]
    labels, predictions = torch.tensor([*pixels, (255, 0), (255, 3), (255, 4)]).T
    return [dict(gt_sem_seg=dict(data=labels[part].reshape(1, 3, 3)),
                 pred_sem_seg=dict(data=predictions[part].reshape(1, 3, 3)))
            for part in (slice(0, 9), slice(9, 18))]


def evaluate(**kwargs):
    metric = METRICS.build(dict(type='mmvisionmix.TopKIoUMetric', **kwargs))
    metric.dataset_meta = dict(classes=CLASSES)
    data_samples = samples()
    for sample in data_samples:
        metric.process({}, [sample])
    return metric.evaluate(len(data_samples))


@pytest.fixture
def log(monkeypatch):
    """What the current logger is told, a list of lines."""
    lines = []
    monkeypatch.setattr(MMLogger.get_current_instance(), 'info', lines.append)
    return lines


def test_mean_of_the_best_classes_is_that_of_the_confusion_matrix(log):
    metrics = evaluate(top_k=3)
    assert metrics['mIoU_top3'] == pytest.approx(100 * (ROAD + SKY + WALL) / 3, abs=0.01)
    assert log[-1] == 'mIoU_top3 is the mean of 3 classes: road 100.00, sky 66.67, wall 42.86'


def test_other_metrics_are_those_of_iou_metric():
    ours = evaluate(top_k=3)
    del ours['mIoU_top3']
    stock = IoUMetric()
    stock.dataset_meta = dict(classes=CLASSES)
    stock.process({}, samples())
    assert ours == stock.evaluate(2)
    assert ours['aAcc'] == pytest.approx(100 * 10 / 15, abs=0.01)
    assert ours['mIoU'] == MEAN


@pytest.mark.parametrize('nan_to_num', (None, 0, 1))
def test_absent_classes_drop_out_and_fewer_than_ten_are_averaged_alone(log, nan_to_num):
    metrics = evaluate(nan_to_num=nan_to_num)
    assert metrics['mIoU_top10'] == MEAN
    assert log[-1] == ('mIoU_top10 is the mean of 5 classes, as no other is present: '
                       'road 100.00, sky 66.67, wall 42.86, tree 25.00, lake 0.00')


def test_format_only_writes_predictions_and_measures_nothing(tmp_path):
    metric = METRICS.build(dict(
        type='mmvisionmix.TopKIoUMetric', format_only=True, output_dir=str(tmp_path)))
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process({}, [dict(samples()[0], img_path='street.jpg')])
    assert metric.evaluate(1) == {}
    assert (tmp_path / 'street.png').exists()


def test_classes_may_be_fixed(log):
    assert evaluate(classes=('tree', 'car', 'sky'))['mIoU_fixed3'] == pytest.approx(
        100 * (TREE + SKY) / 2, abs=0.01)
    assert log[-1] == ('mIoU_fixed3 is the mean of 2 classes, as no other is present: '
                       'sky 66.67, tree 25.00')


@pytest.mark.parametrize('wrong, message', (
    (dict(top_k=0), 'top_k must be positive, got 0'), (dict(classes=()), 'positive, got 0'),
    (dict(classes=('sky', 'sea')), r"must be among .*'lake'\), got \['sea'\]")))
def test_numbers_and_names_of_classes_that_cannot_be_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        evaluate(**wrong)


def test_without_mmsegmentation_the_metric_names_the_extra():
    code = ('import sys\n'
            'sys.modules["mmseg"] = None\n'
            'import mmvisionmix\n'
            'from mmengine.registry import METRICS\n'
            'METRICS.build(dict(type="mmvisionmix.TopKIoUMetric"))\n')
    result = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert 'pip install "mmvisionmix[seg]"' in result.stderr.splitlines()[-1]
