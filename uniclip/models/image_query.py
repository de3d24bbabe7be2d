"""Answers what a timm model is, for processes that do not import torch.

    python -m uniclip.models.image_query '{"name": "resnet18", "options": {}, "image_size": null}'

prints the fields of `uniclip.config.image_model.ImageModelFacts` as JSON. The model is built as
training builds it, without weights; no file is downloaded.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import timm
import torch
from torch import nn

from uniclip.config import ImageConfig
from uniclip.config.binding import bind
from uniclip.errors import UserError
from uniclip.models.encoders import ImageEncoder, require_timm_model
from uniclip.models.patch_dropout import has_patch_tokens

SET_OPTIONS = {
    "pretrained": "write model.image.pretrained=true",
    "checkpoint_path": "write model.image.pretrained=<file>",
    "num_classes": "the encoder has no classifier; leave it out",
}
"""Argument of `timm.create_model` -> what to do instead."""
INTERPOLATIONS = ("bicubic", "bilinear")
"""Values of `model.image.interpolation`."""


def describe_image_model(
    name: str, options: Mapping[str, Any], image_size: int | None
) -> dict[str, Any]:
    """Return the size of the input, the error for the user or None, and whether it has batch norm.

    Args:
        name: A timm model name.
        options: Keyword arguments of `timm.create_model`.
        image_size: Side of the input, in pixels; None = the one the model was made for.
    """
    try:
        require_timm_model(name)
        _reject_set_options(options)
        size = image_size or get_native_image_size(name)
        config: ImageConfig = bind(
            ImageConfig,
            {"name": name, "options": options, "image_size": size},
            "model.image.",
        )
        encoder = build_encoder(config)
    except UserError as error:
        return {"image_size": image_size, "error": str(error)}
    batch_norm = nn.modules.batchnorm._BatchNorm
    has_batch_norm = any(isinstance(m, batch_norm) for m in encoder.modules())
    return {
        "image_size": size,
        "error": None,
        "has_batch_norm": has_batch_norm,
        "has_patch_tokens": has_patch_tokens(encoder.body),
        **_describe_pretrained(name),
    }


def _reject_set_options(options: Mapping[str, Any]) -> None:
    """Raise `UserError` for an argument of `timm.create_model` that has a key of its own here."""
    for option, remedy in SET_OPTIONS.items():
        if option in options:
            raise UserError(f"model.image.options.{option} is not set here: {remedy}")


def _describe_pretrained(name: str) -> dict[str, Any]:
    """Return what belongs to the pretrained weights of a model: where they lie, how it is fed."""
    cfg = timm.get_pretrained_cfg(name)
    if cfg is None:
        return {}
    interpolation = cfg.interpolation if cfg.interpolation in INTERPOLATIONS else "bicubic"
    return {
        "crop_pct": cfg.crop_pct,
        "interpolation": interpolation,
        "weights_repository": cfg.hf_hub_id,
        "weights_url": cfg.url or None,
    }


def get_native_image_size(name: str) -> int:
    """Return the side of the images for which a timm model was made, in pixels.

    Of a model that was made for oblong images it is the shorter side: images are square here.
    """
    pretrained_cfg = timm.get_pretrained_cfg(name)
    default_size = ImageConfig().image_size
    return min(pretrained_cfg.input_size[1:]) if pretrained_cfg is not None else default_size


def build_encoder(config: ImageConfig) -> ImageEncoder:
    """Return the encoder without weights; with weights if it cannot be built without.

    Raises:
        UserError: The options or the size do not suit the model.
    """
    try:
        with torch.device("meta"):
            return ImageEncoder(config)
    except Exception:  # some models compute with the values of their tensors
        return ImageEncoder(config)


def main() -> None:
    """Answer the question in the first argument."""
    question = json.loads(sys.argv[1])
    print(json.dumps(describe_image_model(**question)))


if __name__ == "__main__":
    main()
