"""Export of the two encoders, each in the format of its own library.

`<folder>/image` is loaded by `timm.create_model("local-dir:<folder>/image")`, `<folder>/text` by
transformers' `AutoModel` and `AutoTokenizer`; `projections.safetensors` holds linear heads.
It works for every encoder; `uniclip.checkpoints.exporting` writes whole models of other libraries.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors.torch
import timm.models
import torch
from torch import Tensor, nn

from uniclip.checkpoints.pretrained import PretrainedModel
from uniclip.io import atomic
from uniclip.models.text_encoder import find_model_class

HEADS = ("image_head", "text_head")


def export_encoders(pretrained: PretrainedModel, folder: Path) -> None:
    """Write both encoders, and the projections if the method's heads are linear.

    Args:
        pretrained: The model.
        folder: Exists, and is empty.
    """
    image = pretrained.config.model.image
    body: Any = pretrained.embedder.image_encoder.body
    options = {k: v for k, v in image.options.items() if k != "pretrained_cfg_overlay"}
    takes_size = hasattr(body, "patch_embed") and hasattr(body.patch_embed, "img_size")
    size = {"img_size": image.image_size} if takes_size else {}
    encoder = pretrained.embedder.image_encoder
    data_config = {
        "input_size": (3, image.image_size, image.image_size),
        "mean": tuple(encoder.mean.flatten().tolist()),
        "std": tuple(encoder.std.flatten().tolist()),
        "crop_pct": image.crop_pct,
        "interpolation": image.interpolation,
    }
    timm.models.save_for_hf(
        body, str(folder / "image"), model_args={**options, **size}, safe_serialization=True,
        data_config=data_config,
    )  # fmt: skip
    _wrap_text_body(pretrained).save_pretrained(folder / "text")
    _write_projections(pretrained, folder / "projections.safetensors")


def _wrap_text_body(pretrained: PretrainedModel) -> Any:
    """Return the text encoder as a model of transformers: a stack of layers in its model."""
    body: Any = pretrained.embedder.text_encoder.body
    text = pretrained.config.model.text
    if text.is_clip:
        return body
    model_class = find_model_class(body.config, text.name)
    if isinstance(body, model_class):
        return body
    with torch.random.fork_rng(devices=[]):  # the initial weights are overwritten
        model = model_class(body.config)
    model.encoder.load_state_dict(body.state_dict())
    if hasattr(model, "shared"):
        model.shared.load_state_dict(body.embed_tokens.state_dict())
    return model


def _write_projections(pretrained: PretrainedModel, path: Path) -> None:
    tensors: dict[str, Tensor] = {}
    for name in HEADS:
        head = getattr(pretrained.embedder, name)
        if not isinstance(head, nn.Linear):
            return
        tensors |= {
            f"{name}.{key}": value.detach().cpu().contiguous().clone()
            for key, value in head.state_dict().items()
        }
    atomic.atomic_write(path, safetensors.torch.save(tensors, {"format": "pt"}))
