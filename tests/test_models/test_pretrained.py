# Copyright (c) mmvisionmix authors. All rights reserved.
"""Backbones start from a classifier's checkpoint, or say why they do not."""
import logging

import pytest
import torch
from mmengine.logging import MMLogger

from mmvisionmix.models import LinGlo

TINY = dict(
    embed_dims=(8, 12, 16, 24), depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 3),
    mlp_ratios=(2, 2, 2, 2))
KEY = 'stages.1.blocks.0.mixer.key.weight'


def pretrained(checkpoint, **kwargs):
    return dict(type='Pretrained', checkpoint=checkpoint, prefix='backbone.', **kwargs)


@pytest.fixture
def messages():
    """Warnings of MMEngine's current logger."""
    records = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: records.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)


@pytest.fixture
def classifier(tmp_path):
    """A classifier's checkpoint: only the last stage has a norm, and there is a head."""
    backbone = LinGlo(TINY, out_indices=-1)
    state = {f'backbone.{key}': torch.full_like(value, 0.5)
             for key, value in backbone.state_dict().items()}
    path = tmp_path / 'classifier.pth'
    torch.save(dict(state_dict={**state, 'head.fc.weight': torch.ones(2, 24)}, meta={}), path)
    return path


def test_without_a_checkpoint_it_starts_from_scratch_and_says_so_once(messages):
    torch.manual_seed(0)
    backbone = LinGlo('b0', init_cfg=pretrained(None))
    assert not messages
    backbone.init_weights()
    warning, = [message for message in messages if 'scratch' in message]
    assert 'configs/linglo/linglo-b0_8xb128-300e_in1k.py' in warning
    assert '--cfg-options model.backbone.init_cfg.checkpoint=PATH' in warning
    assert backbone.get_parameter(KEY).std().item() == pytest.approx(0.02, rel=0.1)


def test_other_initialisations_come_first(classifier):
    constant = dict(type='Constant', layer=['Linear', 'LayerNorm'], val=3.)
    backbone = LinGlo(TINY, init_cfg=[constant, pretrained(str(classifier))])
    backbone.init_weights()
    state = backbone.state_dict()
    assert (state['norms.0.weight'] == 3).all() and (state[KEY] == 0.5).all()


def test_a_missing_file_is_named_before_anything_is_trained(tmp_path):
    path = tmp_path / 'nowhere.pth'
    backbone = LinGlo(TINY, init_cfg=pretrained(str(path)))
    with pytest.raises(FileNotFoundError) as error:
        backbone.init_weights()
    assert str(path) in str(error.value) and 'init_cfg.checkpoint' in str(error.value)


@pytest.mark.parametrize('names', (['backbone.layer1.weight'], ['stem.conv.weight']))
def test_a_checkpoint_without_any_of_its_weights_is_refused(tmp_path, names):
    path = tmp_path / 'other.pth'
    torch.save(dict(state_dict={name: torch.ones(1) for name in names}), path)
    backbone = LinGlo(TINY, init_cfg=pretrained(str(path)))
    with pytest.raises(ValueError, match='holds no weight of LinGlo') as error:
        backbone.init_weights()
    assert str(path) in str(error.value) and names[0] in str(error.value)


@pytest.mark.parametrize('change', (dict(embed_dims=(24, ) * 4), dict(depths=(3, 2, 3, 2))))
def test_a_checkpoint_of_another_size_is_refused(classifier, change):
    backbone = LinGlo({**TINY, **change}, init_cfg=pretrained(str(classifier)))
    with pytest.raises(ValueError, match='is of another size .* fits .* of its .* parameters'):
        backbone.init_weights()


def test_a_deployed_checkpoint_is_refused(tmp_path):
    source, path = LinGlo(TINY), tmp_path / 'deployed.pth'
    source.switch_to_deploy()
    torch.save(source.state_dict(), path)
    backbone = LinGlo(TINY, init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    with pytest.raises(ValueError, match='are of a deployed model and this model is plain'):
        backbone.init_weights()
