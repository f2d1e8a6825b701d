# Copyright (c) mmvisionmix authors. All rights reserved.
"""Depthwise convolution gives what torch's gives, and its gradients."""
import pytest
import torch
import torch.nn.functional as F

from mmvisionmix.ops import depthwise_conv

# Channels in and out, kernel, stride, padding.
CASES = (
    (4, 4, 3, 1, 1), (4, 4, 5, 1, 2), (4, 4, 3, 1, 0), (4, 4, 4, 1, 1), (1, 1, 1, 1, 0),
    (4, 4, 7, 4, 3), (4, 8, 2, 2, 0), (4, 8, 3, 1, 1))
FORMATS = (torch.contiguous_format, torch.channels_last)
cases = pytest.mark.parametrize('case', CASES, ids=str)


def draw(case, dtype=torch.float64, height=9, width=7):
    channels, out, kernel, stride, padding = case
    torch.manual_seed(0)
    tensors = (torch.randn(2, channels, height, width, dtype=dtype),
               torch.randn(out, 1, kernel, kernel, dtype=dtype), torch.randn(out, dtype=dtype))
    return [tensor.requires_grad_() for tensor in tensors], (stride, padding)


def reference(x, weight, bias, stride, padding):
    return F.conv2d(x, weight, bias, stride, padding, groups=x.shape[1])


@cases
@pytest.mark.parametrize('memory_format', FORMATS, ids=str)
@pytest.mark.parametrize('dtype, tolerance', ((torch.float64, 1e-10), (torch.float32, 1e-5)))
@pytest.mark.parametrize('size', ((9, 7), (1, 1), (2, 5)))
def test_values_and_gradients_are_those_of_torch(case, memory_format, dtype, tolerance, size):
    inputs, settings = draw(case, dtype, *size)
    if min(size) + 2 * case[4] < case[2]:
        for convolve in (depthwise_conv, reference):
            with pytest.raises(RuntimeError, match="Kernel size can't be greater than actual"):
                convolve(*inputs, *settings)
        return
    inputs[0] = inputs[0].detach().contiguous(memory_format=memory_format).requires_grad_()
    results = []
    for convolve in (depthwise_conv, reference):
        out = convolve(*inputs, *settings)
        torch.manual_seed(1)
        weight = torch.randn(out.shape, dtype=dtype)
        results.append((out, *torch.autograd.grad(out, inputs, weight)))
    for own, expected in zip(*results):
        assert own.dtype == expected.dtype and own.shape == expected.shape
        assert (own - expected).norm() <= tolerance * max(expected.norm(), 1)


@cases
def test_gradients_have_gradients(case):
    inputs, settings = draw(case, height=5, width=4)

    def convolve(*tensors):
        return depthwise_conv(*tensors, *settings)

    assert torch.autograd.gradcheck(convolve, inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(convolve, inputs)


def test_padding_may_keep_the_size():
    inputs, _ = draw(CASES[1])
    own, expected = (
        torch.autograd.grad(out.square().sum(), inputs) for out in (
            depthwise_conv(*inputs, padding='same'), depthwise_conv(*inputs, padding=2)))
    assert all(map(torch.equal, own, expected))


@pytest.mark.parametrize('wanted', ((0, ), (1, ), (2, ), (0, 1), (1, 2)))
def test_only_the_wanted_gradients_are_computed(wanted):
    inputs, settings = draw(CASES[0])
    inputs = [tensor.requires_grad_(i in wanted) for i, tensor in
              enumerate(tensor.detach() for tensor in inputs)]
    depthwise_conv(*inputs, *settings).square().sum().backward()
    expected = [tensor.grad for tensor in inputs]
    for tensor in inputs:
        tensor.grad = None
    reference(*inputs, *settings).square().sum().backward()
    for i, (tensor, own) in enumerate(zip(inputs, expected)):
        assert (own is not None) == (i in wanted)
        assert own is None or torch.allclose(own, tensor.grad)


@pytest.mark.parametrize('transform', (
    lambda loss, tensors: torch.func.grad(loss, (0, 1, 2))(*tensors),
    lambda loss, tensors: torch.func.vmap(torch.func.grad(loss, (0, 1)), (0, None, None))(
        tensors[0][:, None], *tensors[1:]),
    lambda loss, tensors: torch.func.jvp(loss, tuple(tensors), tuple(tensors)),
    *(lambda loss, tensors, i=i: torch.func.jvp(
        lambda one: loss(*tensors[:i], one, *tensors[i + 1:]), (tensors[i], ), (tensors[i], ))
      for i in range(3))))
def test_transforms_of_torch_go_through(transform):
    inputs, settings = draw(CASES[0])
    tensors = [tensor.detach() for tensor in inputs]

    def loss_of(convolve):
        return lambda *args: convolve(*args, *settings).square().sum()

    own, expected = (transform(loss_of(one), tensors) for one in (depthwise_conv, reference))
    for one, other in zip(own, expected):
        torch.testing.assert_close(one, other)


def test_channels_last_maps_and_gradients_stay_so():
    (x, weight, _), settings = draw(CASES[0])
    x = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    out = depthwise_conv(x, weight, None, *settings)
    out.square().sum().backward()
    for maps in (out, x.grad):
        assert maps.is_contiguous(memory_format=torch.channels_last) and not maps.is_contiguous()


def test_autocast_lowers_the_output_and_not_the_gradients():
    inputs, settings = draw(CASES[0], torch.float32)
    with torch.autocast('cpu', torch.bfloat16):
        out = depthwise_conv(*inputs, *settings)
        assert out.dtype == torch.bfloat16
        loss = out.float().square().sum()
    own = torch.autograd.grad(loss, inputs)
    expected = torch.autograd.grad(reference(*inputs, *settings).square().sum(), inputs)
    for grad, want in zip(own, expected):
        assert grad.dtype == torch.float32
        assert (grad - want).norm() < 0.02 * want.norm()


def test_compiles_without_graph_breaks():
    inputs, settings = draw(CASES[0])

    def loss(*tensors):
        return depthwise_conv(*tensors, *settings).square().sum()

    torch.compiler.reset()  # or earlier tests count as recompilations
    compiled = torch.compile(loss, fullgraph=True, backend='aot_eager')
    for own, expected in zip(*(torch.autograd.grad(f(*inputs), inputs) for f in (compiled, loss))):
        torch.testing.assert_close(own, expected)
