"""Prompt templates of the labelled images, and the configuration of the image-text pairs."""

from __future__ import annotations

from uniclip.config import MixData, OpenmojiData

PROMPT_TEMPLATES = (
    "{}",
    "a {}",
    "a picture of a {}",
    "a drawing of a {}",
    "a small picture of a {}",
    "this is a {}",
    "one of the {}",
)
"""Our own: the published templates speak of photographs."""


def build_pairs_config(config: MixData) -> OpenmojiData:
    """Return the data section of the image-text part."""
    return OpenmojiData(image_size=config.image_size)
