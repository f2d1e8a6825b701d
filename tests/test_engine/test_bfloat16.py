# Copyright (c) mmvisionmix authors. All rights reserved.
"""Mixed precision on CPUs."""
import torch
from mmengine.registry import OPTIM_WRAPPERS


def test_the_loss_is_computed_in_bfloat16_and_the_weights_stay_in_float32():
    model = torch.nn.Linear(3, 2)
    before = model.weight.detach().clone()
    wrapper = OPTIM_WRAPPERS.build(dict(
        type='mmvisionmix.BFloat16OptimWrapper', optimizer=torch.optim.SGD(
            model.parameters(), lr=0.1), accumulative_counts=2))
    x = torch.randn(5, 3)
    for step in range(2):
        with wrapper.optim_context(model):
            out = model(x)
        assert out.dtype == torch.bfloat16 and model(x).dtype == torch.float32
        wrapper.update_params(out.float().sum())
        assert torch.equal(model.weight, before) == (step == 0)
    change = 0.1 * x.sum(0).expand(2, 3)
    torch.testing.assert_close(before - model.weight, change, rtol=0.02, atol=0.02)
