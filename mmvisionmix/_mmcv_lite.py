# Copyright (c) mmvisionmix authors. All rights reserved.
"""mmsegmentation without mmcv's compiled operators, as on mmcv-lite.

mmsegmentation 1.2.2 imports two functions of ``mmcv.ops`` whatever the network: ``point_sample``,
which is plain torch, and ``sigmoid_focal_loss``, which it calls on GPUs alone. Without compiled
operators ``mmcv.ops`` cannot be imported, and mmsegmentation neither. A stand-in has these two;
what else is looked for there is missing as before, so that mmdetection is refused as early.
"""
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import mmcv

from ._compat import INSTALL_MMCV

NAME = 'mmcv.ops'


class PlainOperators(ModuleType):
    """The part of ``mmcv.ops`` that needs no compiled code."""

    def __init__(self) -> None:
        super().__init__(NAME, 'What works of mmcv.ops without its compiled operators.')
        self.__path__ = [str(Path(mmcv.__file__).with_name('ops'))]

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith('_'):
            raise AttributeError(name)
        raise ModuleNotFoundError(missing(name), name=NAME)

    @staticmethod
    def sigmoid_focal_loss(*args, **kwargs) -> NoReturn:
        """Fails, as the operator is compiled; on CPUs mmsegmentation has its own."""
        raise ModuleNotFoundError(missing('sigmoid_focal_loss'), name=NAME)


def stand_in_for_operators() -> None:
    """Puts the stand-in in the place of ``mmcv.ops`` where mmcv has no compiled operators."""
    if NAME in sys.modules or find_spec('mmcv._ext'):
        return
    sys.modules[NAME] = mmcv.ops = PlainOperators()
    mmcv.ops.point_sample = import_module(f'{NAME}.point_sample').point_sample


def missing(operator: str) -> str:
    """Says that a compiled operator is missing, and what brings it."""
    return (f'{NAME}.{operator} is one of the compiled operators, which the installed mmcv '
            f'{mmcv.__version__} lacks (is it mmcv-lite?). Put mmcv in its place:\n'
            f'    pip uninstall mmcv-lite && {INSTALL_MMCV}')
