# Copyright (c) mmvisionmix authors. All rights reserved.
"""Data sets for image classification that mmpretrain lacks; it must be installed."""
from .demo_cifar import DemoCIFAR10, DemoCIFAR100
from .svhn import SVHN
from .tiny_imagenet import TinyImageNet

__all__ = ['DemoCIFAR10', 'DemoCIFAR100', 'SVHN', 'TinyImageNet']
