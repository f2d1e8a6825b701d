# Copyright (c) mmvisionmix authors. All rights reserved.
"""Dense-prediction backbones for OpenMMLab with cheaper token mixers than query-key attention.

Importing the package checks the versions it stands on, lets torch load MMEngine's checkpoints, lets
mmsegmentation run on mmcv-lite, and makes the configs here inheritable as
``_base_ = 'mmvisionmix::lkca/....py'``. It imports no codebase (mmseg, mmdet, mmpretrain).
"""
from ._compat import require_mmcv, require_mmengine
from .version import __version__

require_mmengine()
require_mmcv()

from mmengine.config.utils import MODULE2PACKAGE  # noqa: E402  after the check, to fail clearly

from ._checkpoints import allow_mmengine_checkpoints  # noqa: E402
from ._configs import config_path  # noqa: E402
from ._mmcv_lite import stand_in_for_operators  # noqa: E402

allow_mmengine_checkpoints()
stand_in_for_operators()
MODULE2PACKAGE['mmvisionmix'] = 'mmvisionmix'

__all__ = ['__version__', 'config_path']
