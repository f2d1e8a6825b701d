# Copyright (c) mmvisionmix authors. All rights reserved.
"""What every registered backbone promises, in every size."""
import copy
import io
import re

import numpy as np
import onnxruntime
import pytest
import torch
from mmengine.model import revert_sync_batchnorm
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


@pytest.mark.parametrize('name, arch', SIZES)
def test_every_size_trains_on_odd_images(name, arch):
    model = BACKBONES[name](arch=arch, **FULL[name])
    randomise(model)
    for param_name, grad in gradients(model.train(), torch.randn(2, 3, 53, 70)).items():
        assert grad is not None and grad.isfinite().all(), param_name
        assert grad.any(), param_name


@backbones
def test_gradients_do_not_share_memory(name):
    """Or else a second backward pass would add to several, and clipping would scale them twice."""
    grads = gradients(build(name).train(), torch.randn(2, 3, 53, 70))
    assert len({grad.data_ptr() for grad in grads.values()}) == len(grads)


@backbones
@pytest.mark.parametrize('size', ((24, 40), (1, 1), (7, 90), (64, 33)))
def test_outputs_are_contiguous_maps_of_finite_values(name, size):
    model = build(name).eval()
    outs = run(model, torch.randn(1, 3, *size))
    assert len(outs) == len(model.out_indices)
    for out in outs:
        assert out.ndim == 4 and out.is_contiguous() and out.isfinite().all()


@backbones
def test_images_of_a_batch_do_not_meet(name):
    model = build(name).eval()
    x = torch.randn(3, 3, 24, 40)
    alone = run(model, x[1:2])
    x[0] = float('nan')
    assert_same([out[1:2] for out in run(model, x)], alone)


@backbones
def test_recomputing_changes_neither_values_nor_gradients(name):
    x = torch.randn(2, 3, 24, 40)
    plain, recomputed = build(name, with_cp=False).train(), build(name, with_cp=True).train()
    assert_same(run(recomputed, x), run(plain, x))
    expected = gradients(plain, x)
    for param_name, grad in gradients(recomputed, x).items():
        torch.testing.assert_close(grad, expected[param_name])


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
    with pytest.raises(ValueError, match='frozen_stages must be between -1 and'):
        build(name, frozen_stages=99)


@backbones
def test_eval_and_train_return_the_model(name):
    model = build(name)
    assert model.eval() is model and not model.training
    assert model.train() is model and model.training


@backbones
def test_deployed_model_gives_the_same_outputs(name):
    x = torch.randn(2, 3, 24, 40)
    model = build(name).eval()
    expected = run(model, x)
    model.switch_to_deploy()
    assert_same(run(model, x), expected)
    once = {key: value.clone() for key, value in model.state_dict().items()}
    model.switch_to_deploy()
    assert all(torch.equal(once[key], value) for key, value in model.state_dict().items())


@backbones
def test_checkpoints_load_across_deployment(name):
    x = torch.randn(2, 3, 24, 40)
    model, deployed = build(name).eval(), build(name).eval()
    deployed.switch_to_deploy()
    expected = run(model, x)
    for source, target in ((deployed, 'plain'), (model, 'deployed')):
        other = BACKBONES[name](**SMALL[name]).eval()
        if target == 'deployed':
            other.switch_to_deploy()
        other.load_state_dict(source.state_dict())
        assert_same(run(other, x), expected)


@backbones
def test_is_built_on_the_meta_device(name):
    with torch.device('meta'):
        model = BACKBONES[name](**SMALL[name])
    assert all(out.is_meta for out in model(torch.empty(1, 3, 24, 40, device='meta')))


@backbones
def test_state_dict_and_copies_keep_the_outputs(name):
    x = torch.randn(1, 3, 24, 40)
    model = build(name).eval()
    expected = run(model, x)
    other = BACKBONES[name](**SMALL[name]).eval()
    assert other.load_state_dict(model.state_dict()).missing_keys == []
    assert_same(run(other, x), expected)
    assert_same(run(copy.deepcopy(model), x), expected)


@backbones
def test_out_indices_choose_the_outputs(name):
    depth = build(name).num_stages
    outs = run(build(name, out_indices=tuple(range(depth))).eval(), torch.zeros(1, 3, 24, 40))
    assert len(outs) == depth
    for indices in (0, -1, (1, -1), [-2]):
        model = build(name, out_indices=indices)
        wanted = [indices] if isinstance(indices, int) else indices
        assert model.out_indices == tuple(i % depth for i in wanted)
        assert len(model.stages) == model.out_indices[-1] + 1
        assert list(model.norms) == [str(i) for i in model.out_indices]
    for indices in ((), (0, depth), (-depth - 1, ), (1, 1), (-1, depth - 1)):
        with pytest.raises(ValueError, match='out_indices must be distinct and between'):
            build(name, out_indices=indices)


@backbones
def test_unknown_archs_are_answered_with_the_known_ones(name):
    known = list(BACKBONES[name].arch_settings)
    with pytest.raises(ValueError) as error:
        build(name, arch=known[0] + 'x')
    assert str(known) in str(error.value) and f'did you mean {known[0]!r}' in str(error.value)
    with pytest.raises(ValueError, match='an arch dict of .* has the keys'):
        build(name, arch=dict(width=3))


@backbones
def test_arch_settings_are_not_shared(name):
    cls = BACKBONES[name]
    arch = next(iter(cls.arch_settings))
    cls.get_arch(arch.upper()).clear()
    assert cls.arch_settings[arch]


@backbones
def test_layer_depth_covers_all_parameters_in_order(name):
    model = build(name)
    blocks = sum(model.depths)
    depths = [model.get_layer_depth('backbone.' + key, 'backbone.')
              for key, _ in model.named_parameters()]
    assert {total for _, total in depths} == {blocks + 2}
    assert {depth for depth, _ in depths} == set(range(blocks + 2))
    inner = [depth for depth, _ in depths if depth <= blocks]
    assert inner == sorted(inner)
    assert model.get_layer_depth('head.fc.weight', 'backbone.')[0] == blocks + 1


@backbones
def test_compiles_without_graph_breaks(name):
    x = torch.randn(1, 3, 24, 40)
    model = build(name).eval()
    torch.compiler.reset()  # or earlier tests count as recompilations
    compiled = torch.compile(model, fullgraph=True, backend='aot_eager')
    assert_same(run(compiled, x), run(model, x))


@backbones
@pytest.mark.filterwarnings('ignore::torch.jit.TracerWarning')
def test_traces_and_exports_to_onnx(name):
    x = torch.randn(1, 3, 24, 40)
    model = build(name).eval()
    expected = run(model, x)
    assert_same(run(torch.jit.trace(model, x), x), expected)
    file = io.BytesIO()
    torch.onnx.export(model, x, file)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=['CPUExecutionProvider'])
    outs = session.run(None, {session.get_inputs()[0].name: np.asarray(x)})
    assert_same([torch.from_numpy(out) for out in outs], expected, tolerance=1e-4)


@backbones
def test_channels_last_input_and_bfloat16_autocast(name):
    x = torch.randn(2, 3, 24, 40)
    model = build(name).eval()
    expected = run(model, x)
    assert_same(run(model, x.contiguous(memory_format=torch.channels_last)), expected)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert_same(run(model, x), expected, tolerance=0.02)
        grads = gradients(model.train(), x)
    assert all(grad.isfinite().all() for grad in grads.values())


@backbones
def test_is_found_from_other_codebases_by_its_scoped_name(name):
    from mmseg.registry import MODELS as MMSEG_MODELS
    model = MMSEG_MODELS.build(dict(type=f'mmvisionmix.{name}', **SMALL[name]))
    assert type(revert_sync_batchnorm(model)) is BACKBONES[name]
