# Copyright (c) mmvisionmix authors. All rights reserved.
"""What the registry ``DATASETS`` imports: the data sets of those codebases that are installed."""
from importlib.util import find_spec

if find_spec('mmseg'):
    from . import segmentation as segmentation
from . import classification as classification
