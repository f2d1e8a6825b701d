# Copyright (c) mmvisionmix authors. All rights reserved.
"""Data sets of mmvisionmix.

``classification`` needs mmpretrain and ``segmentation`` mmsegmentation; the registry ``DATASETS``
imports them when a config asks for a data set of ours. The rest does without.
"""
