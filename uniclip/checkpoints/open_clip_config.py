"""The JSON in which open_clip describes a model: what the shapes of its weights do not determine.

It is `open_clip_config.json` of a published folder, or a file of open_clip's `model_configs/`.
Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uniclip.errors import UserError
from uniclip.io.atomic import JSON_ERRORS, parse_json

SUPPORTED_VALUES: dict[str, dict[str, Any]] = {
    "vision_cfg": {
        "attentional_pool": False,
        "final_ln_after_pool": False,
        "global_average_pool": False,
        "no_ln_pre": False,
        "pool_type": "tok",
        "act_kwargs": None,
        "norm_kwargs": None,
    },
    "text_cfg": {
        "no_causal_mask": False,
        "pool_type": "argmax",
        "act_kwargs": None,
        "norm_kwargs": None,
    },
}
"""Section -> key that changes the function of a model but no shape -> its supported value."""
DEFAULT_IMAGE_HEAD_WIDTH = 64
DEFAULT_TEXT_HEADS = 8
"""What open_clip takes where its JSON states no heads, whatever the width of the encoder."""


@dataclass(frozen=True, kw_only=True)
class OpenClipConfig:
    """What open_clip's JSON states of a model."""

    quick_gelu: bool = False
    image_head_width: int | None = None
    """Width of an attention head of the image encoder; None: there is no JSON."""
    text_heads: int | None = None
    """Attention heads of the text encoder; None: there is no JSON."""
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    """Normalization of the pixels; None: not stated."""


def read_open_clip_config(path: Path) -> OpenClipConfig:
    """Return what a file states.

    Raises:
        UserError: It is missing or damaged, or the model has an encoder that is not imported.
    """
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        model, preprocess = content.get("model_cfg", content), content.get("preprocess_cfg", {})
        towers = {section: dict(model[section]) for section in SUPPORTED_VALUES}
        stated = OpenClipConfig(
            quick_gelu=bool(model.get("quick_gelu", False)),
            image_head_width=_to_count(
                towers["vision_cfg"].get("head_width", DEFAULT_IMAGE_HEAD_WIDTH)
            ),
            text_heads=_to_count(towers["text_cfg"].get("heads", DEFAULT_TEXT_HEADS)),
            mean=_to_floats(preprocess.get("mean")),
            std=_to_floats(preprocess.get("std")),
        )
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; name open_clip's JSON of the model") from None
    except (OSError, *JSON_ERRORS, KeyError, TypeError, ValueError, AttributeError):
        raise UserError(f"{path} is damaged") from None
    _require_supported(path, towers)
    return stated


def _require_supported(path: Path, towers: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise `UserError` if an encoder is of another library, or of another function."""
    for section, values in towers.items():
        for key in ("timm_model_name", "hf_model_name"):
            if values.get(key):
                raise UserError(
                    f"{path.parent}: open_clip's model has an encoder of another library "
                    f"({key}={values[key]}), which is not imported"
                )
        for key, supported in SUPPORTED_VALUES[section].items():
            stated = values.get(key, supported)
            if stated != supported and not (supported is None and stated == {}):
                raise UserError(f"{path}: {section}.{key}={values[key]} is not imported")


def _to_count(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(value)
    return value


def _to_floats(values: Any) -> tuple[float, ...] | None:
    return None if values is None else tuple(float(value) for value in values)
