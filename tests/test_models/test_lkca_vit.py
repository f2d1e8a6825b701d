# Copyright (c) mmvisionmix authors. All rights reserved.
import pytest
import torch
import torch.nn.functional as F
from small_backbones import randomise

from mmvisionmix.models import LKCAViT
from mmvisionmix.models.layers import LargeKernelAttention, SelfAttention

ARCH = dict(embed_dims=16, num_layers=3, mlp_ratio=2)


def build(img_size=32, seed=0, **kwargs):
    torch.manual_seed(seed)
    return randomise(LKCAViT(ARCH, img_size, 4, **kwargs)).eval()


def test_kernels_start_at_zero_and_learn():
    """The zero kernel keeps the values' gradient back for one step only."""
    model = LKCAViT(ARCH, 32, 4)
    model.init_weights()
    mixer = model.stages[0].mixer
    optimizer = torch.optim.SGD(model.parameters(), lr=1.)
    x, target = torch.rand(2, 3, 32, 32), torch.rand(2, 16, 8, 8)
    assert not mixer.kernel.any()
    for step in range(2):
        optimizer.zero_grad()
        F.mse_loss(model(x)[0], target).backward()
        assert mixer.kernel.grad.any()
        assert mixer.value.weight.grad.any() == (step > 0)
        optimizer.step()


def test_kernels_may_start_like_those_of_convolutions():
    torch.manual_seed(0)
    kernel = LKCAViT(ARCH, 256, 4, kernel_init='conv').stages[0].mixer.kernel
    conv = torch.nn.Conv2d(1, 1, kernel.shape).weight
    assert kernel.std().item() == pytest.approx(conv.std().item(), rel=0.02)
    assert kernel.abs().max().item() == pytest.approx(conv.abs().max().item(), rel=0.01)


@pytest.mark.parametrize('deployed', (False, True))
@pytest.mark.parametrize('interpolate', (False, True))
@pytest.mark.parametrize('size', ((48, 48), (16, 56)))
def test_checkpoint_of_another_grid_loads_and_acts_as_it_did(size, interpolate, deployed):
    source = build(img_size=32, interpolate_kernel=interpolate)
    target = build(img_size=size, interpolate_kernel=interpolate, seed=1)
    if deployed:
        source.switch_to_deploy()
        target.switch_to_deploy()
    state = source.state_dict()
    target.load_state_dict(state)
    assert target.stages[0].mixer.kernel.shape == (size[0] // 2 - 1, size[1] // 2 - 1)
    assert state['pos_embed'].shape[2:] == (8, 8)  # the given dict is not changed
    x = torch.rand(1, 3, *size)
    torch.testing.assert_close(target(x)[0], source(x)[0])


def test_attention_layers_keep_self_attention():
    model = build(attention_layers=(1, -1), num_heads=4)
    assert [type(stage.mixer) for stage in model.stages] == [
        LargeKernelAttention, SelfAttention, SelfAttention]
    x = torch.rand(1, 5, 16)
    attention = model.stages[1].mixer
    query, key, value = attention.qkv(x).view(1, 5, 3, 4, 4).permute(2, 0, 3, 1, 4)
    weights = (query @ key.transpose(-1, -2) / 2).softmax(-1)
    expected = attention.proj((weights @ value).transpose(1, 2).reshape(1, 5, 16))
    torch.testing.assert_close(attention(x, (1, 5)), expected)
