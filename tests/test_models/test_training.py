# Copyright (c) mmvisionmix authors. All rights reserved.
"""Values and gradients stay finite, in single precision and under autocast."""
import pytest
import torch
from small_backbones import backbones, build, gradients


def autocast(dtype):
    return torch.autocast('cpu', dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)


@backbones
@pytest.mark.parametrize('dtype', (torch.float32, torch.bfloat16), ids=str)
@pytest.mark.parametrize('images, weights', ((1e4, 1), (1e-30, 1), (1, 1e4)))
def test_values_of_any_scale_stay_finite(name, dtype, images, weights):
    """Of images, and of the weights before softmaxes and hashes."""
    model, x = build(name), images * torch.randn(2, 3, 24, 40)
    with torch.no_grad():
        for param_name, param in model.named_parameters():
            if any(part in param_name for part in (
                    'norm1', 'kernel', 'saliency', 'tokens', 'query', 'key', 'value',
                    'attention.downsample')):
                param.mul_(weights)
        with autocast(dtype):
            assert all(out.isfinite().all() for out in model.eval()(x))
    with autocast(dtype):
        grads = gradients(model.train(), x)
    assert all(grad.isfinite().all() for grad in grads.values())
