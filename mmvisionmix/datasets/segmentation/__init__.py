# Copyright (c) mmvisionmix authors. All rights reserved.
"""Data sets for semantic segmentation that mmsegmentation lacks; it must be installed."""
from .camvid import CamVid

__all__ = ['CamVid']
