# Copyright (c) mmvisionmix authors. All rights reserved.
"""The AutoAugment policies are those of the paper, in the terms of mmpretrain's transforms."""
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmpretrain import datasets
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


@pytest.mark.parametrize('name', ['cifar10', 'svhn'])
def test_mmpretrain_builds_the_policy_from_a_child_config_and_changes_images(name, tmp_path):
    child = tmp_path / 'child.py'
    child.write_text(f'_base_ = {str(POLICIES)!r}\n'
                     f'augment = dict(type="AutoAugment", policies={{{{_base_.policy_{name}}}}})\n')
    augment = datasets.transforms.AutoAugment(Config.fromfile(child).augment['policies'])
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    for sub_policy in augment.transforms:
        np.random.seed(0)
        results = [sub_policy(dict(img=image.copy()))['img'] for _ in range(20)]
        assert all(out.shape == image.shape and out.dtype == np.uint8 for out in results)
        assert any((out != image).any() for out in results)


def test_signs_are_drawn_at_random(policies):
    """A shift of 0.9 * 150/331 of the side goes either way, and uncovers grey."""
    augment = datasets.transforms.AutoAugment(policies.policy_cifar10[21:22])
    image = np.full((331, 8, 3), 255, np.uint8)
    np.random.seed(0)
    outputs = [augment(dict(img=image.copy()))['img'] for _ in range(40)]
    assert {tuple(np.unique(out)) for out in outputs} <= {(255, ), (128, 255), (128, )}
    moved = [out for out in outputs if (out[:150] == 128).all() or (out[-150:] == 128).all()]
    assert any((out[0] == 128).all() for out in moved)
    assert any((out[-1] == 128).all() for out in moved)
