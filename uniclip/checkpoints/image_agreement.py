"""Whether a configured image encoder computes what that of a checkpoint does.

Its tensors must have the same shapes, and what shapes do not determine (activations, attention
heads, epsilons, normalization of pixels) must be the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from uniclip.config import ImageConfig
from uniclip.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from uniclip.models.encoders import ImageEncoder

OVERLAY_OPTION = "pretrained_cfg_overlay"
"""Option of timm's models with another mean and deviation of the pixels."""


def check_image_encoder(
    encoder: ImageEncoder, image: ImageConfig, checkpoint_image: ImageConfig
) -> None:
    """Check that an image encoder is that of a checkpoint.

    Args:
        encoder: The configured encoder; its weights may be on the meta device.
        image: Its configuration.
        checkpoint_image: The configuration of the checkpoint's.

    Raises:
        UserError: It is another one; the line states what to set.
    """
    from uniclip.models.encoders import get_normalization
    from uniclip.models.image_query import build_encoder

    checkpoint_encoder = build_encoder(checkpoint_image)
    difference = describe_difference(encoder, checkpoint_encoder.state_dict())
    if difference is not None:
        raise UserError(f"image encoder's {difference}; set {format_image_words(checkpoint_image)}")
    _check_normalization(
        get_normalization(checkpoint_encoder.body), get_normalization(encoder.body), image
    )
    checkpoint_settings = _collect_settings_not_in_shapes(checkpoint_encoder)
    settings = _collect_settings_not_in_shapes(encoder)
    for key, setting in checkpoint_settings.items():
        if setting != settings.get(key, setting):
            raise UserError(
                f"its image encoder's {key} is {setting}, not {settings[key]}: "
                "choose a timm model and options with this setting, such as "
                f"{format_image_words(checkpoint_image)}"
            )


def describe_difference(module: nn.Module | None, part_state: Mapping[str, Tensor]) -> str | None:
    """Return a phrase on the first tensor whose shapes differ, or None if all are equal."""
    module_state = {} if module is None else module.state_dict()
    for key in sorted({*module_state, *part_state}):
        checkpoint_shape, module_shape = (
            f"has shape {tuple(tensors[key].shape)}" if key in tensors else "is absent"
            for tensors in (part_state, module_state)
        )
        if checkpoint_shape != module_shape:
            return f"{key} {checkpoint_shape} in the checkpoint and {module_shape} in the model"
    return None


def format_image_words(image: ImageConfig) -> str:
    """Return the words of a command line, quoted for a shell, that choose an image encoder."""
    words = f"model.image.name={image.name} model.image.image_size={image.image_size}"
    return f"{words} 'model.image.options={_format_value(image.options)}'"


def _format_value(value: Any) -> str:
    """Return a value as the command line accepts it."""
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{k}:{_format_value(v)}' for k, v in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_format_value, value))}]"
    return "null" if value is None else str(value)


def _check_normalization(
    checkpoint_stats: Mapping[str, Sequence[float]],
    model_stats: Mapping[str, Sequence[float]],
    image: ImageConfig,
) -> None:
    """Raise `UserError` if the image encoder normalizes pixels by another mean and deviation."""
    if model_stats == checkpoint_stats:
        return
    key = f"model.image.options.{OVERLAY_OPTION}"
    if image.options.get(OVERLAY_OPTION):  # a section has its keys set one by one
        settings = [f"{key}.{k}={_format_value(v)}" for k, v in checkpoint_stats.items()]
    else:
        settings = [f"{key}={_format_value(checkpoint_stats)}"]
    raise UserError(
        "its image encoder normalizes pixels by another mean and deviation: "
        f"choose its timm model, or set {' '.join(map(repr, settings))}"
    )


def _collect_settings_not_in_shapes(encoder: nn.Module) -> dict[str, object]:
    """Return the settings of an image encoder that no shape shows: activations, heads, epsilons."""
    settings: dict[str, object] = {}
    for name, module in encoder.named_modules():
        if name.rpartition(".")[2].startswith("act"):
            settings[name] = type(module).__name__
        for field in ("num_heads", "eps"):
            if hasattr(module, field):
                settings[f"{name}.{field}"] = getattr(module, field)
    return settings
