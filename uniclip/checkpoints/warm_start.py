"""Where training starts when it does not start from scratch: `init` names a checkpoint.

Both encoders take over the checkpoint's weights, or one of them (`init_towers`); heads come along
where they are of the same shapes. What shapes don't tell (activations, attention heads, epsilons,
normalisation) must agree, or is asked for. The file's sum is part of a run's name, its place is
not. Nothing here imports torch before training starts: a plan asks for sums. What was taken over
and what was not is said (`Taken`); a temperature never is, method.temperature says it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from uniclip.config import CLIP_VOCAB_SIZE, ModelConfig, RunConfig
from uniclip.errors import UserError
from uniclip.io import hashing, memo

if TYPE_CHECKING:
    from torch import Tensor, nn

    from uniclip.data.text.tokenizer import Tokenizer
    from uniclip.models.embedder import Embedder

    WeightsAndConfig = tuple[dict[str, Tensor], ModelConfig]
    """Weights by the embedder's keys, and the model that they are of."""

LoadedParts = dict[str, Union[str, None]]
"""Part of the embedder -> why it was not taken over from `init`; None for one that was."""

EMBEDDER_PREFIX = "embedder."
"""Prefix of every key of a run's weights (`uniclip.training.checkpoint`)."""
TEXT_FIELDS_NOT_IN_SHAPES = ("heads", "activation", "layer_norm_eps")
"""Of a text encoder's configuration: what its weights' shapes don't tell."""
HEADS_BY_TOWER = {"image": ("augmentation_encoder", "image_head"), "text": ("text_head",)}
"""Of each tower: parts that were trained with one another, and come along together or not."""


def fingerprint(config: RunConfig) -> dict[str, Any]:
    """What `init` adds to the fingerprint of the data: the sum of the file, or nothing.

    Raises:
        UserError: there is no such file.
    """
    if config.pretrained is None:
        return {}
    path = Path(config.pretrained)
    try:
        file_stat = path.stat()
        if not path.is_file():
            raise OSError
    except OSError:
        raise UserError(f"pretrained={config.pretrained}: no such file") from None
    memo_key = blake2b(
        f"{path.resolve()} {file_stat.st_size} {file_stat.st_mtime_ns}".encode()
    ).hexdigest()
    return {"init": memo.disk_memoize("sums", memo_key, lambda: hashing.digest_file(path))}


def check_unchanged(config: RunConfig, planned_fingerprint: Mapping[str, Any]) -> None:
    """`UserError` if the file at `init` is no more the one of the plan, whose run this is.

    planned: the fingerprint in the run's spec.
    """
    if fingerprint(config).get("init") != planned_fingerprint.get("init"):
        raise UserError(f"pretrained={config.pretrained} has changed since the plan; run again")


def load_pretrained(
    embedder: Embedder, config: RunConfig, text_tokenizer: Tokenizer
) -> LoadedParts:
    """Give the embedder's encoders the weights that `config.init` names; empty without one.

    Raises:
        UserError: the file cannot be imported, an encoder of it is not the configuration's, or
            nothing says with which activation it was trained.
    """
    if config.pretrained is None:
        return {}
    state, checkpoint_config = _read_run_weights(
        Path(config.pretrained), text_tokenizer, config
    ) or _read_published(config, text_tokenizer)
    _check_settings_not_in_shapes(embedder, config, checkpoint_config)
    loaded_parts: LoadedParts = {}
    for tower, head_names in HEADS_BY_TOWER.items():
        encoder_name = f"{tower}_encoder"
        heads = {
            head_name: head
            for head_name in head_names
            if (head := getattr(embedder, head_name)) is not None
        }
        if config.pretrained_towers in (tower, "both"):
            _load_part(getattr(embedder, encoder_name), encoder_name, state, config)
            loaded_parts |= {encoder_name: None, **_load_heads(heads, head_names, state)}
        else:
            loaded_parts |= dict.fromkeys(
                (encoder_name, *heads), f"pretrained_towers={config.pretrained_towers}"
            )
    return loaded_parts


def describe_loaded_parts(pretrained: str, loaded_parts: LoadedParts) -> str:
    """One line of what was taken over from `init`, and what starts as it is drawn, and why."""
    loaded_names = ", ".join(
        _format_part_name(part) for part, reason in loaded_parts.items() if reason is None
    )
    fresh_parts = [
        f"{_format_part_name(part)} ({reason})"
        for part, reason in loaded_parts.items()
        if reason is not None
    ]
    return f"pretrained={pretrained}: took over {loaded_names}; started anew: " + ", ".join(
        [*fresh_parts, "the temperature (method.temperature says it)"]
    )


def _format_part_name(part: str) -> str:
    return part.replace("_", " ")


def _read_published(config: RunConfig, text_tokenizer: Tokenizer) -> WeightsAndConfig:
    from uniclip.checkpoints import importing
    from uniclip.data.text import tokenizer

    assert config.pretrained is not None
    loads_text_encoder = config.pretrained_towers != "image"
    if loads_text_encoder and not text_tokenizer.is_clip:
        raise UserError(
            "init= brings a text encoder for CLIP's vocabulary: set model.text.tokenizer=clip and "
            f"model.text.vocab_size={CLIP_VOCAB_SIZE}, or pretrained_towers=image"
        )
    clip_tokenizer = text_tokenizer if text_tokenizer.is_clip else tokenizer.load_clip_tokenizer()
    activation = config.pretrained_activation
    quick_gelu = None if activation is None else activation == "quick_gelu"
    weights = importing.read_weights(
        Path(config.pretrained),
        clip_tokenizer,
        allow_torchscript=config.allow_torchscript,
        quick_gelu=quick_gelu,
    )
    has_transformer = loads_text_encoder or weights.model.image.name.startswith("vit_")
    activation_is_needed = has_transformer and not weights.activation_is_known
    if activation_is_needed and activation is None:
        raise UserError(
            f"pretrained={config.pretrained} does not say with which activation it was trained: set "
            "pretrained_activation=gelu (open_clip's default) or pretrained_activation=quick_gelu (OpenAI's)"
        )
    if not activation_is_needed:
        _reject_activation_setting(config)
    return weights.state_dict, weights.model


def _reject_activation_setting(config: RunConfig) -> None:
    if config.pretrained_activation is not None:
        raise UserError(
            f"pretrained_activation={config.pretrained_activation} is for files that don't say it and need it, "
            f"and pretrained={config.pretrained} is none: leave it out"
        )


def _check_settings_not_in_shapes(
    embedder: Embedder, config: RunConfig, checkpoint_config: ModelConfig
) -> None:
    """Refuse encoders that take the checkpoint's weights, but would compute something else."""
    import torch

    from uniclip.models.encoders import ImageEncoder, get_normalization

    for field in TEXT_FIELDS_NOT_IN_SHAPES if config.pretrained_towers != "image" else ():
        checkpoint_value, model_value = (
            getattr(checkpoint_config.text, field),
            getattr(config.model.text, field),
        )
        if checkpoint_value != model_value:
            raise UserError(
                f"pretrained={config.pretrained}: its text encoder has {field}={checkpoint_value}: set "
                f"model.text.{field}={checkpoint_value}, not {model_value}"
            )
    if config.pretrained_towers == "text":
        return
    with torch.device("meta"):
        encoder = ImageEncoder(checkpoint_config.image)
    _check_normalization(get_normalization(encoder.body), embedder, config)
    checkpoint_value, model_value = (
        _collect_settings_not_in_shapes(encoder),
        _collect_settings_not_in_shapes(embedder.image_encoder),
    )
    for key in checkpoint_value.keys() & model_value.keys():
        if checkpoint_value[key] != model_value[key]:
            raise UserError(
                f"pretrained={config.pretrained}: its image encoder's {key} is {checkpoint_value[key]}, not {model_value[key]}: "
                f"choose a timm model and options of it, such as model.image.name="
                f"{checkpoint_config.image.name} with model.image.options={checkpoint_config.image.options}"
            )


def _check_normalization(
    checkpoint_stats: Mapping[str, Sequence[float]], embedder: Embedder, config: RunConfig
) -> None:
    """Refuse an image encoder that sees pixels by another mean and deviation."""
    from uniclip.models.encoders import get_normalization

    model_stats = get_normalization(embedder.image_encoder.body)
    if model_stats == checkpoint_stats:
        return
    overlay = "pretrained_cfg_overlay"
    key, required_stats = (
        f"model.image.options.{overlay}",
        {k: _format_list(v) for k, v in checkpoint_stats.items()},
    )
    if config.model.image.options.get(overlay):  # a section has its keys set one by one
        settings = [f"{key}.{name}={values}" for name, values in required_stats.items()]
    else:
        settings = [
            f"{key}={{{','.join(f'{name}:{values}' for name, values in required_stats.items())}}}"
        ]
    raise UserError(
        f"pretrained={config.pretrained}: the pixels of its image encoder have mean {required_stats['mean']} and "
        f"deviation {required_stats['std']}, not {_format_list(model_stats['mean'])} and {_format_list(model_stats['std'])}: set "
        + " ".join(map(repr, settings))
    )


def _format_list(values: Sequence[float]) -> str:
    """As the command line takes it."""
    return f"[{','.join(map(str, values))}]"


def _collect_settings_not_in_shapes(encoder: nn.Module) -> dict[str, Any]:
    """What of an image encoder shows in no shape: activations, heads, epsilons."""
    settings: dict[str, Any] = {}
    for name, module in encoder.named_modules():
        if name.rpartition(".")[2].startswith("act"):
            settings[name] = type(module).__name__
        for field in ("num_heads", "eps"):
            if hasattr(module, field):
                settings[f"{name}.{field}"] = getattr(module, field)
    return settings


def _read_run_weights(
    path: Path, text_tokenizer: Tokenizer, config: RunConfig
) -> WeightsAndConfig | None:
    """The weights of a run of ours by the embedder's keys; None if the file is not one's."""
    from uniclip import identity
    from uniclip.checkpoints import tensor_file
    from uniclip.store import RunFolder

    if path.suffix != ".safetensors":
        return None
    try:
        tensors, _ = tensor_file.decode(path)
    except (tensor_file.CorruptFileError, FileNotFoundError):
        return None
    run_folder = RunFolder(path.parent)
    if not run_folder.has_spec():
        raise UserError(
            f"pretrained={config.pretrained}: there is no spec.json beside it, which says what these weights "
            "are of; name the file in its run's folder"
        )
    tokenizer_path = run_folder.tokenizer_path
    tokenizer_json = tokenizer_path.read_text(encoding="utf-8") if tokenizer_path.exists() else ""
    if config.pretrained_towers != "image" and tokenizer_json != text_tokenizer.to_json():
        raise UserError(
            f"pretrained={config.pretrained}: its text encoder was trained with another vocabulary; "
            "set pretrained_towers=image, or train on the same captions"
        )
    _reject_activation_setting(config)
    state = {
        k.removeprefix(EMBEDDER_PREFIX): v
        for k, v in tensors.items()
        if k.startswith(EMBEDDER_PREFIX)
    }
    return state, identity.config_from_spec(run_folder.read_spec()).model


def _load_part(module: nn.Module, part: str, state: dict[str, Tensor], config: RunConfig) -> None:
    part_state = _select_part(part, state)
    difference = _describe_difference(module, part_state)
    if difference is not None:
        raise UserError(
            f"pretrained={config.pretrained}: {_format_part_name(part)}'s {difference}; choose the model that the checkpoint "
            "is of"
        )
    module.load_state_dict(part_state)


def _load_heads(
    heads: Mapping[str, nn.Module], head_names: Sequence[str], state: dict[str, Tensor]
) -> LoadedParts:
    """All heads, where all of `parts` have the same keys and shapes; else why each starts anew."""
    state_by_part = {part: _select_part(part, state) for part in head_names}
    difference_by_part = {
        part: _describe_difference(heads.get(part), state_by_part[part]) for part in head_names
    }
    mismatched_part = next(
        (part for part in head_names if difference_by_part[part] is not None), None
    )
    if mismatched_part is not None:
        reason = f"only together with the {_format_part_name(mismatched_part)}"
        return {part: difference_by_part[part] or reason for part in heads}
    for part, module in heads.items():
        module.load_state_dict(state_by_part[part])
    return dict.fromkeys(heads)


def _select_part(part: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    prefix = f"{part}."
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _describe_difference(module: nn.Module | None, part_state: dict[str, Tensor]) -> str | None:
    """The first tensor that is not in both with one shape, as a phrase."""
    module_state = {} if module is None else module.state_dict()
    for key in sorted({*module_state, *part_state}):
        checkpoint_shape, module_shape = (
            tuple(tensors[key].shape) if key in tensors else "absent"
            for tensors in (part_state, module_state)
        )
        if checkpoint_shape != module_shape:
            return f"{key} is {checkpoint_shape} there and {module_shape} in model="
    return None
