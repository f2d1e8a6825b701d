# Copyright (c) mmvisionmix authors. All rights reserved.
"""Dense-prediction backbones for OpenMMLab with cheaper token mixers than query-key attention.

Importing the package checks the versions it stands on, lets torch load MMEngine's checkpoints, lets
mmsegmentation run on mmcv-lite, and makes the configs here inheritable as
``_base_ = 'mmvisionmix::lkca/....py'``. It imports no codebase (mmseg, mmdet, mmpretrain).
"""
from . import _compat
from ._configs import config_path
from .version import __version__

_compat.check_versions()
_compat.make_configs_inheritable()
_compat.allow_mmengine_checkpoints()
_compat.stand_in_for_operators()

__all__ = ['__version__', 'config_path']
