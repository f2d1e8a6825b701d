# Copyright (c) mmvisionmix authors. All rights reserved.
import warnings

import torch

from mmvisionmix.ops import is_recording


def tell(x):
    """Adds one where operators are recorded."""
    return x + 1 if is_recording() else x


def test_recording_is_noticed_and_nothing_else_is():
    x = torch.zeros(2)
    with warnings.catch_warnings():
        warnings.simplefilter('error')  # torch._utils.is_compiling is deprecated
        assert tell(x).eq(0).all()
    assert torch.jit.trace(tell, x)(x).eq(1).all()
    assert torch.compile(tell, backend='eager', fullgraph=True)(x).eq(1).all()
    assert tell(x).eq(0).all()
