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

UNICL = 0.02


@torch.no_grad()
def text_encoder(body: CLIPTextModel, scheme: Initialization) -> None:
    """Draw the weights of a text encoder anew, by torch's generator; "library" leaves them."""
    if scheme == "library":
        return
    draw = _drawn(scheme)
    width, layers = body.config.hidden_size, body.config.num_hidden_layers
    inward, outward = width**-0.5, (2 * layers * width) ** -0.5
    draw(body.embeddings.token_embedding.weight, 0.02)
    draw(body.embeddings.position_embedding.weight, 0.01)
    blocks: Any = body.encoder.layers
    for block in blocks:
        attention, mlp = block.self_attn, block.mlp
        for linear in (attention.q_proj, attention.k_proj, attention.v_proj):
            _linear(linear, inward, draw)
        _linear(attention.out_proj, outward, draw)
        _linear(mlp.fc1, (2 * width) ** -0.5, draw)
        _linear(mlp.fc2, outward, draw)


@torch.no_grad()
def projection(linear: nn.Linear, scheme: Initialization) -> None:
    """Draw a linear projection into the joint space anew; "library" leaves it."""
    if scheme != "library":
        _linear(linear, linear.in_features**-0.5, _drawn(scheme))


def _linear(linear: nn.Linear, std: float, draw: Callable[[Tensor, float], None]) -> None:
    draw(linear.weight, std)
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)


def _drawn(scheme: Initialization) -> Callable[[Tensor, float], None]:
    def clip(weight: Tensor, std: float) -> None:
        nn.init.normal_(weight, std=std)

    def unicl(weight: Tensor, std: float) -> None:
        # timm's: cut at +-2, which is a hundred deviations away.
        nn.init.trunc_normal_(weight, std=UNICL)

    return clip if scheme == "clip" else unicl
