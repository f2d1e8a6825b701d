# Copyright (c) mmvisionmix authors. All rights reserved.
import pytest
import torch
from torch import nn
from torch.profiler import profile

from mmvisionmix.models import LinGlo
from mmvisionmix.models.layers import ConditionalPositionalEncoding
from mmvisionmix.models.layers.position_embedding import resize_pos_embed

TINY = dict(
    embed_dims=(8, 12, 16, 24), depths=(1, 2, 1, 1), num_heads=(1, 2, 4, 3),
    mlp_ratios=(3, 2, 2, 2))
WITHOUT_C = dict(encoding=None, patch_sizes=(4, 2, 2, 2), absolute_pos=True, img_size=64)
WITHOUT_CH = dict(encoding=None, patch_sizes=(16, 1, 1, 1), absolute_pos=True)
OPTIONS = (
    dict(layout='cchh'), dict(layout='chhh'), dict(attention='dot-product'),
    dict(inner_per_head=True), dict(encoding='cpe'), dict(encoding='r-cpe'),
    dict(encoding='p-cpe'), dict(encoding=None), WITHOUT_C, dict(drop_rate=0.1),
    dict(drop_path_rate=0.1), dict(norm_cfg=dict(type='BN', momentum=0.01)))


def randomise(model):
    for param in model.parameters():
        nn.init.normal_(param, std=0.1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model


def millions(model, classes=1000):
    head = classes * (model.norms['3'].weight.numel() + 1)
    return (sum(param.numel() for param in model.parameters()) + head) / 1e6


@pytest.mark.parametrize('arch, options, trained, deployed', (
    ('b0', {}, 3.807, 3.602), ('b1', {}, 14.134, 13.725), ('b2', {}, 25.970, 25.143),
    ('b0', dict(layout='cchh'), 3.689, 3.550), ('b0', dict(layout='chhh'), 3.783, 3.595),
    ('b0', {**WITHOUT_C, 'img_size': 224}, 3.467, 3.467), ('w/o-ch', WITHOUT_CH, 3.920, 3.920)))
def test_classifiers_have_the_parameters_fitted_to_the_paper(arch, options, trained, deployed):
    model = LinGlo(arch, out_indices=-1, **options)
    assert millions(model) == pytest.approx(trained, abs=5e-4)
    model.switch_to_deploy()
    assert millions(model) == pytest.approx(deployed, abs=5e-4)


@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_every_option_trains_on_odd_images(options):
    torch.manual_seed(0)
    model = randomise(LinGlo(TINY, **options)).train()
    sum(out.square().mean() for out in model(torch.randn(2, 3, 53, 70))).backward()
    for name, param in model.named_parameters():
        assert param.grad is not None and param.grad.isfinite().all() and param.grad.any(), name


@pytest.mark.parametrize('arch', ('b0', 'b1', 'b2'))
@pytest.mark.parametrize('encoding', ('cpe', 'r-cpe', 'p-cpe', 'rp-cpe'))
def test_deployed_network_gives_the_same_outputs(arch, encoding):
    torch.manual_seed(0)
    model = randomise(LinGlo(arch, encoding=encoding)).eval()
    literal = LinGlo(arch, encoding=encoding, impl='literal').eval()
    literal.load_state_dict(model.state_dict())
    x = torch.randn(2, 3, 75, 64)
    with torch.no_grad():
        expected = literal(x)
        model.switch_to_deploy()
        for out, want in zip(model(x), expected):
            assert (out - want).norm() <= 1e-5 * want.norm()
    convolutions = [m for m in model.modules() if isinstance(m, ConditionalPositionalEncoding)]
    assert all(len(list(conv.parameters())) == 2 for conv in convolutions)


@pytest.mark.parametrize('options', ({}, dict(layout='chhh'), WITHOUT_C), ids=str)
def test_maps_keep_their_layout_through_the_network(options):
    """Only the maps that are emitted, and the stem's before, are copied into another layout."""
    model = randomise(LinGlo(TINY, **options)).eval()
    model.switch_to_deploy()
    batch = 5  # no kernel has so many channels, so the first dimension tells maps
    with torch.no_grad(), profile(record_shapes=True) as profiler:
        model(torch.randn(batch, 3, 64, 64))
    copied = [event.input_shapes[0] for event in profiler.events() if event.name == 'aten::clone']
    maps = [shape for shape in copied if len(shape) == 4 and shape[0] == batch]
    assert len(maps) == len(model.out_indices) + 1


def test_gap_before_norm_emits_normalised_averages():
    torch.manual_seed(0)
    model = randomise(LinGlo(TINY, out_indices=(1, 3))).eval()
    vectors = LinGlo(TINY, out_indices=(1, 3), gap_before_norm=True).eval()
    vectors.load_state_dict(model.state_dict())
    x = torch.randn(2, 3, 40, 72)
    features = []
    for stage in (1, 3):
        model.norms[str(stage)].register_forward_pre_hook(
            lambda module, args: features.append(args[0]))
    model(x)
    for out, feature, stage in zip(vectors(x), features, (1, 3)):
        expected = model.norms[str(stage)](feature.flatten(1, 2).mean(1))
        torch.testing.assert_close(out, expected)


def test_impl_reaches_every_attention_and_encoding():
    model = LinGlo(TINY, impl='literal')
    literal = randomise(model).double().eval()
    auto = LinGlo(TINY).double().eval()
    auto.load_state_dict(literal.state_dict())
    assert [m.impl for m in literal.modules() if hasattr(m, 'impl')] == ['literal'] * 10
    x = torch.randn(2, 3, 53, 70, dtype=torch.float64)
    for out, want in zip(auto(x), literal(x)):
        torch.testing.assert_close(out, want, rtol=1e-10, atol=1e-10)


def test_position_embeddings_are_resized_for_other_images_and_checkpoints():
    torch.manual_seed(0)
    model = randomise(LinGlo(TINY, **WITHOUT_C)).eval()
    assert model.stem.position.weight.shape == (1, 8, 16, 16)
    assert model.stages[3].downsample.position.weight.shape == (1, 24, 2, 2)
    other = LinGlo(TINY, **{**WITHOUT_C, 'img_size': (96, 64)}).eval()
    other.load_state_dict(model.state_dict())
    weight = model.stem.position.weight.detach()
    torch.testing.assert_close(other.stem.position.weight, resize_pos_embed(weight, (24, 16)))
    x = torch.randn(1, 3, 96, 64)
    torch.testing.assert_close(other(x)[0], model(x)[0])


def test_patches_are_padded_at_the_bottom_and_right():
    model = randomise(LinGlo(TINY, encoding=None, patch_sizes=(4, 2, 2, 2))).eval()
    x = torch.randn(1, 3, 61, 30)
    padded = torch.zeros(1, 3, 64, 32)
    padded[..., :61, :30] = x
    torch.testing.assert_close(model.stem(x.permute(0, 2, 3, 1)),
                               model.stem(padded.permute(0, 2, 3, 1)))


@pytest.mark.parametrize('options, message', (
    (dict(layout='hhh'), "layout must have 4 letters, 'c' or 'h', got 'hhh'"),
    (dict(layout='hhhx'), "layout must have 4 letters, 'c' or 'h', got 'hhhx'"),
    (dict(attention='softmax'), "must be 'key-only' or 'dot-product', got 'softmax'"),
    (dict(encoding='rpcpe'), "None or one of .'cpe', 'r-cpe', 'p-cpe', 'rp-cpe'., got 'rpcpe'"),
    (dict(patch_sizes=(4, 2)), 'patch_sizes must have 4 values'),
    (dict(patch_sizes=(4, 1, 2, 2)), 'a patch size of 1 keeps the channels'),
    (dict(impl='fast'), "'auto', 'literal', 'merged', 'collapsed'"),
    (dict(arch={**TINY, 'num_heads': (3, 2, 4, 3)}), 'multiple of num_heads, got 8 and 3'),
    (dict(arch={**TINY, 'depths': (1, 2)}), 'one value per stage')))
def test_bad_options_are_answered_with_the_good_ones(options, message):
    with pytest.raises(ValueError, match=message):
        LinGlo(**{'arch': TINY, **options})
