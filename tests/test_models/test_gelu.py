# Copyright (c) mmvisionmix authors. All rights reserved.
"""GELU, in place and in one step with convolutions where nobody can tell but by the time."""
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.profiler import profile
from torch.utils.flop_counter import FlopCounterMode

from mmvisionmix.models.layers import (
    GELU,
    ConditionalPositionalEncoding,
    ConvFFN,
    ConvNorm,
    DepthwiseConv2d,
    MBConv,
)

FUSED = 'mkldnn::_convolution_pointwise'


def fused_steps(run):
    """How many convolutions with GELU a run computes as one operator."""
    with profile() as profiler:
        run()
    return sum(event.name == FUSED for event in profiler.events())


def test_gelu_saves_a_map_in_inference_and_keeps_it_for_gradients():
    act, x = GELU(), torch.randn(3, 4, dtype=torch.float64)
    expected = torch.nn.functional.gelu(x)
    kept = x.clone()
    torch.testing.assert_close(act(kept), expected)
    assert torch.equal(kept, x)
    assert torch.autograd.gradcheck(act, x.clone().requires_grad_())
    with torch.no_grad():
        out = act(kept)
    assert out is kept
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize('make', (
    partial(nn.Conv2d, 6, 10, 1), partial(nn.Conv2d, 6, 9, 3, 2, 1), partial(nn.Conv2d, 6, 4, 2),
    partial(nn.Conv2d, 6, 12, 1, bias=False), partial(DepthwiseConv2d, 6, 6, 3, padding=1),
    partial(DepthwiseConv2d, 6, 6, 5, 2, 2)), ids=str)
@pytest.mark.parametrize('memory_format', (torch.contiguous_format, torch.channels_last), ids=str)
def test_one_step_gives_what_two_give(make, memory_format):
    torch.manual_seed(0)
    x = (3 * torch.randn(2, 6, 9, 7)).contiguous(memory_format=memory_format)
    conv, act = make(), GELU()
    with torch.no_grad():
        expected = F.gelu(conv(x))
        assert fused_steps(lambda: act.after(conv, x)) == 1
        out = act.after(conv, x)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-6)
    assert out.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize('layer, steps', (
    (ConvFFN(6, 12), 1), (ConvFFN(6, 12, ConditionalPositionalEncoding(12)), 1), (MBConv(6, 2), 2)))
def test_deployed_layers_take_one_step(layer, steps):
    x = torch.randn(2, 6, 9, 7)
    with torch.inference_mode():
        plain = layer.eval()(x)
        for module in list(layer.modules()):
            if hasattr(module, 'switch_to_deploy'):
                module.switch_to_deploy()
        assert fused_steps(lambda: layer(x)) == steps
        torch.testing.assert_close(layer(x), plain, rtol=1e-4, atol=1e-5)


def test_a_norm_between_the_two_is_not_left_out():
    layer, act, x = ConvNorm(6, 6, 3, padding=1).eval(), GELU(), torch.randn(1, 6, 5, 5)
    nn.init.constant_(layer.norm.running_mean, 3.)
    with torch.no_grad():
        torch.testing.assert_close(act.after(layer, x), F.gelu(layer(x)))


@pytest.mark.parametrize('case', ('gradients', 'autocast', 'float64', 'bfloat16', 'without oneDNN'))
def test_elsewhere_it_takes_two_steps(case):
    conv, act, x = nn.Conv2d(6, 10, 1), GELU(), torch.randn(2, 6, 9, 7)
    if case in ('float64', 'bfloat16'):
        conv, x = conv.to(getattr(torch, case)), x.to(getattr(torch, case))
    with torch.set_grad_enabled(case == 'gradients'), \
            torch.autocast('cpu', torch.bfloat16, enabled=case == 'autocast'), \
            torch.backends.mkldnn.flags(enabled=case != 'without oneDNN'):
        expected = F.gelu(conv(x))
        assert fused_steps(lambda: act.after(conv, x)) == 0
        assert torch.equal(act.after(conv, x), expected)


def test_hooks_see_the_output_of_the_convolution():
    conv, act, x, seen = nn.Conv2d(6, 10, 1), GELU(), torch.randn(1, 6, 4, 4), []
    with torch.no_grad():
        expected = conv(x)
        handle = conv.register_forward_hook(lambda module, args, out: seen.append(out.clone()))
        act.after(conv, x)
        handle.remove()
        act.after(conv, x)
    assert len(seen) == 1 and torch.equal(seen[0], expected)


def test_counters_and_traces_see_two_operators():
    layer, x = ConvFFN(6, 12).eval(), torch.randn(1, 6, 4, 4)
    with torch.no_grad():
        with FlopCounterMode(display=False) as counter:
            layer(x)
        graph = torch.jit.trace(layer, x).inlined_graph
    assert counter.get_total_flops() == 2 * 2 * 6 * 12 * 16
    assert not any('mkldnn' in node.kind() for node in graph.nodes())
