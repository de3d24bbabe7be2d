"""Floating-point operations, counted as they are done: what is frozen costs no gradient.

Counted are matrix products, convolutions and attention, by torch's formulas. Two are missing there
or wrong: attention on a CPU is not known, and of a grouped convolution the gradient by the weights
is taken for that of a full one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import (
    FlopCounterMode,
    conv_flop_count,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

Shape = list[int]


def build_flop_counter() -> FlopCounterMode:
    """Counts what is computed while it is entered: `get_total_flops()`."""
    return FlopCounterMode(display=False, custom_mapping=FLOP_FORMULAS)


def _count_convolution_backward(
    gradient: Shape, inputs: Shape, weight: Shape, *rest: Any, **_: Any
) -> int:
    """Each of the gradients by the inputs and by the weights takes what the forward pass took."""
    transposed, output_mask = rest[4], rest[7]
    return sum(output_mask[:2]) * conv_flop_count(inputs, weight, gradient, transposed)


def _count_attention(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def _count_attention_backward(
    gradient: Shape, query: Shape, key: Shape, value: Shape, *_: Any, **__: Any
) -> int:
    return int(sdpa_backward_flop_count(gradient, query, key, value))


FLOP_FORMULAS = {
    torch.ops.aten.convolution_backward: _count_convolution_backward,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _count_attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _count_attention_backward,
}
