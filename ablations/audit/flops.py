"""Floating-point operations of a training step, counted while it runs.

Counted are matrix products, convolutions and attention, by torch's formulas; frozen parameters cost
no gradient. Two formulas are replaced: torch has none for attention on a CPU, and its formula for
the weight gradient of a grouped convolution counts that of a full one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import (
    FlopCounterMode,
    conv_flop_count,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

Shape = list[int]
_attention_flops: Callable[..., int] = sdpa_flop_count
_attention_backward_flops: Callable[..., int] = sdpa_backward_flop_count


def build_flop_counter() -> FlopCounterMode:
    """Return a context manager that counts operations; `get_total_flops()` returns the count."""
    return FlopCounterMode(display=False, custom_mapping=FLOP_FORMULAS)


def _count_convolution_backward(
    gradient: Shape, inputs: Shape, weight: Shape, *rest: Any, **_: Any
) -> int:
    """Return the operations of the requested gradients; each costs as much as the forward pass."""
    transposed, output_mask = rest[4], rest[7]
    num_gradients: int = sum(output_mask[:2])
    return num_gradients * int(conv_flop_count(inputs, weight, gradient, transposed))


def _count_attention(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    return _attention_flops(query, key, value)


def _count_attention_backward(
    gradient: Shape, query: Shape, key: Shape, value: Shape, *_: Any, **__: Any
) -> int:
    return _attention_backward_flops(gradient, query, key, value)


FLOP_FORMULAS = {
    torch.ops.aten.convolution_backward: _count_convolution_backward,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _count_attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _count_attention_backward,
}
