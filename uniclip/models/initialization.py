"""Initial weights as published, where they differ from what transformers and torch draw.

"clip": OpenAI's model.py (Radford et al., 2021): normal; positions 0.01 and tokens 0.02; within a
block of width w and of L blocks, queries, keys and values w^-1/2, what writes to the stream
w^-1/2 (2L)^-1/2, the MLP's first layer (2w)^-1/2; projections (inputs)^-1/2. (transformers swaps
the deviations of in- and out-projections.) "unicl": Yang et al.'s code: everything truncated normal
of 0.02. Biases are zero and norms one in both (our reconstruction for the MLPs of "clip").
Image encoders keep their library's.
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
    """Draw the weights of a text encoder anew, by torch's generator; "library" leaves them."""
    if scheme == "library":
        return
    initialize = _get_initializer(scheme)
    width, num_layers = body.config.hidden_size, body.config.num_hidden_layers
    input_std, output_std = width**-0.5, (2 * num_layers * width) ** -0.5
    initialize(body.embeddings.token_embedding.weight, 0.02)
    initialize(body.embeddings.position_embedding.weight, 0.01)
    blocks: Any = body.encoder.layers
    for block in blocks:
        attention, mlp = block.self_attn, block.mlp
        for linear in (attention.q_proj, attention.k_proj, attention.v_proj):
            _init_linear(linear, input_std, initialize)
        _init_linear(attention.out_proj, output_std, initialize)
        _init_linear(mlp.fc1, (2 * width) ** -0.5, initialize)
        _init_linear(mlp.fc2, output_std, initialize)


@torch.no_grad()
def init_projection(linear: nn.Linear, scheme: Initialization) -> None:
    """Draw a linear projection into the joint space anew; "library" leaves it."""
    if scheme != "library":
        _init_linear(linear, linear.in_features**-0.5, _get_initializer(scheme))


def _init_linear(
    linear: nn.Linear, std: float, initialize: Callable[[Tensor, float], None]
) -> None:
    initialize(linear.weight, std)
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)


def _get_initializer(scheme: Initialization) -> Callable[[Tensor, float], None]:
    def init_clip(weight: Tensor, std: float) -> None:
        nn.init.normal_(weight, std=std)

    def init_unicl(weight: Tensor, std: float) -> None:
        # timm's: cut at +-2, which is a hundred deviations away.
        nn.init.trunc_normal_(weight, std=UNICL_STD)

    return init_clip if scheme == "clip" else init_unicl
