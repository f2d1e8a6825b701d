# Copyright (c) mmvisionmix authors. All rights reserved.
"""Registries of this package: children of MMEngine's, under the scope ``mmvisionmix``.

A config names a class here as ``type='mmvisionmix.LKCAViT'``. MMEngine then imports this module by
itself, and ``locations`` imports the class when it is asked for; no ``custom_imports`` is needed.
"""
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import Registry

MODELS = Registry(
    'model', parent=MMENGINE_MODELS, scope='mmvisionmix', locations=['mmvisionmix.models'])
METRICS = Registry(
    'metric', parent=MMENGINE_METRICS, scope='mmvisionmix', locations=['mmvisionmix.evaluation'])
DATASETS = Registry(
    'dataset', parent=MMENGINE_DATASETS, scope='mmvisionmix',
    locations=['mmvisionmix.datasets.registered'])
HOOKS = Registry(
    'hook', parent=MMENGINE_HOOKS, scope='mmvisionmix', locations=['mmvisionmix.engine'])
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optimizer wrapper constructor', parent=MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
    scope='mmvisionmix', locations=['mmvisionmix.engine'])
OPTIM_WRAPPERS = Registry(
    'optim_wrapper', parent=MMENGINE_OPTIM_WRAPPERS, scope='mmvisionmix',
    locations=['mmvisionmix.engine'])
