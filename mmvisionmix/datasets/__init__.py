# Copyright (c) mmvisionmix authors. All rights reserved.
"""Data sets and data writers of mmvisionmix."""
