# Copyright (c) mmvisionmix authors. All rights reserved.
"""Metrics. They extend mmsegmentation's, which the rest of the package does without."""
try:
    import mmseg  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError('the metrics of mmvisionmix need mmsegmentation. '
                      'Install it with\n    pip install "mmvisionmix[seg]"') from error

from .top_k_iou import TopKIoUMetric

__all__ = ['TopKIoUMetric']
