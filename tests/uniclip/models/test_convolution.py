"""Convolutions as matrix products against torch's own: values, gradients and parameters."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from uniclip.models.convolution import DepthwiseConv2d, PatchConv2d, replace_convolutions


def build_pair(**arguments):
    """Return a convolution of float64, and the same one replaced."""
    torch.manual_seed(0)
    reference = nn.Sequential(nn.Conv2d(**arguments, dtype=torch.float64))
    replaced = copy.deepcopy(reference)
    replace_convolutions(replaced)
    return reference, replaced


def list_results(module, x):
    """Return the output, and the gradients of the input and the parameters."""
    x = x.clone().requires_grad_()
    output = module(x)
    weight = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).double()
    (output * weight).sum().backward()
    return [output.detach(), x.grad, *(p.grad for p in module.parameters())]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("arguments", "size", "conv_type"),
    [
        ({"kernel_size": 4, "stride": 4, "out_channels": 5}, (8, 12), PatchConv2d),
        ({"kernel_size": 2, "stride": 2, "out_channels": 7}, (2, 2), PatchConv2d),
        ({"kernel_size": 2, "stride": 2, "out_channels": 7}, (5, 3), PatchConv2d),
        ({"kernel_size": 1, "out_channels": 2}, (3, 5), PatchConv2d),
        ({"kernel_size": 3, "padding": 1, "out_channels": 6, "groups": 6}, (1, 1), DepthwiseConv2d),
        ({"kernel_size": 3, "padding": 1, "out_channels": 6, "groups": 6}, (2, 2), DepthwiseConv2d),
        ({"kernel_size": 3, "padding": 1, "out_channels": 6, "groups": 6}, (1, 3), DepthwiseConv2d),
        ({"kernel_size": 3, "padding": 1, "out_channels": 6, "groups": 6}, (5, 3), DepthwiseConv2d),
        ({"kernel_size": 7, "padding": 3, "out_channels": 6, "groups": 6}, (2, 2), DepthwiseConv2d),
        (
            {"kernel_size": (3, 5), "padding": (1, 2), "out_channels": 6, "groups": 6},
            (4, 1),
            DepthwiseConv2d,
        ),
    ],
)
def test_values_and_gradients_are_those_of_torch(arguments, size, conv_type, bias):
    reference, replaced = build_pair(in_channels=6, bias=bias, **arguments)
    assert type(replaced[0]) is conv_type
    x = torch.randn(3, 6, *size, generator=torch.Generator().manual_seed(2)).double()
    for layout in (torch.contiguous_format, torch.channels_last):
        expected = list_results(reference, x.contiguous(memory_format=layout))
        results = list_results(replaced, x.contiguous(memory_format=layout))
        torch.testing.assert_close(results, expected, rtol=1e-12, atol=1e-12)
        reference.zero_grad()
        replaced.zero_grad()


@pytest.mark.parametrize(
    "arguments",
    [
        {"kernel_size": 3, "stride": 2, "padding": 1, "groups": 6},
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 3, "padding": 1, "groups": 2},
        {"kernel_size": 3, "padding": 2, "dilation": 2, "groups": 6},
        {"kernel_size": 3, "padding": 1, "groups": 6, "padding_mode": "reflect"},
        {"kernel_size": 3, "padding": "same", "groups": 6},
        {"kernel_size": 2, "stride": 2, "padding": 1},
    ],
)
def test_other_convolutions_stay(arguments):
    _, replaced = build_pair(in_channels=6, out_channels=6, **arguments)
    assert type(replaced[0]) is nn.Conv2d


def test_a_model_keeps_parameters_names_and_random_state():
    model = timm.create_model("convnext_atto", num_classes=0, depths=[1, 1, 1, 1])
    names = list(model.state_dict())
    parameters = list(model.parameters())
    random_state = torch.random.get_rng_state()
    replace_convolutions(model)
    assert torch.equal(random_state, torch.random.get_rng_state())
    assert list(model.state_dict()) == names
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    types = [type(m) for m in model.modules()]
    assert types.count(PatchConv2d) == 12
    assert types.count(DepthwiseConv2d) == 4
    assert nn.Conv2d not in types


def test_bfloat16_under_autocast_as_torch():
    arguments = {"kernel_size": 3, "padding": 1, "out_channels": 6, "groups": 6, "in_channels": 6}
    torch.manual_seed(0)
    reference = nn.Sequential(nn.Conv2d(**arguments))
    replaced = copy.deepcopy(reference)
    replace_convolutions(replaced)
    x = torch.randn(4, 6, 2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        expected, output = reference(x), replaced(x)
    assert output.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(output, expected, rtol=2e-2, atol=2e-2)


def test_operations_of_other_devices_are_convolutions():
    """On the meta device, which stands for a GPU: only CPU tensors take the matrix products."""
    with torch.device("meta"):
        model = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.Conv2d(6, 6, 1))
        replace_convolutions(model)
        counter = FlopCounterMode(display=False)
        with counter:
            model(torch.zeros(1, 6, 2, 2))
    assert set(counter.get_flop_counts()["Global"]) == {torch.ops.aten.convolution}


def test_a_convolution_with_hooks_stays():
    model = nn.Sequential(nn.utils.weight_norm(nn.Conv2d(4, 4, 1)))
    x = torch.randn(2, 4, 3, 3)
    expected = model(x)
    replace_convolutions(model)
    assert torch.equal(model(x), expected)
