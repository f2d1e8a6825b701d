# Copyright (c) mmvisionmix authors. All rights reserved.
import pytest
import torch
from small_backbones import SMALL, build
from torch.profiler import profile

from mmvisionmix.models import LinGlo
from mmvisionmix.models.layers import resize_pos_embed

POSITIONS = dict(encoding=None, patch_sizes=(4, 2, 2, 2), absolute_pos=True, img_size=64)


@pytest.mark.parametrize('options', ({}, dict(layout='chhh'), POSITIONS), ids=str)
def test_maps_keep_their_layout_through_the_network(options):
    """Only the maps that are emitted, and the stem's before, are copied into another layout."""
    model = build('LinGlo', **options).eval()
    model.switch_to_deploy()
    batch = 5  # no kernel has so many channels, so the first dimension tells maps
    with torch.no_grad(), profile(record_shapes=True) as profiler:
        model(torch.randn(batch, 3, 64, 64))
    copied = [event.input_shapes[0] for event in profiler.events() if event.name == 'aten::clone']
    maps = [shape for shape in copied if len(shape) == 4 and shape[0] == batch]
    assert len(maps) == len(model.out_indices) + 1


def test_position_embeddings_are_resized_for_other_images_and_checkpoints():
    model = build('LinGlo', **POSITIONS).eval()
    assert model.stem.position.weight.shape == (1, 8, 16, 16)
    assert model.stages[3].downsample.position.weight.shape == (1, 24, 2, 2)
    other = LinGlo(**{**SMALL['LinGlo'], **POSITIONS, 'img_size': (96, 64)}).eval()
    other.load_state_dict(model.state_dict())
    weight = model.stem.position.weight.detach()
    torch.testing.assert_close(other.stem.position.weight, resize_pos_embed(weight, (24, 16)))
    x = torch.randn(1, 3, 96, 64)
    torch.testing.assert_close(other(x)[0], model(x)[0])


def test_a_patch_size_of_one_keeps_the_channels():
    with pytest.raises(ValueError, match='a patch size of 1 keeps the channels'):
        build('LinGlo', patch_sizes=(4, 1, 2, 2))
