# Copyright (c) mmvisionmix authors. All rights reserved.
import math

import pytest
import torch
import torch.nn.functional as F
from mixers import SHAPES, Mixer, assert_close

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


def attend_by_definition(mixer):
    """The header's formulas, one image at a time; and the attention of both kinds."""
    layer, outs, pooling, propagation = mixer.layer, [], [], []
    for image in mixer.x:
        tokens = image.flatten(1).T
        groups, weights = attend_one_by_one(
            layer.query(layer.tokens), layer.key(tokens), layer.value(tokens), layer.num_heads)
        pooling.append(weights)
        groups = groups if layer.pooled is None else layer.pooled(groups)
        hidden = F.gelu(layer.expand.weight @ layer.norm(groups) + layer.expand.bias[:, None])
        groups = groups + layer.reduce.weight @ hidden + layer.reduce.bias[:, None]
        out, maps = sum(proj.bias for proj in layer.projs), []
        for scale, conv in enumerate(layer.convs):
            key, value, proj = (
                layers[scale if len(layers) > 1 else 0]
                for layers in (layer.group_keys, layer.group_values, layer.projs))
            query = conv(image[None])[0].flatten(1).T
            mixed, weights = attend_one_by_one(query, key(groups), value(groups), layer.num_heads)
            out = out + mixed @ proj.weight.T
            maps.append(weights.transpose(1, 2))  # (heads, G, N)
        propagation.append(torch.stack(maps))
        outs.append(out.T.reshape(image.shape))
    return [torch.stack(outs), *(
        torch.stack(maps).unflatten(-1, image.shape[1:]) for maps in (pooling, propagation))]


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('options', OPTIONS, ids=str)
@torch.no_grad()
def test_forms_follow_the_definition(shape, options):
    mixer = Mixer('group', *shape, **options)
    expected = attend_by_definition(mixer)
    for one, impl in mixer.all_forms():
        out = one(impl)
        queries = torch.stack(list(one.layer.propagation_of(mixer.x).values()), 1)
        assert_close([out, one.layer.pooling_of(mixer.x), queries], expected)
        assert impl == 'literal' or out.is_contiguous(memory_format=torch.channels_last)
