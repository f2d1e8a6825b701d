# Copyright (c) mmvisionmix authors. All rights reserved.
"""Backbones learn the demo data, in single precision and under autocast, and do so again."""
from pathlib import Path

import pytest
import torch
from small_backbones import BACKBONES, backbones, build, gradients
from tiny_training import train

SCRIPT = Path(__file__).with_name('tiny_training.py')
DTYPES = (torch.float32, torch.bfloat16)
# Iterations, and how much of the first losses the last ones may keep.
lengths = pytest.mark.parametrize('iterations, kept', (
    pytest.param(20, 0.85, id='short'), pytest.param(300, 0.5, id='long', marks=pytest.mark.slow)))


def autocast(dtype):
    return torch.autocast('cpu', dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)


@backbones
@lengths
@pytest.mark.parametrize('dtype', DTYPES, ids=str)
def test_losses_stay_finite_and_fall(name, iterations, kept, dtype, demo_ade20k):
    losses = torch.tensor(train(name, demo_ade20k, iterations, dtype))
    assert losses.isfinite().all()
    assert losses[-5:].mean() < kept * losses[:3].mean()


def assert_finite(model, x, dtype):
    """Of the outputs in evaluation and the gradients in training."""
    with torch.no_grad(), autocast(dtype):
        assert all(out.isfinite().all() for out in model.eval()(x))
    with autocast(dtype):
        grads = gradients(model.train(), x)
    assert all(grad.isfinite().all() for grad in grads.values())


@backbones
@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('scale', (1e4, 1e-30))
def test_images_of_any_scale_give_finite_values_and_gradients(name, dtype, scale):
    assert_finite(build(name), scale * torch.randn(2, 3, 24, 40), dtype)


@backbones
@pytest.mark.parametrize('dtype', DTYPES, ids=str)
def test_features_and_logits_of_any_size_give_finite_values_and_gradients(name, dtype):
    """Weights before softmaxes and hashes are 1e4 times as large as those that are trained."""
    model = build(name)
    with torch.no_grad():
        for param_name, param in model.named_parameters():
            if any(part in param_name for part in (
                    'norm1', 'kernel', 'saliency', 'tokens', 'query', 'key', 'value',
                    'attention.downsample')):
                param.mul_(1e4)
    assert_finite(model, torch.randn(2, 3, 24, 40), dtype)


def test_the_same_seed_gives_the_same_weights_in_another_process(run_tool, demo_ade20k, tmp_path):
    """By MMEngine's runner and ``randomness=dict(seed=0, deterministic=True)``."""
    found = []
    for run in range(2):
        out = run_tool(SCRIPT, demo_ade20k, 4, tmp_path / str(run), cwd=tmp_path)
        found.append([line for line in out.splitlines() if line.startswith(tuple(BACKBONES))])
    assert len(found[0]) == len(BACKBONES)
    assert found[0] == found[1]
