# Copyright (c) mmvisionmix authors. All rights reserved.
from functools import partial
from pathlib import Path

import pytest
import torch
from mmcv.cnn.bricks import DropPath
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmvisionmix.models import DualFormer
from mmvisionmix.models.backbones.dualformer import DualMixer
from mmvisionmix.models.layers import PartitionAttention
from mmvisionmix.ops import (
    PartitionAttentionWeights,
    draw_hash_vectors,
    hash_partition,
    kmeans_partition,
    partition_attention,
)

ROOT = Path(__file__).resolve().parents[2]
ARCH = dict(
    embed_dims=(8, 16, 24, 16), depths=(1, 2, 1, 1), reductions=(4, 2, 1, 1),
    mlp_ratios=(3, 2, 2, 2))
TINY = dict(arch=ARCH, num_heads=2)
OPTIONS = (
    dict(mixing='serial'), dict(mixing='attention'), dict(paths=('intra', )),
    dict(paths=('inter', )), dict(paths=('inter', 'intra')),
    dict(mixing='serial', paths=('inter', )), dict(mixing='attention', paths=('intra', )),
    dict(partition='k-means'), dict(share_partition=True), dict(num_partitions=2),
    dict(num_partitions=8, partition='k-means', share_partition=True), dict(rescale=False),
    dict(drop_rate=0.1), dict(drop_path_rate=0.1), dict(norm_cfg=dict(type='BN', momentum=0.01)))


def make(**options):
    return DualFormer(**{**TINY, **options})


def randomise(model):
    """Random weights; shifts are small, or else all tokens would be in one partition."""
    for name, param in model.named_parameters():
        nn.init.normal_(param, std=0.02 if name.endswith('bias') else 0.4)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model


def hash_vectors(model):
    return [buffer for name, buffer in model.named_buffers() if name.endswith('hash_vectors')]


def all_equal(left, right):
    return len(left) == len(right) and all(map(torch.equal, left, right))


def any_equal(left, right):
    return any(map(torch.equal, left, right))


def assert_close(outs, expected, tolerance=1e-10):
    assert len(outs) == len(expected)
    for out, want in zip(outs, expected):
        assert (out - want).norm() <= tolerance * want.norm()


@pytest.mark.parametrize('arch, expected', (
    ('t', 5.695), ('xs', 10.863), ('s', 22.054), ('b', 75.560)))
def test_classifiers_have_the_parameters_fitted_to_the_paper(arch, expected):
    with torch.device('meta'):
        model = DualFormer(arch, out_indices=-1)
    head = 1000 * (model.norms['3'].weight.numel() + 1)
    count = sum(param.numel() for param in model.parameters()) + head
    assert count / 1e6 == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_every_option_trains_on_odd_images(options):
    torch.manual_seed(0)
    model = randomise(make(**options)).train()
    sum(out.square().mean() for out in model(torch.randn(2, 3, 117, 150))).backward()
    for name, param in model.named_parameters():
        assert param.grad is not None and param.grad.isfinite().all() and param.grad.any(), name


@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_literal_network_gives_the_same_outputs(options):
    torch.manual_seed(0)
    literal = randomise(make(impl='literal', **options)).double().eval()
    model = make(**options).double().eval()
    model.load_state_dict(literal.state_dict())
    assert [m.impl for m in literal.modules() if hasattr(m, 'impl')] == ['literal'] * 5
    x = torch.randn(2, 3, 117, 150, dtype=torch.float64)
    assert_close(model(x), literal(x))


@pytest.mark.parametrize('change', (
    dict(partition='k-means'), dict(rescale=False), dict(hash_seed=1)), ids=str)
def test_options_without_weights_of_their_own_change_the_outputs(change):
    torch.manual_seed(0)
    model, other = randomise(make()).eval(), make(**change).eval()
    vectors = other.state_dict()
    other.load_state_dict({key: vectors[key] if key.endswith('hash_vectors') else value
                           for key, value in model.state_dict().items()})
    x = torch.randn(1, 3, 160, 128)
    for out, want in zip(other(x), model(x)):
        assert (out - want).norm() > 0.02 * want.norm()


def test_hash_vectors_are_drawn_at_construction_from_a_seed_per_block():
    torch.manual_seed(0)
    model = make()
    vectors = hash_vectors(model)
    assert [tuple(one.shape) for one in vectors] == [
        (2, 2, 2), (2, 2, 4), (2, 2, 4), (2, 2, 6), (2, 2, 4)]
    assert {id(one) for one in vectors} <= {id(one) for one in model.state_dict(
        keep_vars=True).values()}
    torch.manual_seed(1)
    assert all_equal(hash_vectors(make()), vectors)
    for left in (1, 2, 4):  # those of the same shape
        assert not any_equal([vectors[left]] * 2, [vectors[i] for i in {1, 2, 4} - {left}])
    changed = hash_vectors(make(hash_seed=1))
    assert not any_equal(changed, vectors)
    assert torch.equal(changed[1], vectors[2])  # the seeds of successive blocks are successive


def test_hash_vectors_of_a_shared_partition_are_those_of_one_group():
    vectors = hash_vectors(make(share_partition=True, num_partitions=8))
    assert [tuple(one.shape) for one in vectors] == [
        (1, 3, 4), (1, 3, 8), (1, 3, 8), (1, 3, 12), (1, 3, 8)]


def test_hash_vectors_outlast_initialisation_and_are_restored_with_the_weights():
    torch.manual_seed(0)
    model, other = make(), make(hash_seed=9)
    before = [one.clone() for one in hash_vectors(model)]
    weight = model.stem.halve.conv.weight.detach().clone()
    model.init_weights()
    assert not torch.equal(model.stem.halve.conv.weight, weight)
    assert all_equal(hash_vectors(model), before)
    assert not any_equal(hash_vectors(other), before)
    other.load_state_dict(model.state_dict())
    assert all_equal(hash_vectors(other), before)
    assert not any(one.requires_grad for one in hash_vectors(model))


def test_model_gives_the_same_outputs_in_another_process(tmp_path, run_tool):
    torch.manual_seed(0)
    model, x = randomise(make(hash_seed=7)).eval(), torch.randn(1, 3, 40, 72)
    torch.save(dict(state=model.state_dict(), images=x, options=TINY), tmp_path / 'saved.pth')
    script = '\n'.join((
        'import sys, torch',
        'from mmvisionmix.models import DualFormer',
        'saved = torch.load(sys.argv[1])',
        'model = DualFormer(**saved["options"]).eval()',
        'model.load_state_dict(saved["state"])',
        'torch.save([out.detach() for out in model(saved["images"])], sys.argv[2])'))
    run_tool('-c', script, tmp_path / 'saved.pth', tmp_path / 'outs.pth', cwd=ROOT)
    assert_close(torch.load(tmp_path / 'outs.pth'), model(x), 1e-6)


@pytest.mark.parametrize('share_partition', (False, True))
@pytest.mark.parametrize('source, target', (('lsh', 'k-means'), ('k-means', 'lsh')))
def test_checkpoints_load_across_partitions(source, target, share_partition):
    torch.manual_seed(0)
    options = dict(share_partition=share_partition)
    model = randomise(make(partition=source, hash_seed=5, **options)).eval()
    other = make(partition=target, **options).eval()
    result = other.load_state_dict(model.state_dict(), strict=True)
    assert result.missing_keys == result.unexpected_keys == []
    again = make(partition=source, **options).eval()
    again.load_state_dict(other.state_dict())
    x = torch.randn(1, 3, 40, 72)
    for out, want in zip(again(x), model(x)):
        assert torch.equal(out, want)


def test_shared_partition_is_one_of_all_channels():
    torch.manual_seed(0)
    apart = randomise(PartitionAttention(16, 4, hash_seed=3))
    shared = PartitionAttention(16, 4, share_partition=True, hash_seed=3)
    assert apart.hash_vectors.shape == (4, 2, 4) and shared.hash_vectors.shape == (1, 2, 16)
    shared.load_state_dict(dict(apart.named_parameters()), strict=False)
    x = torch.randn(2, 16, 7, 6)
    out = shared(x)
    assert (out - apart(x)).norm() > 1e-2 * out.norm()
    # Heads that all hold the codes of the shared partition give the same.
    codes = hash_partition(x, shared.hash_vectors).expand(-1, 4, -1)
    torch.testing.assert_close(out, x + partition_attention(x, codes, weights_of(shared), 4, 4))


def weights_of(layer, paths=('intra', 'inter')):
    """The weights of Eq. 6 to 9 by the names of the layer's parameters."""
    state = dict(layer.named_parameters())
    dims = state['value.weight'].shape[0]
    proj = state['proj.weight'][:, :, 0, 0]
    assert proj.shape == (dims, dims * len(paths))
    return PartitionAttentionWeights(
        state['value.weight'][:, :, 0, 0], state['value.bias'],
        *((state['squeeze.weight'], state['squeeze.bias'], state['excite.weight'][0])
          if 'inter' in paths else (None, None, None)),
        proj[:, :dims] if 'intra' in paths else None,
        proj[:, -dims:] if 'inter' in paths else None, state['proj.bias'])


@pytest.mark.parametrize('options', (
    dict(), dict(paths=('intra', )), dict(paths=('inter', )), dict(paths=['inter', 'intra']),
    dict(partition='k-means'), dict(num_partitions=8, rescale=False)), ids=str)
@pytest.mark.parametrize('reduction', (1, 2, 4))
@pytest.mark.parametrize('size', ((13, 9), (5, 7), (8, 4)))
def test_attention_is_computed_on_shrunk_maps_that_grow_back(options, reduction, size):
    torch.manual_seed(0)
    layer = randomise(PartitionAttention(8, 2, reduction=reduction, hash_seed=3, **options))
    layer, x = layer.double().eval(), torch.randn(2, 8, *size, dtype=torch.float64)
    shrunk = x
    if reduction > 1:
        conv, norm = layer.shrink.conv, layer.shrink.norm
        shrunk = nn.functional.conv2d(
            x, conv.weight, stride=reduction, padding=reduction - 1, groups=8)
        assert conv.kernel_size == (2 * reduction - 1, ) * 2
        shrunk = nn.functional.batch_norm(
            shrunk, norm.running_mean, norm.running_var, norm.weight, norm.bias)
    assert shrunk.shape[2:] == tuple(-(-side // reduction) for side in size)
    num_partitions = options.get('num_partitions', 4)
    vectors = draw_hash_vectors(2, num_partitions.bit_length() - 1, 4, 3)
    codes = hash_partition(shrunk, vectors)
    if 'partition' in options:
        codes = kmeans_partition(shrunk, codes, num_partitions)
    expected = partition_attention(
        shrunk, codes, weights_of(layer, options.get('paths', ('intra', 'inter'))), 2,
        num_partitions, options.get('rescale', True), 'literal')
    if reduction > 1:
        grown, small = torch.zeros_like(x), layer.grow[0](expected)
        for row in range(size[0]):
            for column in range(size[1]):
                place = row % reduction * reduction + column % reduction
                grown[:, :, row, column] = small[
                    :, place::reduction**2, row // reduction, column // reduction]
        expected = grown
    torch.testing.assert_close(layer(x), x + expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('size', ((1, 1), (5, 7), (13, 9), (1, 30)))
@pytest.mark.parametrize('reduction', (2, 3, 4))
def test_maps_of_any_size_keep_it_and_are_finite(size, reduction):
    torch.manual_seed(0)
    layer = randomise(PartitionAttention(8, 2, reduction=reduction)).train()
    for image in (torch.randn(2, 8, *size), torch.ones(2, 8, *size)):
        x = image.requires_grad_()
        out = layer(x)
        assert out.shape == x.shape and out.isfinite().all()
        out.square().mean().backward()
        assert x.grad.isfinite().all() and x.grad.any()
        assert all(param.grad.isfinite().all() for param in layer.parameters())


def make_mixer(mixing):
    torch.manual_seed(0)
    mixer = DualMixer(8, partial(PartitionAttention, num_heads=2), mixing)
    return randomise(mixer).double().eval(), torch.randn(2, 8, 7, 6, dtype=torch.float64)


def test_parallel_paths_see_half_of_the_channels_each():
    mixer, x = make_mixer('parallel')
    expected = torch.cat((x[:, :4] + mixer.conv(x[:, :4]), mixer.attention(x[:, 4:])), 1)
    torch.testing.assert_close(mixer(x), mixer.proj(expected))
    assert mixer.conv.expand.conv.weight.shape == (16, 4, 1, 1)
    mixer.proj = nn.Identity()
    first, second = x.clone(), x.clone()
    first[:, :4] += 1
    second[:, 4:] *= -2
    assert torch.equal(mixer(second)[:, :4], mixer(x)[:, :4])
    assert torch.equal(mixer(first)[:, 4:], mixer(x)[:, 4:])
    mixer.attention = nn.Identity()
    assert torch.equal(mixer(second)[:, 4:], second[:, 4:])
    assert not torch.equal(mixer(first)[:, :4], first[:, :4])


def test_serial_mixing_attends_to_what_was_convolved_before():
    mixer, x = make_mixer('serial')
    torch.testing.assert_close(mixer(x), mixer.proj(mixer.attention(x + mixer.conv(x))))
    assert mixer.conv.expand.conv.weight.shape == (8, 8, 1, 1)  # no expansion
    assert mixer.attention.value.weight.shape == (8, 8, 1, 1)


def test_attention_alone_has_all_channels_and_no_convolution():
    mixer, x = make_mixer('attention')
    torch.testing.assert_close(mixer(x), mixer.proj(mixer.attention(x)))
    assert mixer.attention.value.weight.shape == (8, 8, 1, 1)
    assert {name.split('.')[0] for name, _ in mixer.named_parameters()} == {'attention', 'proj'}


@pytest.mark.parametrize('partition', ('lsh', 'k-means'))
def test_bfloat16_training_stays_finite_and_learns(partition):
    torch.manual_seed(0)
    backbone = make(partition=partition, out_indices=-1, gap_before_norm=True)
    backbone.init_weights()
    head = nn.Linear(16, 4)
    model = nn.ModuleList((backbone, head)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    x, labels, losses = torch.randn(8, 3, 64, 64), torch.arange(8) % 4, []
    for _ in range(20):
        with torch.autocast('cpu', dtype=torch.bfloat16):
            loss = nn.functional.cross_entropy(head(backbone(x)[0]), labels)
        optimizer.zero_grad()
        loss.backward()
        assert all(param.grad.isfinite().all() for param in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert all(value.isfinite().all() for value in model.state_dict().values())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize('mixing', ('parallel', 'serial', 'attention'))
def test_deployed_network_has_no_batch_norm_and_gives_the_same_outputs(mixing):
    torch.manual_seed(0)
    model = randomise(make(mixing=mixing)).double().eval()
    x = torch.randn(2, 3, 53, 70, dtype=torch.float64)
    expected = model(x)
    # Of the stem, between stages, in every MBConv, and where maps are shrunk.
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    assert len(norms) == 2 + 3 + (0 if mixing == 'attention' else 3 * 5) + 3
    model.switch_to_deploy()
    assert not any(isinstance(module, _BatchNorm) for module in model.modules())
    assert_close(model(x), expected)


def test_norms_and_dropout_are_as_configured():
    model = make(norm_cfg=dict(type='BN', eps=0.1), drop_rate=0.3, drop_path_rate=0.2)
    assert {m.eps for m in model.modules() if isinstance(m, _BatchNorm)} == {0.1}
    assert {m.p for m in model.modules() if isinstance(m, nn.Dropout)} == {0.3}
    rates = [m.drop_prob for m in model.modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])


@pytest.mark.parametrize('options, message', (
    (dict(num_partitions=3), 'num_partitions must be 2, 4, 8 or so on, got 3'),
    (dict(num_partitions=0), 'num_partitions must be .*, got 0'),
    (dict(num_partitions=1), 'num_partitions must be .*, got 1'),
    (dict(partition='kmeans'), "partition must be one of .'lsh', 'k-means'., got 'kmeans'"),
    (dict(paths=('intra', 'out')), "paths must be one or both of .'intra', 'inter'., got"),
    (dict(paths='intra'), "paths must be one or both of .'intra', 'inter'., got 'intra'"),
    (dict(paths=()), r"paths must be one or both of .'intra', 'inter'., got \(\)"),
    (dict(mixing='series'), "one of .'parallel', 'serial', 'attention'., got 'series'"),
    (dict(impl='fast'), "'auto', 'literal', 'packed'.*'fast'"),
    (dict(num_heads=3), 'embed_dims must be a multiple of num_heads, got 4 and 3'),
    (dict(arch={**ARCH, 'embed_dims': (9, 16, 24, 16)}), 'embed_dims must be'),
    (dict(arch={**ARCH, 'depths': (1, 2)}), 'one value per stage')), ids=str)
def test_bad_options_are_answered_with_the_good_ones(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)
