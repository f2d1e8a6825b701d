# Copyright (c) mmvisionmix authors. All rights reserved.
"""The AutoAugment policies are those of the paper, in the terms of mmpretrain's transforms."""
from pathlib import Path

import pytest
from mmengine.config import Config
from torchvision import transforms

POLICIES = Path(__file__).resolve().parents[2] / 'configs/_base_/datasets/pipelines/auto_aug.py'
# mmpretrain's (type, direction), and the key and value of the paper's strongest magnitude.
OPERATIONS = {
    'ShearX': ('Shear', 'horizontal', 'magnitude', 0.3),
    'ShearY': ('Shear', 'vertical', 'magnitude', 0.3),
    'TranslateX': ('Translate', 'horizontal', 'magnitude', 150 / 331),
    'TranslateY': ('Translate', 'vertical', 'magnitude', 150 / 331),
    'Rotate': ('Rotate', None, 'angle', 30),
    'Color': ('ColorTransform', None, 'magnitude', 0.9),
    'Contrast': ('Contrast', None, 'magnitude', 0.9),
    'Brightness': ('Brightness', None, 'magnitude', 0.9),
    'Sharpness': ('Sharpness', None, 'magnitude', 0.9),
    'Posterize': ('Posterize', None, 'bits', 4),
    'Solarize': ('Solarize', None, 'thr', 0),
}


@pytest.fixture(scope='module')
def policies():
    return Config.fromfile(POLICIES)


def as_in_the_paper(operation):
    """An operation of ours as (name, probability, magnitude from 0 to 9 or None)."""
    for name, (kind, direction, key, strongest) in OPERATIONS.items():
        if operation['type'] == kind and operation.get('direction') == direction:
            weakest = {'bits': 8, 'thr': 256}.get(key, 0)
            magnitude = (operation[key] - weakest) / (strongest - weakest) * 9
            return name, operation['prob'], pytest.approx(magnitude, abs=0.3 if key == 'bits' else
                                                          1e-6)
    return operation['type'], operation['prob'], None


@pytest.mark.parametrize('name', ['cifar10', 'svhn'])
def test_policy_is_the_published_one_as_torchvision_states_it_too(policies, name):
    ours = [tuple(map(as_in_the_paper, sub)) for sub in policies[f'policy_{name}']]
    published = transforms.AutoAugment(transforms.AutoAugmentPolicy(name)).policies
    assert len(ours) == 25
    assert ours == published
