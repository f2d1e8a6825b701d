# Copyright (c) mmvisionmix authors. All rights reserved.
"""All registered backbones, small ones to try often, and what several tests do with them."""
import pytest
import torch
from torch import nn

from mmvisionmix.models import BaseBackbone
from mmvisionmix.registry import MODELS

MODELS.import_from_location()
BACKBONES = {
    name: cls
    for name, cls in MODELS.module_dict.items() if issubclass(cls, BaseBackbone)
}
SIZES = [(name, arch) for name, cls in BACKBONES.items() for arch in cls.arch_settings]
# Settings that make a backbone small enough to be tried often.
SMALL = dict(
    DualFormer=dict(
        arch=dict(
            embed_dims=(8, 16, 24, 16), depths=(1, 2, 1, 1), reductions=(4, 2, 1, 1),
            mlp_ratios=(3, 2, 2, 2)),
        num_heads=2,
        out_indices=(0, 2, 3)),
    LKCAViT=dict(
        arch=dict(embed_dims=24, num_layers=4, mlp_ratio=2), img_size=(24, 40), patch_size=8,
        out_indices=(0, 2, 3)),
    LinGlo=dict(
        arch=dict(
            embed_dims=(8, 12, 16, 24), depths=(1, 2, 1, 1), num_heads=(1, 2, 4, 3),
            mlp_ratios=(3, 2, 2, 2)),
        out_indices=(0, 2, 3)),
    MCGANet=dict(
        arch=dict(
            embed_dims=(8, 16, 16, 32), depths=(1, 2, 1, 1), num_heads=(1, 2, 4, 2),
            mlp_ratios=(3, 2, 2, 2)),
        num_groups=5,
        out_indices=(0, 2, 3)))
# Settings for its full sizes on images of about 64 pixels.
FULL = dict(
    DualFormer=dict(), LKCAViT=dict(img_size=64, patch_size=8), LinGlo=dict(), MCGANet=dict())


def build(name, **kwargs):
    torch.manual_seed(0)
    model = BACKBONES[name](**{**SMALL[name], **kwargs})
    return randomise(model).train()  # when norm_eval acts


def randomise(model, std=0.2):
    """Gives every parameter and statistic a value that a mistake would not survive.

    Biases are small, or else they would make all tokens of a deep network alike.
    """
    for name, param in model.named_parameters():
        nn.init.normal_(param, std=0.02 if name.endswith('bias') else std)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model


def run(model, x):
    return [out.detach() for out in model(x)]


def assert_same(outs, expected, tolerance=1e-5):
    assert len(outs) == len(expected)
    for out, want in zip(outs, expected):
        assert out.shape == want.shape and (out - want).norm() <= tolerance * want.norm()


def assert_differ(outs, others, least=1e-3):
    assert all((out - other).norm() > least * other.norm() for out, other in zip(outs, others))


def gradients(model, x):
    model.zero_grad()
    sum(out.square().mean() for out in model(x)).backward()
    return {name: param.grad for name, param in model.named_parameters()}


backbones = pytest.mark.parametrize('name', BACKBONES)
