# Copyright (c) mmvisionmix authors. All rights reserved.
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from mmengine.logging import MMLogger
from mmseg.evaluation import IoUMetric
from torch import Tensor

from mmvisionmix.registry import METRICS

Areas = Tuple[Tensor, Tensor, Tensor, Tensor]  # intersection, union, prediction, label


def top_k_ious(areas: List[Areas], top_k: int, among: List[int]) -> Tuple[Tensor, List[int]]:
    """Finds the classes that a model segments best.

    Args:
        areas (list[tuple[Tensor, ...]]): Per image, what ``IoUMetric.intersect_and_union`` returns:
            pixels per class of intersection, union, prediction and label, each ``(C, )``.
        top_k (int): Number of classes.
        among (list[int]): Classes to choose from.

    Returns:
        tuple[Tensor, list[int]]: IoUs over all images, between 0 and 1, descending, and their
        classes. There are fewer than ``top_k`` if fewer classes occur in labels or predictions.
    """
    intersection = sum(area[0] for area in areas)
    union = sum(area[1] for area in areas)
    present = torch.tensor([i for i in among if union[i] > 0], dtype=torch.long)
    ious, order = (intersection[present] / union[present]).sort(descending=True, stable=True)
    return ious[:top_k], present[order[:top_k]].tolist()


@METRICS.register_module()
class TopKIoUMetric(IoUMetric):
    """IoUMetric that adds the mean IoU over the model's own best classes.

    This is the "mIoU" of LKCA's Tables VI and VII, there described as "mIoU in 10 high-score
    categories". **It is not the usual mIoU, and, unless** ``classes`` **are given, at least as
    high**: out of ADE20K's 150 classes it takes the ten that this very model segments best and
    passes over those it fails on.
    Two models may be measured on different classes. Compare it with nothing but itself; the mean
    over all classes stands beside it as ``mIoU``.

    A class that occurs neither in labels nor in predictions has no IoU and drops out, whatever
    ``nan_to_num`` says; one that is predicted but never there has an IoU of 0, as in ``mIoU``.

    Args:
        top_k (int): Number of classes to average over. Defaults to 10.
        classes (Sequence[str], optional): Names of fixed classes to average over instead, should
            the paper mean such; it names none. Defaults to None.
        **kwargs: Arguments of ``IoUMetric``.

    Raises:
        ValueError: If ``top_k`` is not positive, or ``classes`` is empty; with the first batch, if
            the data set has no class of such a name.
    """

    def __init__(self, top_k: int = 10, classes: Optional[Sequence[str]] = None,
                 **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.top_k = top_k if classes is None else len(set(classes))
        self.classes = classes
        self.name = f'mIoU_{"top" if classes is None else "fixed"}{self.top_k}'
        if self.top_k < 1:
            raise ValueError(f'top_k must be positive, got {self.top_k}')

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Takes a batch as ``IoUMetric`` does, unless the data set lacks one of the classes."""
        self._candidates()
        super().process(data_batch, data_samples)

    def compute_metrics(self, results: List[Areas]) -> Dict[str, float]:
        """Computes the metrics over all images, those of all processes included.

        Args:
            results (list[tuple[Tensor, ...]]): Areas per image; see :func:`top_k_ious`.

        Returns:
            dict[str, float]: What IoUMetric returns, ``aAcc``, ``mIoU`` and ``mAcc`` by default,
            and ``mIoU_top{k}`` or ``mIoU_fixed{k}``, all in percent; nothing with ``format_only``.
        """
        metrics = super().compute_metrics(results)
        if self.format_only:
            return metrics
        ious, classes = top_k_ious(results, self.top_k, self._candidates())
        self._log(ious, classes)
        metrics[self.name] = round(100 * ious.mean().item(), 2)
        return metrics

    def _candidates(self) -> List[int]:
        names = self.dataset_meta['classes']
        wanted = names if self.classes is None else self.classes
        unknown = sorted(set(wanted) - set(names))
        if unknown:
            raise ValueError(f'classes must be among those of the data set, {names}, got {unknown}')
        return [i for i, name in enumerate(names) if name in wanted]

    def _log(self, ious: Tensor, classes: List[int]) -> None:
        """Names the classes and, where they are fewer than asked for, says so."""
        names = self.dataset_meta['classes']
        best = ', '.join(f'{names[i]} {100 * iou:.2f}' for i, iou in zip(classes, ious.tolist()))
        short = ', as no other is present' if len(classes) < self.top_k else ''
        MMLogger.get_current_instance().info(
            f'{self.name} is the mean of {len(classes)} classes{short}: {best}')
