# Copyright (c) mmvisionmix authors. All rights reserved.
"""What backbones of stages on maps (B, C, H, W) share."""
import pytest
import torch
from small_backbones import BACKBONES, build

from mmvisionmix.models.backbones.pyramid import PyramidBackbone

PYRAMIDS = [name for name, cls in BACKBONES.items() if issubclass(cls, PyramidBackbone)]
pyramids = pytest.mark.parametrize('name', PYRAMIDS)
trainings = pytest.mark.parametrize('training', (False, True))
FORMATS = (torch.contiguous_format, torch.channels_last)


def test_both_are_found():
    assert sorted(PYRAMIDS) == ['DualFormer', 'MCGANet']


@pyramids
def test_gap_before_norm_emits_normalised_averages(name):
    model = build(name, out_indices=(1, 3)).eval()
    vectors = build(name, out_indices=(1, 3), gap_before_norm=True).eval()
    vectors.load_state_dict(model.state_dict())
    features = []
    for stage in (1, 3):
        model.norms[str(stage)].register_forward_pre_hook(
            lambda module, args: features.append(args[0]))
    x = torch.randn(2, 3, 40, 72)
    model(x)
    for out, feature, stage in zip(vectors(x), features, (1, 3)):
        torch.testing.assert_close(out, model.norms[str(stage)](feature.flatten(2).mean(2)))


@pyramids
@trainings
@pytest.mark.parametrize('memory_format', FORMATS, ids=str)
def test_maps_have_the_memory_format_of_the_images(name, memory_format, training):
    model = build(name).train(training)
    x = torch.randn(2, 3, 64, 96).contiguous(memory_format=memory_format)
    assert all(out.is_contiguous(memory_format=memory_format) for out in model(x))


@pyramids
@trainings
def test_blocks_are_channels_last(name, training):
    model = build(name).train(training)
    maps = []
    for stage in model.stages[:2]:
        for block in stage.blocks:
            block.register_forward_hook(lambda module, args, out: maps.extend((args[0], out)))
    model(torch.randn(2, 3, 128, 96))
    assert len(maps) == 2 * sum(model.depths[:2])
    assert all(one.is_contiguous(memory_format=torch.channels_last) for one in maps)
