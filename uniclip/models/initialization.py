"""Published initial weights, where they differ from the defaults of transformers and torch.

"clip" is OpenAI's model.py (Radford et al., 2021): normal with standard deviations 0.01 for
positions and 0.02 for tokens; with width w and L blocks, w^-1/2 for queries, keys and values,
w^-1/2 (2L)^-1/2 for layers that write to the residual stream, and (2w)^-1/2 for the first layer of
an MLP; (inputs)^-1/2 for projections. (transformers swaps the standard deviations of in- and
out-projections.) "unicl" is the code of Yang et al.: truncated normal of 0.02 for all weights.
Biases are zero and norms one in both (our reconstruction for the MLPs of "clip"). Image encoders
keep the initial weights of their library, as do text encoders other than the default one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import CLIPTextModel

Initialization = Literal["library", "clip", "unicl"]

UNICL_STD = 0.02


@torch.no_grad()
def init_text_encoder(body: CLIPTextModel, scheme: Initialization) -> None:
    """Redraw the weights of a text encoder with torch's generator; "library" keeps them."""
    if scheme == "library":
        return
    initialize = _get_initializer(scheme)
    width, num_layers = body.config.hidden_size, body.config.num_hidden_layers
    input_std, output_std = width**-0.5, (2 * num_layers * width) ** -0.5
    initialize(body.embeddings.token_embedding.weight, 0.02)
    initialize(body.embeddings.position_embedding.weight, 0.01)
    blocks: Any = body.encoder.layers  # Any: torch types a submodule as Tensor | Module
    for block in blocks:
        attention, mlp = block.self_attn, block.mlp
        for linear in (attention.q_proj, attention.k_proj, attention.v_proj):
            _init_linear(linear, input_std, initialize)
        _init_linear(attention.out_proj, output_std, initialize)
        _init_linear(mlp.fc1, (2 * width) ** -0.5, initialize)
        _init_linear(mlp.fc2, output_std, initialize)


@torch.no_grad()
def init_projection(linear: nn.Linear, scheme: Initialization) -> None:
    """Redraw a linear projection into the joint space; "library" keeps it."""
    if scheme != "library":
        _init_linear(linear, linear.in_features**-0.5, _get_initializer(scheme))


@torch.no_grad()
def perturb_parameters(module: nn.Module, relative_std: float) -> None:
    """Multiply each trainable weight by 1 + `relative_std` times a normal draw of torch's
    generator; zeros stay zero."""
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.mul_(1 + relative_std * torch.randn_like(parameter))


def _init_linear(
    linear: nn.Linear, std: float, initialize: Callable[[Tensor, float], None]
) -> None:
    initialize(linear.weight, std)
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)


def _get_initializer(scheme: Initialization) -> Callable[[Tensor, float], None]:
    """Return the function that draws a weight with a standard deviation, in place."""

    def init_clip(weight: Tensor, std: float) -> None:
        nn.init.normal_(weight, std=std)

    def init_unicl(weight: Tensor, std: float) -> None:
        # Truncated at +-2 as in timm, which is a hundred standard deviations.
        nn.init.trunc_normal_(weight, std=UNICL_STD)

    return init_clip if scheme == "clip" else init_unicl
