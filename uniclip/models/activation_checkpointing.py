"""Activation checkpointing of the encoders (Chen et al., 2016), by their libraries' own switches.

Each block of a tower keeps its input; the backward pass computes the block again. Dropout is drawn
as in the forward pass, so loss and gradient are the same, for a third more operations.
"""

from __future__ import annotations

from typing import Any

from uniclip.errors import UserError
from uniclip.models import batch_norm
from uniclip.models.embedder import Embedder

KEY = "train.activation_checkpointing"
OPTIONS = {"use_reentrant": False}
"""Of torch.utils.checkpoint: the form that keeps autograd's graph outside of the blocks."""


def enable_activation_checkpointing(embedder: Embedder) -> None:
    """Let both encoders compute their blocks again in the backward pass.

    Raises:
        UserError: An encoder has batch norm, whose running statistics would count each batch twice,
            or its library has no activation checkpointing for it.
    """
    for tower, encoder in (("image", embedder.image_encoder), ("text", embedder.text_encoder)):
        if not any(p.requires_grad for p in encoder.parameters()):
            continue  # a locked encoder has no backward pass
        if batch_norm.uses_batch_statistics(encoder):
            raise UserError(
                f"{KEY}=true needs encoders without batch norm, whose running statistics would "
                f"count each batch twice; the {tower} encoder has it: leave the key out"
            )
        body: Any = encoder.body  # torch types a submodule as Tensor | Module
        try:
            if hasattr(body, "set_grad_checkpointing"):  # timm
                body.set_grad_checkpointing(True)
            elif hasattr(body, "activation_checkpointing_enable"):  # transformers
                body.activation_checkpointing_enable(activation_checkpointing_kwargs=OPTIONS)
            else:  # transformers, before it renamed the method
                body.gradient_checkpointing_enable(OPTIONS)
        except (AssertionError, AttributeError, NotImplementedError, ValueError) as error:
            raise UserError(
                f"{KEY}=true: the library of the {tower} encoder has no activation checkpointing "
                "for this model: leave the key out"
            ) from error
