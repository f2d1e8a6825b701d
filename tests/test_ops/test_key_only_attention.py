# Copyright (c) mmvisionmix authors. All rights reserved.
import math

import pytest
import torch
from mixers import Mixer, assert_close

# Heads, channels, grid, batch: one token, one head, odd counts, more heads than tokens.
SHAPES = ((1, 4, (1, 1), 1), (2, 6, (1, 1), 3), (1, 5, (7, 1), 2), (3, 12, (1, 13), 2),
          (8, 16, (1, 5), 1), (2, 32, (7, 7), 4))


def attend_by_definition(mixer):
    """Eq. 2-4 in plain numbers, one image and one head at a time; and A of Eq. 2."""
    layer, outs, saliencies = mixer.layer, [], []
    heads, size = layer.saliency.shape
    for image in mixer.x:
        key, value, context = layer.key(image), layer.value(image), []
        for head in range(heads):
            part = key[:, head * size:(head + 1) * size]
            scores = torch.stack([row.dot(layer.saliency[head]) for row in part])
            attention = torch.softmax(scores / math.sqrt(size), 0)
            context.append(sum(weight * row for weight, row in zip(attention, part)))
            saliencies.append(attention)
        gated = torch.cat(context) * value
        inner = layer.inner.weight
        if layer.inner_per_head:
            inner = torch.block_diag(*inner[:, :, 0].split(size))
        outs.append(layer.outer(gated @ inner.T + layer.inner.bias + key))
    return torch.stack(outs), torch.stack(saliencies).view(len(outs), heads, -1)


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('inner_per_head', (False, True))
@torch.no_grad()
def test_forms_follow_the_definition(shape, inner_per_head):
    mixer = Mixer('key_only', *shape, inner_per_head=inner_per_head)
    expected, saliency = attend_by_definition(mixer)
    for one, impl in mixer.all_forms():
        assert_close(one(impl), expected)
        assert_close(one.layer.saliency_of(mixer.x), saliency)
