# Copyright (c) mmvisionmix authors. All rights reserved.
"""Data sets for image classification that mmpretrain lacks; it must be installed."""
try:
    from .demo_cifar import DemoCIFAR10, DemoCIFAR100
    from .svhn import SVHN
    from .tiny_imagenet import TinyImageNet
except ImportError as error:
    raise ImportError(
        f'The data sets for classification stand on mmpretrain and SciPy, and one of them could '
        f'not be imported ({error}). Install them with: pip install "mmvisionmix[cls]"') from error

__all__ = ['DemoCIFAR10', 'DemoCIFAR100', 'SVHN', 'TinyImageNet']
