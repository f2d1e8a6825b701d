# Copyright (c) mmvisionmix authors. All rights reserved.
import pytest
import torch

from mmvisionmix.ops import full_precision


def test_products_inside_autocast_keep_their_precision():
    x = torch.randn(4, 4)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert (x @ x).dtype == torch.bfloat16
        with full_precision(x.device):
            assert (x @ x).dtype == torch.float32


@pytest.mark.parametrize('device', ('meta', 'mps'))
def test_devices_that_autocast_refuses_are_taken(device):
    with full_precision(torch.device(device)):
        pass
