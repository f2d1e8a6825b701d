# Copyright (c) mmvisionmix authors. All rights reserved.
"""DistributedDataParallel in two processes, with its default settings."""
import itertools

import pytest
import torch
from small_backbones import BACKBONES, build
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from two_processes import in_two_processes

WITHOUT_BATCH_NORM = ('LKCAViT', 'MCGANet')
IMAGES = (4, 3, 24, 40)
# What a recipe may set that decides which parameters take part.
SETTINGS = [
    dict(), dict(out_indices=0), dict(out_indices=(1, 2)), dict(frozen_stages=0),
    dict(frozen_stages=3), dict(out_indices=(1, 2), frozen_stages=2),
    dict(out_indices=(0, 1, 2, 3), norm_eval=True), dict(frozen_stages=2, with_cp=True)]
CASES = list(itertools.product(BACKBONES, range(len(SETTINGS))))


def loss_of(outs):
    return sum(out.square().mean() for out in outs)


def share_of(images):
    return images.chunk(distributed.get_world_size())[distributed.get_rank()]


def gradients(model, images):
    loss_of(model(images)).backward()
    model = getattr(model, 'module', model)
    return {name: param.grad for name, param in model.named_parameters()}


def train(model, images):
    """Parameters and gradients after three iterations, or the error that stopped them."""
    model = DistributedDataParallel(model)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    try:
        for _ in range(3):
            optimizer.zero_grad()
            grads = gradients(model, share_of(images))
            optimizer.step()
    except RuntimeError as error:
        return str(error)
    return {name: (param.detach(), grads[name]) for name, param in model.module.named_parameters()}


def work(training, comparing, images):
    trained = {key: train(model, images) for key, model in training.items()}
    return trained, {
        key: gradients(DistributedDataParallel(model), share_of(images.to(key[2])))
        for key, model in comparing.items()}


@pytest.fixture(scope='module')
def images():
    return torch.randn(IMAGES, generator=torch.Generator().manual_seed(1))


def gradient_models():
    return {(name, norm_eval, dtype): build(name, norm_eval=norm_eval).to(dtype)
            for name in BACKBONES for norm_eval in (True, False)
            for dtype in (torch.float32, torch.float64)}


@pytest.fixture(scope='module')
def both(images):
    """What the two processes found, all cases at once, as starting them takes longest."""
    models = {(name, index): build(name, **SETTINGS[index]) for name, index in CASES}
    return in_two_processes(work, models, gradient_models(), images)


@pytest.mark.parametrize('name, index', CASES)
def test_trains_without_unused_parameters_and_stays_the_same_everywhere(both, name, index):
    (first, _), (second, _) = both
    first, second = first[name, index], second[name, index]
    assert isinstance(first, dict), first
    start = dict(build(name, **SETTINGS[index]).named_parameters())
    for key, (value, grad) in first.items():
        assert torch.equal(value, second[key][0]) and value.isfinite().all(), key
        assert (grad is not None) == start[key].requires_grad, key
        assert grad is not None or torch.equal(value, start[key]), key
    assert not torch.equal(value, start[key])  # the last one, next to the loss


def largest_difference(expected, found):
    """The largest relative distance of two gradients of a parameter.

    Gradients that are a thousandth of the largest, or less, are what is left of larger terms, and
    their distance is relative to that thousandth.
    """
    least = max(grad.norm() for grad in expected.values()) / 1000
    return max((found[key] - grad).norm() / max(grad.norm(), least)
               for key, grad in expected.items()).item()


@pytest.mark.parametrize('dtype, tolerance', ((torch.float32, 1e-5), (torch.float64, 1e-13)))
@pytest.mark.parametrize('name', BACKBONES)
def test_gradients_equal_those_of_one_process_with_all_images(
        both, images, name, dtype, tolerance):
    """Unless batch norms take their statistics from the images of one process."""
    for norm_eval in (True, False):
        alone = gradients(build(name, norm_eval=norm_eval).to(dtype), images.to(dtype))
        for _, shared in both:
            difference = largest_difference(alone, shared[name, norm_eval, dtype])
            if norm_eval or name in WITHOUT_BATCH_NORM:
                assert difference < tolerance
            else:
                assert difference > 0.01
