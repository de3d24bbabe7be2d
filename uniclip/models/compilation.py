"""Compilation of the encoders by torch.compile."""

from __future__ import annotations

from typing import Any

from uniclip.models.embedder import Embedder


def compile_encoders(embedder: Embedder, backend: str = "inductor") -> None:
    """Compile both encoders in place, at their next call; the keys of the state dict stay.

    Texts of another length are compiled once more, with the length as a variable.

    Args:
        embedder: The model.
        backend: The compiler, as of torch.compile.
    """
    for encoder in (embedder.image_encoder, embedder.text_encoder):
        body: Any = encoder.body  # torch types a submodule as Tensor | Module
        body.compile(backend=backend)
