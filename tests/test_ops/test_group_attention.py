# Copyright (c) mmvisionmix authors. All rights reserved.
import math

import pytest
import torch
import torch.nn.functional as F
from mixers import FORMS, make_group

# Heads, channels, grid, batch.
SHAPES = ((1, 4, (1, 1), 1), (2, 6, (1, 5), 3), (2, 8, (7, 6), 2), (4, 12, (9, 3), 1))
OPTIONS = (dict(), dict(qkv_bias=False), dict(fusion='single', num_groups=1),
           dict(kernel_sizes=(3, )), dict(kernel_sizes=(1, 3, 5), num_groups=3),
           dict(share_groups=True), dict(share_groups=True, fusion='single', qkv_bias=False))


def attend_one_by_one(query, key, value, heads):
    """One query and one head at a time: the outputs, and weights of shape (heads, M, N)."""
    size, rows, weights = query.shape[1] // heads, [], []
    for row in range(len(query)):
        parts = []
        for head in range(heads):
            own = slice(head * size, (head + 1) * size)
            attention = torch.softmax(key[:, own] @ query[row, own] / math.sqrt(size), 0)
            parts.append(attention @ value[:, own])
            weights.append(attention)
        rows.append(torch.cat(parts))
    return torch.stack(rows), torch.stack(weights).view(len(query), heads, -1).transpose(0, 1)


def convolve_one_by_one(image, conv):
    """One patch at a time: tokens (N, D)."""
    size = conv.weight.shape[2]
    padded = F.pad(image, (size // 2, ) * 4)
    return torch.stack([
        (padded[:, i:i + size, j:j + size] * conv.weight[:, 0]).sum((1, 2))
        for i in range(image.shape[1]) for j in range(image.shape[2])]) + conv.bias


def linear(inputs, layer):
    return inputs @ layer.weight.T + (0 if layer.bias is None else layer.bias)


def attend_by_definition(mixer):
    """The header's formulas, one image at a time; and the attention of both kinds."""
    layer, outs, pooling, propagation = mixer.layer, [], [], []
    heads, scales = layer.num_heads, range(len(layer.convs))
    for image in mixer.x:
        tokens = image.flatten(1).T
        groups, weights = attend_one_by_one(
            linear(layer.tokens, layer.query), linear(tokens, layer.key),
            linear(tokens, layer.value), heads)
        pooling.append(weights)
        if layer.pooled is not None:
            groups = linear(groups, layer.pooled)
        normed = (groups - groups.mean(1, keepdim=True)) / (
            groups.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        normed = normed * layer.norm.weight + layer.norm.bias
        hidden = F.gelu(layer.expand.weight @ normed + layer.expand.bias[:, None])
        groups = groups + layer.reduce.weight @ hidden + layer.reduce.bias[:, None]
        out, maps = sum(proj.bias for proj in layer.projs), []
        for scale in scales:
            key, value, proj = (
                layers[scale if len(layers) > 1 else 0]
                for layers in (layer.group_keys, layer.group_values, layer.projs))
            query = convolve_one_by_one(image, layer.convs[scale])
            mixed, weights = attend_one_by_one(
                query, linear(groups, key), linear(groups, value), heads)
            out = out + mixed @ proj.weight.T
            maps.append(weights.transpose(1, 2))  # (heads, G, N)
        propagation.append(torch.stack(maps))
        outs.append(out.T.reshape(image.shape))
    grid = mixer.x.shape[2:]
    return [torch.stack(outs), *(
        torch.stack(maps).unflatten(-1, grid) for maps in (pooling, propagation))]


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('options', OPTIONS, ids=str)
@torch.no_grad()
def test_forms_follow_the_definition(shape, options):
    mixer = make_group(*shape, **options)
    expected, *maps = attend_by_definition(mixer)
    for one in (mixer, mixer.deployed()):
        for impl in FORMS['group']:
            torch.testing.assert_close(one(impl), expected, rtol=1e-10, atol=1e-10)
        for own, want in zip(one.layer.maps_of(mixer.x), maps):
            torch.testing.assert_close(own, want)


def test_a_bias_of_the_keys_would_change_nothing():
    """Why there is none: it adds the same to all logits of a query."""
    mixer = make_group(*SHAPES[2])
    expected = mixer('literal')
    for key in (mixer.layer.key, *mixer.layer.group_keys):
        key.bias = torch.nn.Parameter(torch.randn(8).double())
    torch.testing.assert_close(mixer('literal'), expected)


def test_folded_form_comes_out_channels_last():
    for one in (make_group(*SHAPES[2]), make_group(*SHAPES[2]).deployed()):
        assert one().is_contiguous(memory_format=torch.channels_last)
