# Copyright (c) mmvisionmix authors. All rights reserved.
"""Promises that hold for all settings of all backbones, and for images of any size."""
import copy
import io
import pickle

import torch
from hypothesis import given
from hypothesis import strategies as st
from small_backbones import BACKBONES, backbones, run
from strategies import amounts, cases

PAIRS = st.integers(2, 3)


def assert_equal(outs, expected):
    """Equal but for rounding in double precision."""
    assert [out.shape for out in outs] == [want.shape for want in expected]
    for out, want in zip(outs, expected):
        torch.testing.assert_close(out, want, rtol=1e-7, atol=1e-7)


def save_and_load(thing, weights_only=False):
    file = io.BytesIO()
    torch.save(thing, file)
    file.seek(0)
    return torch.load(file, weights_only=weights_only)  # whole modules only without, from 2.6 on


@backbones
@amounts(20, 500)
def test_outputs_are_finite_maps_of_the_documented_sizes(name, examples):
    @examples
    @given(cases(name))
    def check(case):
        model, x = case.build().eval(), case.images()
        outs = run(model, x)
        assert len(outs) == len(model.out_indices)
        for out, stage in zip(outs, model.out_indices):
            assert out.isfinite().all() and out.dtype == torch.float64 and out.is_contiguous()
            dims = case.settings['arch']['embed_dims']
            channels = dims if isinstance(dims, int) else dims[stage]
            grid = () if case.settings.get('gap_before_norm') else case.grids()[stage]
            assert out.shape == (case.batch, channels, *grid)
    check()


@backbones
@amounts(12, 300)
def test_images_are_computed_by_themselves_whatever_the_others_hold(name, examples):
    """Values that are not finite do not leave their image either."""
    @examples
    @given(cases(name, PAIRS), st.sampled_from((float('nan'), float('inf'), -float('inf'))),
           st.booleans(), st.data())
    def check(case, value, everywhere, data):
        model, x = case.build().eval(), case.images()
        alone = [run(model, image[None]) for image in x]
        assert_equal(run(model, x), [torch.cat(parts) for parts in zip(*alone)])
        spoilt = data.draw(st.integers(0, case.batch - 1))
        row, column = (data.draw(st.integers(0, side - 1)) for side in case.size)
        x[(spoilt, ) if everywhere else (spoilt, 0, row, column)] = value
        outs = run(model, x)
        assert not all(out[spoilt].isfinite().all() for out in outs)
        for i in set(range(case.batch)) - {spoilt}:
            assert_equal([out[i:i + 1] for out in outs], alone[i])
    check()


@backbones
@amounts(10, 200)
def test_neither_the_layout_of_images_nor_inference_mode_changes_values(name, examples):
    @examples
    @given(cases(name))
    def check(case):
        model, x = case.build().eval(), case.images()
        expected = run(model, x)
        inner = torch.zeros(case.batch, x.shape[1] + 1, case.size[0] + 3, 2 * case.size[1]).double()
        inner[:, 1:, 2:-1, ::2] = x
        for same in (x.contiguous(memory_format=torch.channels_last), inner[:, 1:, 2:-1, ::2],
                     x.transpose(2, 3).contiguous().transpose(2, 3),
                     x[:1].expand_as(x) if case.batch == 1 else x):
            before = same.clone()
            assert_equal(run(model, same), expected)
            assert torch.equal(same, before)  # nobody writes into the images
        for mode in (torch.inference_mode, torch.no_grad):
            with mode():
                assert_equal(run(model, x), expected)
    check()


@backbones
@amounts(10, 200)
def test_copies_files_and_deployment_keep_values(name, examples):
    @examples
    @given(cases(name))
    def check(case):
        model, x = case.build().eval(), case.images()
        expected = run(model, x)
        deployed = copy.deepcopy(model)
        deployed.switch_to_deploy()
        for source in (model, deployed):
            other = BACKBONES[name](**case.settings).double().eval()
            if source is deployed:
                other.switch_to_deploy()
            weights = save_and_load(source.state_dict(), weights_only=True)
            given = dict(weights)
            assert str(other.load_state_dict(given)) == '<All keys matched successfully>'
            assert list(given) == list(weights)  # the file's own dict stays as it was
            for same in (source, copy.deepcopy(source), pickle.loads(pickle.dumps(source)),
                         save_and_load(source), other):
                assert_equal(run(same, x), expected)
    check()


@backbones
@amounts(10, 200)
def test_all_parameters_but_frozen_ones_learn(name, examples):
    @examples
    @given(cases(name, PAIRS), st.data())
    def check(case, data):
        built = max(case.build().out_indices) + 1
        frozen = data.draw(st.integers(-1, built))
        model = case.build(frozen_stages=frozen, drop_rate=0., drop_path_rate=0.).train()
        loss = sum(out.square().mean() + out.sum() for out in model(case.images()))
        assert loss.requires_grad == (frozen < built)
        if loss.requires_grad:
            loss.backward()
        for param_name, param in model.named_parameters():
            part, _, rest = param_name.partition('.')
            place = int(rest.partition('.')[0]) + 1 if part in ('stages', 'norms') else 0
            assert (param.grad is None) == (place <= frozen), param_name
            assert param.grad is None or param.grad.isfinite().all(), param_name
    check()
