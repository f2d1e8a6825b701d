# Copyright (c) mmvisionmix authors. All rights reserved.
"""What the registry ``DATASETS`` imports; data sets whose codebase is missing say so when built."""
from importlib import import_module
from typing import Any

from mmvisionmix.registry import DATASETS

EXTRAS = dict(
    cls=('classification', 'mmpretrain and SciPy', (
        'DemoCIFAR10', 'DemoCIFAR100', 'SVHN', 'TinyImageNet')),
    seg=('segmentation', 'mmsegmentation', ('CamVid', )))
for extra, (module, needed, names) in EXTRAS.items():
    try:
        import_module(f'.{module}', __package__)
    except ImportError as error:
        message = (f'The data sets for {module} stand on {needed}, and one of them could not be '
                   f'imported ({error}). Install them with: pip install "mmvisionmix[{extra}]"')

        def missing(message: str = message, **kwargs: Any) -> None:
            raise ImportError(message)

        for name in names:
            DATASETS.register_module(name=name, module=missing, force=True)
