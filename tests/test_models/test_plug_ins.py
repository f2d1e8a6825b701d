# Copyright (c) mmvisionmix authors. All rights reserved.
"""What users put into the layers of backbones, or do to them, acts as in any network."""
import copy
import warnings

import pytest
import torch
import torch.fx
from mmcv.cnn.bricks.transformer import AdaptivePadding
from mmengine.model import ExponentialMovingAverage
from mmpretrain.models import LoRAModel
from small_backbones import (
    BACKBONES,
    SMALL,
    assert_differ,
    assert_same,
    build,
    gradients,
    randomise,
    run,
)
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.optim.swa_utils import AveragedModel

LINEARS = (nn.Linear, nn.Conv1d, nn.Conv2d)
# Where a form that reads weights could be taken without asking; and layers of other kinds.
FORMS = [*((name, {}) for name in BACKBONES),
         ('LinGlo', dict(layout='cchh', attention='dot-product')),
         ('MCGANet', dict(share_groups=True, fusion='single')),
         ('LKCAViT', dict(attention_layers=(1, ), num_heads=4))]
forms = pytest.mark.parametrize('name, options', FORMS, ids=str)


def images(height=24, width=40):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def pair(name, options):
    """A network, and one with its weights that calls all its layers."""
    model, literal = build(name, **options), build(name, **{**options, 'impl': 'literal'})
    return model.eval(), literal.eval()


def linears(model):
    return {key: part for key, part in model.named_modules() if isinstance(part, LINEARS)}


def by_hand(model, other):
    average = copy.deepcopy(model)
    yield average
    for mine, given in zip(average.parameters(), other.parameters()):
        mine.data.mul_(0.5).add_(given.data, alpha=0.5)


def by_torch(model, other):
    average = AveragedModel(model)
    average.update_parameters(model)
    yield average
    average.update_parameters(other)


def by_mmengine(model, other):
    average = ExponentialMovingAverage(model, momentum=0.5, update_buffers=True)
    average.update_parameters(model)
    yield average
    average.update_parameters(other)


@forms
@pytest.mark.parametrize('averaging', (by_hand, by_torch, by_mmengine))
@torch.no_grad()
def test_averaged_models_give_the_outputs_of_their_own_weights(name, options, averaging):
    model, other, x = build(name, **options), randomise(build(name, **options)), images()
    steps = averaging(model, other)
    average = next(steps).eval()
    before = run(average, x)
    list(steps)
    fresh = BACKBONES[name](**{**SMALL[name], **options}).eval()
    inner = getattr(average, 'module', average)
    fresh.load_state_dict(inner.state_dict())
    outs = run(average, x)
    assert all(map(torch.equal, outs, run(fresh, x)))
    assert_differ(outs, before, 0.01)


@forms
def test_lora_acts_as_the_sum_of_weights_and_alone_is_trained(name, options):
    settings = {**SMALL[name], **options}
    lora = LoRAModel(dict(type=f'mmvisionmix.{name}', **settings), alpha=2, rank=2,
                     targets=[dict(type='.*')])
    adapted = [part for part in lora.module.modules() if hasattr(part, 'lora_up')]
    plain, x = BACKBONES[name](**settings).eval(), images(96, 128)
    assert len(adapted) == sum(type(part) is nn.Linear for part in plain.modules())
    randomise(lora)
    grads = gradients(lora.eval(), x)
    for key, grad in grads.items():
        assert (grad is not None) == ('.lora_' in key), key
    learning = sum(grad is not None and grad.any().item() for grad in grads.values())
    assert learning > len(adapted) / 2  # random gates may be shut
    weights = {}
    for key, part in lora.module.named_modules():
        if part in adapted:
            change = part.lora_up.weight @ part.lora_down.weight * part.scaling
            weights[f'{key}.weight'] = part.original_layer.weight + change
    given = {key.replace('.original_layer', ''): value
             for key, value in lora.module.state_dict().items() if '.lora_' not in key}
    plain.load_state_dict({**given, **weights})
    assert_same(run(lora, x), run(plain, x), 1e-4)


@forms
def test_hooks_on_all_layers_fire_and_see_what_is_computed(name, options):
    model, literal = pair(name, options)
    expected, seen = run(model, images()), []
    for one in (model, literal):
        fired = {}
        for key, part in linears(one).items():
            part.register_forward_hook(
                lambda module, args, out, key=key, fired=fired: fired.update({key: out.detach()}))
        assert_same(run(one, images()), expected)
        assert set(fired) == set(linears(one))
        seen.append(fired)
    for key, out in seen[0].items():
        assert_same([out.flatten()], [seen[1][key].flatten()], 1e-4)


@forms
def test_a_single_layer_with_a_hook_is_called(name, options):
    """The hook doubles its output: read past, the weights would give the outputs of before."""
    model, literal = pair(name, options)
    for key in linears(model.stages[1]):
        handles = [one.stages[1].get_submodule(key).register_forward_hook(
            lambda module, args, out: 2 * out) for one in (model, literal)]
        assert_same(run(model, images()), run(literal, images()))
        for handle in handles:
            handle.remove()


def prune_half(model):
    torch.manual_seed(0)
    for part in linears(model).values():
        prune.random_unstructured(part, 'weight', amount=0.5)
    return model


def normalise_weights(model):
    torch.manual_seed(0)
    for part in linears(model).values():
        parametrizations.weight_norm(part)
        norms = part.parametrizations.weight.original0.data
        norms.mul_(0.5 + torch.rand_like(norms))
    return model


def quantise(model):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of what replaces it in later versions
        return torch.ao.quantization.quantize_dynamic(model, {nn.Linear})


@forms
@pytest.mark.parametrize('change, tolerance', (
    (prune_half, 1e-5), (normalise_weights, 1e-5), (quantise, 0.05)))
def test_changed_layers_are_computed_as_they_are(name, options, change, tolerance):
    model, literal = pair(name, options)
    before = run(model, images())
    model, literal = change(model), change(literal)
    outs, expected = run(model, images()), run(literal, images())
    assert all(out.isfinite().all() for out in outs)
    assert_same(outs, expected, tolerance)
    if change is not quantise:
        assert_differ(outs, before, 0.01)


class Tracer(torch.fx.Tracer):
    """Paddings take decisions on shapes."""

    def is_leaf_module(self, module, name):
        return isinstance(module, AdaptivePadding) or super().is_leaf_module(module, name)


@forms
@pytest.mark.parametrize('form', ('plain', 'deployed', 'training'))
def test_torch_fx_records_the_network(name, options, form):
    model = build(name, **options).train(form == 'training')
    if form == 'deployed':
        model.switch_to_deploy()
    graph = torch.fx.GraphModule(model, Tracer().trace(model))
    other = copy.deepcopy(graph)
    for x in (images(), torch.randn(3, 3, 40, 52)):
        assert_same(run(copy.deepcopy(graph), x), run(model, x))
    if form == 'training':
        for key, grad in gradients(other, images()).items():
            assert grad is not None and grad.isfinite().all(), key
