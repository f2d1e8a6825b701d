# Copyright (c) mmvisionmix authors. All rights reserved.
"""The layer: what it keeps from its weights in inference is never stale."""
import copy
import pickle

import pytest
import torch

from mmvisionmix.models.layers import KeyOnlyAttention
from mmvisionmix.models.layers import key_only_attention as module

GRID = (4, 5)
STATES = (dict(), dict(inner_per_head=True))


@pytest.fixture
def folds(monkeypatch):
    """The calls that multiply weights out."""
    calls, fold = [], module.fold_key_only_weights
    monkeypatch.setattr(
        module, 'fold_key_only_weights', lambda weights: calls.append(weights) or fold(weights))
    return calls


def make(**kwargs):
    torch.manual_seed(0)
    layer = KeyOnlyAttention(12, 3, **kwargs).double().eval()
    for param in layer.parameters():
        torch.nn.init.normal_(param)
    return layer


def draw():
    return torch.randn(2, 20, 12, dtype=torch.float64)


def assert_fresh(layer):
    """The layer computes what one with the same weights, and nothing kept, does literally."""
    x = draw().to(layer.key.weight.dtype)
    literal = KeyOnlyAttention(12, 3, impl='literal', inner_per_head=layer.inner.weight.ndim == 3)
    literal.to(layer.key.weight.dtype).load_state_dict(layer.state_dict())
    with torch.no_grad():
        out, expected = layer(x, GRID), literal.eval()(x, GRID)
    assert (out - expected).norm() <= 1e-5 * expected.norm()


@pytest.mark.parametrize('options', STATES, ids=str)
def test_products_are_computed_once_in_inference(folds, options):
    layer = make(**options)
    with torch.no_grad():
        for _ in range(3):
            layer(draw(), GRID)
    with torch.inference_mode():
        layer(draw(), GRID)
    assert len(folds) == 1
    assert_fresh(layer)


def load(layer):
    layer.load_state_dict({key: 2 * value for key, value in layer.state_dict().items()})


def load_by_assignment(layer):
    layer.load_state_dict(
        {key: 2 * value for key, value in layer.state_dict().items()}, assign=True)


def train_a_step(layer):
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    layer.train()
    layer(draw(), GRID).square().sum().backward()
    optimizer.step()
    layer.eval()


def train_a_step_in_evaluation_mode(layer):
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    layer(draw(), GRID).square().sum().backward()
    optimizer.step()


def write_in_place(layer):
    with torch.no_grad():
        layer.outer.weight.mul_(2)


def replace_a_parameter(layer):
    layer.value.weight = torch.nn.Parameter(2 * layer.value.weight.detach())


def replace_the_data(layer):
    layer.key.weight.data = 2 * layer.key.weight.data


def write_to_the_data_while_training(layer):
    layer.train()
    layer.key.weight.data.mul_(2)
    layer.eval()


@pytest.mark.parametrize('change', (
    load, load_by_assignment, train_a_step, train_a_step_in_evaluation_mode, write_in_place,
    replace_a_parameter, replace_the_data, write_to_the_data_while_training,
    lambda layer: layer.float(), lambda layer: layer.float().double(),
    lambda layer: layer.inner.bfloat16().double()))
@pytest.mark.parametrize('options', STATES, ids=str)
def test_products_are_computed_anew_after_any_change(folds, change, options):
    layer = make(**options)
    with torch.no_grad():
        layer(draw(), GRID)
    assert len(folds) == 1
    change(layer)
    assert_fresh(layer)
    assert len(folds) == 2


def test_gradients_are_those_of_the_weights_in_evaluation_mode_too(folds):
    x, layer, literal = draw(), make(), make(impl='literal')
    for one in (layer, literal):
        with torch.no_grad():
            one(x, GRID)
        one(x, GRID).square().sum().backward()
    for ours, theirs in zip(layer.parameters(), literal.parameters()):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-9, atol=1e-9)


def test_frozen_layers_pass_gradients_on_and_keep_their_products(folds):
    layer = make().requires_grad_(False)
    with torch.inference_mode():  # what is kept must serve autograd later
        layer(draw(), GRID)
    x = draw().requires_grad_()
    layer(x, GRID).square().sum().backward()
    assert len(folds) == 1 and x.grad.any()


def test_autocast_does_not_lower_the_products_precision(folds):
    layer = make().float()
    with torch.no_grad(), torch.autocast('cpu', dtype=torch.bfloat16):
        layer(draw().float(), GRID)
    assert_fresh(layer)
    assert len(folds) == 1


def test_copies_and_pickles_leave_the_products_out(folds):
    layer = make()
    with torch.no_grad():
        layer(draw(), GRID)
    for clone in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert clone._folded._entry is None
        write_in_place(clone)
        assert_fresh(clone)
    assert_fresh(layer)


def test_literal_form_folds_nothing(folds):
    with torch.no_grad():
        make(impl='literal')(draw(), GRID)
    assert not folds


def test_inner_layer_per_head_is_block_diagonal():
    layer, full = make(inner_per_head=True), make()
    state = layer.state_dict()
    blocks = state['inner.weight'].squeeze(2).chunk(3)
    state['inner.weight'] = torch.block_diag(*blocks)
    full.load_state_dict(state)
    x = draw()
    torch.testing.assert_close(layer(x, GRID), full(x, GRID))
    assert state['inner.weight'].count_nonzero() == 12 * 4


def test_heads_divide_the_channels():
    with pytest.raises(ValueError, match='multiple of num_heads, got 12 and 5'):
        KeyOnlyAttention(12, 5)
