# Copyright (c) mmvisionmix authors. All rights reserved.
"""Registries of this project, under the scope ``example_project``: its package's name.

For ``type='example_project.EdgeAwareHead'`` MMEngine imports ``example_project.registry``, and then
the modules in ``locations``. So a config needs no ``custom_imports``.
"""
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import Registry

MODELS = Registry(
    'model', parent=MMENGINE_MODELS, scope='example_project', locations=['example_project.heads'])
DATASETS = Registry(
    'dataset', parent=MMENGINE_DATASETS, scope='example_project',
    locations=['example_project.datasets'])
