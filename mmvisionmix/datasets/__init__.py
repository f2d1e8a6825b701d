# Copyright (c) mmvisionmix authors. All rights reserved.
"""Data sets of mmvisionmix.

``classification`` needs mmpretrain, and is imported by the registry ``DATASETS`` when a config asks
for a data set in it. The rest does without.
"""
