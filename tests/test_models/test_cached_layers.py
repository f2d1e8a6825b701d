# Copyright (c) mmvisionmix authors. All rights reserved.
"""What mixers keep from their weights in inference is never stale."""
import copy
import pickle
from functools import partial

import pytest
import torch

from mmvisionmix.models import layers
from mmvisionmix.models.layers import GroupAttention, KeyOnlyAttention


class Case:
    """A layer, what it folds its weights with, and its input."""

    def __init__(self, layer, fold, shape, grid=()):
        self.layer, self.fold, self.shape, self.grid = layer, fold, shape, grid

    def make(self, **kwargs):
        torch.manual_seed(0)
        layer = self.layer(12, 3, **kwargs).double().eval()
        for param in layer.parameters():
            torch.nn.init.normal_(param, std=0.5)
        return layer

    def draw(self):
        return torch.randn(*self.shape, dtype=torch.float64)

    def run(self, layer, x=None):
        x = self.draw().to(layer.key.weight.dtype) if x is None else x
        return layer(x, *self.grid)


KEY_ONLY = dict(fold='fold_key_only_weights', shape=(2, 20, 12), grid=((4, 5), ))
GROUP = dict(fold='fold_group_weights', shape=(2, 12, 4, 5))
CASES = {
    'key-only': Case(KeyOnlyAttention, **KEY_ONLY),
    'key-only per head': Case(partial(KeyOnlyAttention, inner_per_head=True), **KEY_ONLY),
    'group': Case(GroupAttention, **GROUP),
    'group without biases': Case(partial(GroupAttention, qkv_bias=False), **GROUP),
    'group shared': Case(
        partial(GroupAttention, share_groups=True, fusion='single', kernel_sizes=(1, 3, 5)),
        **GROUP),
}


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


@pytest.fixture
def folds(monkeypatch, case):
    """The calls that multiply weights out."""
    calls = []
    for module in (layers.key_only_attention, layers.group_attention):
        if hasattr(module, case.fold):
            fold = getattr(module, case.fold)
            monkeypatch.setattr(
                module, case.fold, lambda *args, fold=fold: calls.append(args) or fold(*args))
    return calls


def assert_fresh(case, layer):
    """The layer computes what one with the same weights, and nothing kept, does literally."""
    x = case.draw().to(layer.key.weight.dtype)
    literal = case.make(impl='literal').to(layer.key.weight.dtype)
    literal.load_state_dict(layer.state_dict())
    with torch.no_grad():
        out, expected = case.run(layer, x), case.run(literal, x)
    assert (out - expected).norm() <= 1e-5 * expected.norm()


def test_products_are_computed_once_in_inference(case, folds):
    layer = case.make()
    with torch.no_grad():
        for _ in range(3):
            case.run(layer)
    with torch.inference_mode():
        case.run(layer)
    assert len(folds) == 1
    assert_fresh(case, layer)


def load(case, layer):
    layer.load_state_dict({key: 2 * value for key, value in layer.state_dict().items()})


def load_by_assignment(case, layer):
    layer.load_state_dict(
        {key: 2 * value for key, value in layer.state_dict().items()}, assign=True)


def train_a_step(case, layer):
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.01)
    case.run(layer.train()).square().sum().backward()
    optimizer.step()
    layer.eval()


def train_a_step_in_evaluation_mode(case, layer):
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.01)
    case.run(layer).square().sum().backward()
    optimizer.step()


def write_in_place(case, layer):
    with torch.no_grad():
        layer.key.weight.mul_(2)


def replace_a_parameter(case, layer):
    layer.key.weight = torch.nn.Parameter(2 * layer.key.weight.detach())


def replace_the_data(case, layer):
    layer.key.weight.data = 2 * layer.key.weight.data


def write_to_the_data_while_training(case, layer):
    layer.train()
    layer.key.weight.data.mul_(2)
    layer.eval()


def lower_the_precision(case, layer):
    layer.float()


def lower_and_raise_the_precision(case, layer):
    layer.float().double()


@pytest.mark.parametrize('change', (
    load, load_by_assignment, train_a_step, train_a_step_in_evaluation_mode, write_in_place,
    replace_a_parameter, replace_the_data, write_to_the_data_while_training, lower_the_precision,
    lower_and_raise_the_precision))
def test_products_are_computed_anew_after_any_change(case, folds, change):
    layer = case.make()
    with torch.no_grad():
        case.run(layer)
    before = len(folds)
    change(case, layer)
    changed = len(folds)
    assert_fresh(case, layer)
    assert before == 1 and len(folds) == changed + 1


def test_gradients_are_those_of_the_weights_in_evaluation_mode_too(case):
    x, layer, literal = case.draw(), case.make(), case.make(impl='literal')
    for one in (layer, literal):
        with torch.no_grad():
            case.run(one, x)
        case.run(one, x).square().sum().backward()
    for ours, theirs in zip(layer.parameters(), literal.parameters()):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-9, atol=1e-9)


def test_frozen_layers_pass_gradients_on_and_keep_their_products(case, folds):
    layer = case.make().requires_grad_(False)
    with torch.inference_mode():  # what is kept must serve autograd later
        case.run(layer)
    x = case.draw().requires_grad_()
    case.run(layer, x).square().sum().backward()
    assert len(folds) == 1 and x.grad.any()


def test_autocast_does_not_lower_the_products_precision(case, folds):
    layer = case.make().float()
    with torch.no_grad(), torch.autocast('cpu', dtype=torch.bfloat16):
        case.run(layer)
    assert_fresh(case, layer)
    assert len(folds) == 1


def test_copies_leave_the_products_out(case):
    layer = case.make()
    with torch.no_grad():
        case.run(layer)
    for clone in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert clone._folded._entry is None
        write_in_place(case, clone)
        assert_fresh(case, clone)
    assert_fresh(case, layer)


def test_literal_form_folds_nothing(case, folds):
    with torch.no_grad():
        case.run(case.make(impl='literal'))
    assert not folds


@pytest.mark.parametrize('layer', (KeyOnlyAttention, GroupAttention))
def test_heads_divide_the_channels(layer):
    with pytest.raises(ValueError, match='multiple of num_heads, got 12 and 5'):
        layer(12, 5)


def test_inner_layer_per_head_is_block_diagonal():
    per_head, full = CASES['key-only per head'], CASES['key-only']
    layer, other = per_head.make(), full.make()
    state = layer.state_dict()
    blocks = state['inner.weight'].squeeze(2).chunk(3)
    state['inner.weight'] = torch.block_diag(*blocks)
    other.load_state_dict(state)
    x = full.draw()
    torch.testing.assert_close(full.run(layer, x), full.run(other, x))
    assert state['inner.weight'].count_nonzero() == 12 * 4
