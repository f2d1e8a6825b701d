# Copyright (c) mmvisionmix authors. All rights reserved.
import math

import pytest
import torch
from mixers import FORMS, make_key_only

# Heads, channels, grid, batch: one token, one head, odd counts, more heads than tokens.
SHAPES = ((1, 4, (1, 1), 1), (2, 6, (1, 1), 3), (1, 5, (7, 1), 2), (3, 12, (1, 13), 2),
          (8, 16, (1, 5), 1), (2, 32, (7, 7), 4))


def attend_by_definition(mixer):
    """Eq. 2-4 in plain numbers, one image and one head at a time; and A of Eq. 2."""
    layer, outs, saliencies = mixer.layer, [], []
    heads, size = layer.saliency.shape
    for image in mixer.x:
        key = image @ layer.key.weight.T + layer.key.bias
        value = image @ layer.value.weight.T + layer.value.bias
        context = []
        for head in range(heads):
            part = key[:, head * size:(head + 1) * size]
            scores = torch.stack([row.dot(layer.saliency[head]) for row in part])
            attention = torch.softmax(scores / math.sqrt(size), 0)
            context.append(sum(weight * row for weight, row in zip(attention, part)))
            saliencies.append(attention)
        gated = torch.cat(context) * value
        if layer.inner_per_head:
            parts = [gated[:, head * size:(head + 1) * size]
                     @ layer.inner.weight[head * size:(head + 1) * size, :, 0].T
                     for head in range(heads)]
            mixed = torch.cat(parts, 1)
        else:
            mixed = gated @ layer.inner.weight.T
        outs.append((mixed + layer.inner.bias + key) @ layer.outer.weight.T + layer.outer.bias)
    return torch.stack(outs), torch.stack(saliencies).view(len(outs), heads, -1)


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('inner_per_head', (False, True))
@torch.no_grad()
def test_forms_follow_the_definition(shape, inner_per_head):
    mixer = make_key_only(*shape, inner_per_head=inner_per_head)
    expected, saliency = attend_by_definition(mixer)
    for one in (mixer, mixer.deployed()):
        for impl in FORMS['key_only']:
            torch.testing.assert_close(one(impl), expected, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(one.layer.saliency_of(mixer.x), saliency)
