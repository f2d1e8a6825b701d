# Copyright (c) mmvisionmix authors. All rights reserved.
import pytest
import torch
from torch import nn

from mmvisionmix.models import MCGANet
from mmvisionmix.models.layers import ChannelNorm, GroupAttention

TINY = dict(
    embed_dims=(8, 16, 16, 32), depths=(1, 2, 1, 1), num_heads=(1, 2, 4, 2),
    mlp_ratios=(3, 2, 2, 2))
OPTIONS = (
    dict(num_groups=3), dict(kernel_sizes=(7, )), dict(kernel_sizes=(1, 3, 5)),
    dict(qkv_bias=False), dict(share_groups=True), dict(fusion='single'),
    dict(fusion='single', share_groups=True), dict(drop_rate=0.1), dict(drop_path_rate=0.1))


def randomise(model):
    for param in model.parameters():
        nn.init.normal_(param, std=0.1)
    return model


@pytest.mark.parametrize('fusion, expected', (('separate', 10.306), ('single', 10.304)))
def test_classifier_has_the_published_parameters(fusion, expected):
    model = MCGANet(out_indices=-1, fusion=fusion)
    head = 1280 * (256 + 1) + 1000 * (1280 + 1)
    count = sum(param.numel() for param in model.parameters()) + head
    assert count / 1e6 == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_every_option_trains_on_odd_images(options):
    torch.manual_seed(0)
    model = randomise(MCGANet(TINY, **options)).train()
    sum(out.square().mean() for out in model(torch.randn(2, 3, 53, 70))).backward()
    for name, param in model.named_parameters():
        assert param.grad is not None and param.grad.isfinite().all() and param.grad.any(), name


@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_literal_network_gives_the_same_outputs(options):
    torch.manual_seed(0)
    literal = randomise(MCGANet(TINY, impl='literal', **options)).double().eval()
    model = MCGANet(TINY, **options).double().eval()
    model.load_state_dict(literal.state_dict())
    assert [m.impl for m in literal.modules() if hasattr(m, 'impl')] == ['literal'] * 5
    x = torch.randn(2, 3, 53, 70, dtype=torch.float64)
    for out, want in zip(model(x), literal(x)):
        torch.testing.assert_close(out, want, rtol=1e-10, atol=1e-10)


def test_patches_are_padded_at_the_bottom_and_right():
    model = randomise(MCGANet(TINY)).eval()
    x = torch.randn(1, 3, 61, 30)
    padded = torch.zeros(1, 3, 64, 32)
    padded[..., :61, :30] = x
    torch.testing.assert_close(model.stem(x), model.stem(padded))


def test_channel_norm_normalises_maps_and_vectors_alike():
    norm = randomise(ChannelNorm(6))
    x = torch.randn(2, 6, 4, 5)
    expected = nn.functional.layer_norm(
        x.permute(0, 2, 3, 1), (6, ), norm.weight, norm.bias, norm.eps).permute(0, 3, 1, 2)
    out = norm(x)
    torch.testing.assert_close(out, expected)
    assert out.is_contiguous()
    channels_last = norm(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(channels_last, expected)
    assert channels_last.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(norm(x[:, :, 1, 2]), expected[:, :, 1, 2])


@pytest.mark.parametrize('options, message', (
    (dict(fusion='sum'), "fusion must be 'separate' or 'single', got 'sum'"),
    (dict(kernel_sizes=(3, 4)), r'kernel_sizes must be odd, and at least one, got \(3, 4\)'),
    (dict(kernel_sizes=()), 'kernel_sizes must be odd, and at least one'),
    (dict(impl='fast'), "'auto', 'literal', 'folded'"),
    (dict(arch={**TINY, 'num_heads': (3, 2, 4, 2)}), 'multiple of num_heads, got 8 and 3'),
    (dict(arch={**TINY, 'depths': (1, 2)}), 'one value per stage')))
def test_bad_options_are_answered_with_the_good_ones(options, message):
    with pytest.raises(ValueError, match=message):
        MCGANet(**{'arch': TINY, **options})


def test_keys_have_no_biases():
    attention = GroupAttention(8, 2)
    assert attention.key.bias is None
    assert all(key.bias is None for key in attention.group_keys)
