# Copyright (c) mmvisionmix authors. All rights reserved.
"""What every registered backbone promises, in every size."""
import pickle
import re

import pytest
import torch
from small_backbones import (
    BACKBONES,
    FULL,
    SIZES,
    SMALL,
    assert_same,
    backbones,
    build,
    gradients,
    randomise,
    run,
)
from torch import nn

from mmvisionmix.models.backbones.pyramid import PyramidBackbone

PYRAMIDS = [name for name, cls in BACKBONES.items() if issubclass(cls, PyramidBackbone)]


@pytest.mark.parametrize('name, arch', SIZES)
def test_every_size_trains_on_odd_images(name, arch):
    model = randomise(BACKBONES[name](arch=arch, **FULL[name]))
    for param_name, grad in gradients(model.train(), torch.randn(2, 3, 53, 70)).items():
        assert grad is not None and grad.isfinite().all() and grad.any(), param_name


@backbones
@pytest.mark.parametrize('size', ((1, 1), (1, 70)))
def test_images_of_any_size_are_taken_and_left_as_they_are(name, size):
    model, x = build(name).eval(), torch.randn(3, 3, *size)
    before, other = x.clone(), pickle.loads(pickle.dumps(model))
    outs = run(model, x)
    assert torch.equal(x, before) and all(out.isfinite().all() for out in outs)
    assert_same(run(other, x), outs)


@backbones
@pytest.mark.parametrize('size', ((53, 70), (192, 128)))
def test_gradients_do_not_share_memory(name, size):
    """Or else a second backward pass would add to several, and clipping would scale them twice."""
    grads = gradients(build(name).train(), torch.randn(2, 3, *size))
    assert len({grad.data_ptr() for grad in grads.values()}) == len(grads)


@backbones
@pytest.mark.parametrize('dropout', (0, 0.5))
def test_recomputing_changes_neither_values_nor_gradients(name, dropout):
    """Blocks that are recomputed drop what they dropped before."""
    x, found = torch.randn(2, 3, 24, 40), []
    for with_cp in (False, True):
        model = build(name, with_cp=with_cp, drop_rate=dropout, drop_path_rate=dropout).train()
        torch.manual_seed(1)
        outs = run(model, x)
        torch.manual_seed(1)
        found.append((outs, gradients(model, x), dict(model.named_buffers())))
    assert_same(found[1][0], found[0][0])
    torch.testing.assert_close(found[1][1:], found[0][1:])


@backbones
def test_frozen_stages_stay_as_they_are(name):
    for frozen in range(-1, 3):
        model = build(name, frozen_stages=frozen, drop_path_rate=0.5, drop_rate=0.5)
        for mode in (None, True):  # at construction, and after train()
            if mode:
                assert model.train() is model
            grads = gradients(model, torch.randn(2, 3, 24, 40))
            for param_name, grad in grads.items():
                stage = re.match(r'(?:stages|norms)\.(\d+)', param_name)
                place = int(stage.group(1)) + 1 if stage else 0
                assert (grad is None) == (place <= frozen), param_name
        for index, stage in enumerate(model.stages):
            assert stage.training == (index >= frozen)
        for part in (getattr(model, stem) for stem in model.stem_names):
            assert not isinstance(part, nn.Module) or part.training == (frozen < 0)
        assert model.eval() is model and not model.training


@backbones
def test_is_built_on_the_meta_device(name):
    with torch.device('meta'):
        model = BACKBONES[name](**SMALL[name])
    assert all(out.is_meta for out in model(torch.empty(1, 3, 24, 40, device='meta')))
    other, x = build(name).eval(), torch.randn(1, 3, 24, 40)
    weights = other.state_dict()
    model.to_empty(device='cpu').eval().load_state_dict(weights)  # nothing else holds values
    assert all(map(torch.equal, run(model, x), run(other, x)))


@backbones
def test_out_indices_choose_the_outputs(name):
    x = torch.randn(1, 3, 24, 40)
    depth = build(name).num_stages
    every = run(build(name, out_indices=tuple(range(depth))).eval(), x)
    assert len(every) == depth
    for indices in (0, -1, (1, -1), [-2]):
        model = build(name, out_indices=indices)
        wanted = [indices] if isinstance(indices, int) else indices
        assert model.out_indices == tuple(i % depth for i in wanted)
        assert len(model.stages) == model.out_indices[-1] + 1
        assert list(model.norms) == [str(i) for i in model.out_indices]


@backbones
def test_unknown_archs_are_answered_with_the_known_ones(name):
    known = list(BACKBONES[name].arch_settings)
    BACKBONES[name].get_arch(known[0].upper()).clear()  # a copy
    assert BACKBONES[name].arch_settings[known[0]]
    with pytest.raises(ValueError) as error:
        build(name, arch=known[0] + 'x')
    assert str(known) in str(error.value) and f'did you mean {known[0]!r}' in str(error.value)


@backbones
def test_layer_depth_covers_all_parameters_in_order(name):
    check_depths(build(name))
    check_depths(build(name, out_indices=1))  # the stages after it are not there


def check_depths(model):
    blocks = sum(model.depths)
    depths = [model.get_layer_depth('backbone.' + key, 'backbone.')
              for key, _ in model.named_parameters()]
    assert {total for _, total in depths} == {blocks + 2}
    assert {depth for depth, _ in depths} == set(range(blocks + 2))
    inner = [depth for depth, _ in depths if depth <= blocks]
    assert inner == sorted(inner)
    assert model.get_layer_depth('head.fc.weight', 'backbone.')[0] == blocks + 1


@backbones
@pytest.mark.parametrize('deployed', (False, True))
@pytest.mark.filterwarnings('ignore::torch.jit.TracerWarning', 'ignore::DeprecationWarning')
def test_compiles_without_graph_breaks_and_traces(name, deployed):
    x = torch.randn(1, 3, 24, 40)
    model = build(name, out_indices=1).eval()
    if deployed:
        model.switch_to_deploy()
    expected = run(model, x)
    assert_same(run(torch.jit.trace(model, x), x), expected)
    torch.compiler.reset()  # or earlier tests count as recompilations
    compiled = torch.compile(model, fullgraph=True, backend='aot_eager')
    assert_same(run(compiled, x), expected)


@backbones
def test_bfloat16_autocast_is_near_and_trains(name):
    x = torch.randn(2, 3, 24, 40)
    model = build(name).eval()
    expected = run(model, x)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert_same(run(model, x), expected, tolerance=0.02)
        grads = gradients(model.train(), x)
    assert all(grad.isfinite().all() for grad in grads.values())


@backbones
@pytest.mark.parametrize('dtype, tolerance', (
    (torch.float64, 1e-5), (torch.bfloat16, 0.1), (torch.half, 0.05)))
def test_whole_networks_take_other_precisions_or_torch_names_what_it_lacks(name, dtype, tolerance):
    x = torch.randn(2, 3, 24, 40)
    model = build(name).eval()
    expected = run(model, x)
    try:
        outs = run(model.to(dtype), x.to(dtype))
    except RuntimeError as error:  # on CPUs torch 2.1 has no convolutions in half precision
        assert "not implemented for 'Half'" in str(error) and torch.__version__ < '2.2'
        return
    assert all(out.dtype == dtype for out in outs)
    assert_same([out.float() for out in outs], expected, tolerance)


@pytest.mark.parametrize('name', PYRAMIDS)
@pytest.mark.parametrize('training', (False, True))
@pytest.mark.parametrize('memory_format', (torch.contiguous_format, torch.channels_last), ids=str)
def test_pyramids_run_channels_last_and_emit_contiguous_maps(name, training, memory_format):
    assert {'DualFormer', 'MCGANet'} <= set(PYRAMIDS)
    model, maps = build(name).train(training), []
    for stage in model.stages[:2]:
        for block in stage.blocks:
            block.register_forward_hook(lambda module, args, out: maps.extend((args[0], out)))
    x = torch.randn(2, 3, 128, 96).contiguous(memory_format=memory_format)
    assert all(out.is_contiguous() for out in model(x))
    assert len(maps) == 2 * sum(model.depths[:2])
    assert all(one.is_contiguous(memory_format=torch.channels_last) for one in maps)
