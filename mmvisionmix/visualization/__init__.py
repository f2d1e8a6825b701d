# Copyright (c) mmvisionmix authors. All rights reserved.
"""What networks look at: functions on networks and images that return arrays to be drawn."""
from .features import (
    block_maps,
    contributing_share,
    effective_receptive_field,
    feature_similarity,
    fourier_amplitude,
)
from .mixers import VIEWS, kernels, mixer_maps, mixing_rows, views_of

__all__ = [
    'VIEWS', 'block_maps', 'contributing_share', 'effective_receptive_field',
    'feature_similarity', 'fourier_amplitude', 'kernels', 'mixer_maps', 'mixing_rows', 'views_of'
]
