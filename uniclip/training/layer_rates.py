"""Layer-wise learning rates: each layer of an encoder learns slower than the one above it.

`train.layer_decay` is the factor from one layer to the next (Bao et al., BEiT, 2022). The layers of
an image encoder are those of timm's `group_matcher`, as in timm's own optimizers; those of a text
encoder are its embeddings and its blocks. What follows the last block belongs to it.
"""

from __future__ import annotations

import re
from typing import Any

from timm.models import group_parameters
from torch import nn

from uniclip.errors import UserError
from uniclip.models.embedder import Embedder

BLOCK_NUMBER = re.compile(r"(?:^|\.)(?:layers?|block|blocks|h)\.(\d+)\.")
EMBEDDING = re.compile(r"(?:^|\.)(?:embed\w*|wte|shared|\w*embeddings?)\.")


def compute_layer_scales(embedder: Embedder, layer_decay: float) -> dict[int, float]:
    """Return the id of each parameter of an encoder -> the factor of its learning rate.

    Args:
        embedder: The encoders; parameters of heads are left out, which have the full rate.
        layer_decay: Factor from each layer to the one below it; 1 = an empty dictionary.
    """
    if layer_decay == 1:
        return {}
    scales: dict[int, float] = {}
    for body, layers in (
        (embedder.image_encoder.body, _number_image_layers(embedder.image_encoder.body)),
        (embedder.text_encoder.body, _number_text_layers(embedder.text_encoder.body)),
    ):
        top = max(layers.values(), default=0)
        for name, parameter in body.named_parameters():
            scales[id(parameter)] = layer_decay ** (top + 1 - layers.get(name, top))
    return scales


def _number_image_layers(body: Any) -> dict[str, int]:
    """Return the layer of each parameter of a timm model, 0 for the lowest."""
    if not hasattr(body, "group_matcher"):
        raise UserError(
            f"train.layer_decay: timm states no layers of {type(body).__name__}; leave it out"
        )
    layers: dict[str, int] = group_parameters(body, body.group_matcher(coarse=False), reverse=True)
    return layers


def _number_text_layers(body: nn.Module) -> dict[str, int]:
    """Return the layer of each parameter of a text encoder: 0 for embeddings, then its blocks."""
    names = [name for name, _ in body.named_parameters()]
    block_by_name = {n: int(m[1]) for n in names if (m := BLOCK_NUMBER.search(n)) is not None}
    num_blocks = max(block_by_name.values(), default=-1) + 1
    return {
        name: block_by_name[name] + 1
        if name in block_by_name
        else (0 if EMBEDDING.search(name) else num_blocks)
        for name in names
    }
