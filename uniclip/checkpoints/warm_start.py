"""Initial weights from a checkpoint: `pretrained` names a file, published or written by a run.

Both encoders load their weights from the checkpoint, or one of them (`pretrained_towers`); heads
are loaded too if their shapes agree. Settings that shapes do not determine (activations, attention
heads, epsilons, normalization) must agree with the checkpoint; where the file does not state the
activation, `pretrained_activation` must. The digest of the file is part of the run's id, its path
is not. `load_pretrained` returns which parts were loaded; temperatures are never loaded, they start
at `method.temperature`. Nothing here imports torch before training starts: planning needs digests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Union

from uniclip.config import CLIP_VOCAB_SIZE, ImageConfig, ModelConfig, RunConfig
from uniclip.errors import CHANGED_DATA_ADVICE, DataChangedError, UserError
from uniclip.io import file_digests

if TYPE_CHECKING:
    from torch import Tensor, nn

    from uniclip.data.text.tokenizer import Tokenizer
    from uniclip.models.embedder import Embedder

    WeightsAndConfig = tuple[dict[str, Tensor], ModelConfig]
    """Weights by the keys of the embedder, and the configuration of their model."""

LoadedParts = dict[str, Union[str, None]]
"""Part of the embedder -> why it was not loaded from `pretrained`; None for a loaded part."""

EMBEDDER_PREFIX = "embedder."
"""Prefix of the embedder's keys in a run's weights (`uniclip.checkpoints.tensor_file`)."""
TEXT_FIELDS_NOT_IN_SHAPES = ("heads", "activation", "layer_norm_eps")
"""Fields of `TextConfig` that the shapes of the weights do not determine."""
HEADS_BY_TOWER = {"image": ("augmentation_encoder", "image_head"), "text": ("text_head",)}
"""Tower -> parts that were trained with one another, and are loaded together or not at all."""


def fingerprint(pretrained: str | None) -> dict[str, str]:
    """Return what `pretrained` adds to the fingerprint of the data: the digest of the file.

    Returns:
        An empty dictionary if `pretrained` is None.

    Raises:
        UserError: There is no such file.
    """
    if pretrained is None:
        return {}
    path = Path(pretrained)
    try:
        if not path.is_file():
            raise OSError
        (content_digest,) = file_digests.digest_files(
            [path], file_digests.name_memo("pretrained", path.resolve())
        )
    except OSError:
        raise UserError(f"pretrained={pretrained}: no such file") from None
    return {"pretrained": content_digest}


def check_unchanged(pretrained: str | None, planned_fingerprint: Mapping[str, object]) -> None:
    """Raise `DataChangedError` if the file at `pretrained` has changed since the run was planned.

    Args:
        pretrained: Path of the checkpoint, or None.
        planned_fingerprint: The fingerprint in the run's spec.
    """
    try:
        content_digest = fingerprint(pretrained).get("pretrained")
    except UserError as error:
        raise DataChangedError(str(error)) from None
    if content_digest != planned_fingerprint.get("pretrained"):
        raise DataChangedError(
            f"pretrained={pretrained} has changed since the plan; {CHANGED_DATA_ADVICE}"
        )


_planned_digest: ContextVar[str | None] = ContextVar("planned_digest", default=None)


@contextmanager
def require_fingerprint(planned_fingerprint: Mapping[str, object]) -> Iterator[None]:
    """Context in which `load_pretrained` loads only the file that was planned.

    Args:
        planned_fingerprint: The fingerprint in the run's spec.
    """
    planned_digest = planned_fingerprint.get("pretrained")
    token = _planned_digest.set(None if planned_digest is None else str(planned_digest))
    try:
        yield
    finally:
        _planned_digest.reset(token)


def select_data_fingerprint(planned_fingerprint: Mapping[str, object]) -> dict[str, object]:
    """Return the fingerprint of a run's data without what `pretrained` adds to it."""
    return {name: value for name, value in planned_fingerprint.items() if name != "pretrained"}


def load_pretrained(
    embedder: Embedder, config: RunConfig, text_tokenizer: Tokenizer
) -> LoadedParts:
    """Load the weights that `config.pretrained` names into the embedder.

    Returns:
        The parts of the embedder, loaded or not; empty if `config.pretrained` is None.

    Raises:
        UserError: The file cannot be imported, one of its encoders is not the configured one, or
            nothing states the activation with which it was trained.
        DataChangedError: The file is not that of `require_fingerprint`, or was changed while it
            was read.
    """
    if config.pretrained is None:
        return {}
    path = config.pretrained
    planned_digest = _planned_digest.get()
    if planned_digest is not None:
        check_unchanged(path, {"pretrained": planned_digest})
    signature = file_digests.read_signature(Path(path))
    state, checkpoint_config = _read_run_weights(
        path, text_tokenizer, config.pretrained_towers, config.pretrained_activation
    ) or _read_published(path, text_tokenizer, config)
    if file_digests.read_signature(Path(path)) != signature:
        raise DataChangedError(
            f"pretrained={path} was changed while it was read; {CHANGED_DATA_ADVICE}"
        )
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
            _load_part(getattr(embedder, encoder_name), encoder_name, state, path)
            loaded_parts |= {encoder_name: None, **_load_heads(heads, head_names, state)}
        else:
            loaded_parts |= dict.fromkeys(
                (encoder_name, *heads), f"pretrained_towers={config.pretrained_towers}"
            )
    return loaded_parts


def describe_loaded_parts(pretrained: str, loaded_parts: LoadedParts) -> str:
    """Return one line on what was loaded from `pretrained`, and what was not and why."""
    loaded_names = ", ".join(
        _format_part_name(part) for part, reason in loaded_parts.items() if reason is None
    )
    initialized_parts = [
        f"{_format_part_name(part)} ({reason})"
        for part, reason in loaded_parts.items()
        if reason is not None
    ]
    return f"pretrained={pretrained}: loaded {loaded_names}; newly initialized: " + ", ".join(
        [*initialized_parts, "the temperature (set by method.temperature)"]
    )


def _format_part_name(part: str) -> str:
    return part.replace("_", " ")


# ---- reading ---------------------------------------------------------------------------------


def _read_published(path: str, text_tokenizer: Tokenizer, config: RunConfig) -> WeightsAndConfig:
    from uniclip.checkpoints import importing
    from uniclip.data.text import tokenizer

    loads_text_encoder = config.pretrained_towers != "image"
    if loads_text_encoder and not text_tokenizer.is_clip:
        raise UserError(
            "pretrained= has a text encoder for CLIP's vocabulary: set model.text.tokenizer=clip "
            f"and model.text.vocab_size={CLIP_VOCAB_SIZE}, or pretrained_towers=image"
        )
    clip_tokenizer = text_tokenizer if text_tokenizer.is_clip else tokenizer.load_clip_tokenizer()
    activation = config.pretrained_activation
    weights = importing.read_weights(
        Path(path),
        clip_tokenizer,
        allow_torchscript=config.allow_torchscript,
        quick_gelu=None if activation is None else activation == "quick_gelu",
    )
    has_transformer = loads_text_encoder or weights.model.image.name.startswith("vit_")
    activation_is_needed = has_transformer and not weights.activation_is_known
    if activation_is_needed and activation is None:
        raise UserError(
            f"pretrained={path} does not state with which activation it was trained: set "
            "pretrained_activation=gelu (open_clip's default) or "
            "pretrained_activation=quick_gelu (OpenAI's)"
        )
    if not activation_is_needed:
        _reject_activation_setting(path, activation)
    return weights.state_dict, weights.model


def _read_run_weights(
    path: str, text_tokenizer: Tokenizer, towers: str, activation: str | None
) -> WeightsAndConfig | None:
    """Return the weights of a run, or None if the file is not the weights file of a run."""
    from uniclip import identity
    from uniclip.checkpoints import tensor_file
    from uniclip.store import RunFolder

    if Path(path).suffix != ".safetensors":
        return None
    try:
        tensors, _ = tensor_file.decode(Path(path))
    except (tensor_file.CorruptFileError, FileNotFoundError):
        return None
    run_folder = RunFolder(Path(path).parent)
    if not run_folder.has_spec():
        raise UserError(
            f"pretrained={path}: there is no spec.json beside it, which describes the model; name "
            "the file in the folder of its run"
        )
    tokenizer_path = run_folder.tokenizer_path
    tokenizer_json = tokenizer_path.read_text(encoding="utf-8") if tokenizer_path.exists() else ""
    if towers != "image" and tokenizer_json != text_tokenizer.to_json():
        raise UserError(
            f"pretrained={path}: its text encoder was trained with another vocabulary; "
            "set pretrained_towers=image, or train on the same captions"
        )
    _reject_activation_setting(path, activation)
    state = {
        k.removeprefix(EMBEDDER_PREFIX): v
        for k, v in tensors.items()
        if k.startswith(EMBEDDER_PREFIX)
    }
    return state, identity.config_from_spec(run_folder.read_spec()).model


def _reject_activation_setting(path: str, activation: str | None) -> None:
    if activation is not None:
        raise UserError(
            f"pretrained_activation={activation} is only for files that need an activation and do "
            f"not state it, and pretrained={path} is not one: leave it out"
        )


# ---- settings that shapes do not determine ---------------------------------------------------


def _check_settings_not_in_shapes(
    embedder: Embedder, config: RunConfig, checkpoint_config: ModelConfig
) -> None:
    """Raise `UserError` if an encoder fits the checkpoint's weights but computes something else."""
    import torch

    from uniclip.models.encoders import ImageEncoder, get_normalization

    for field in TEXT_FIELDS_NOT_IN_SHAPES if config.pretrained_towers != "image" else ():
        checkpoint_value = getattr(checkpoint_config.text, field)
        model_value = getattr(config.model.text, field)
        if checkpoint_value != model_value:
            raise UserError(
                f"pretrained={config.pretrained}: its text encoder has {field}={checkpoint_value}: "
                f"set model.text.{field}={checkpoint_value}, not {model_value}"
            )
    if config.pretrained_towers == "text":
        return
    with torch.device("meta"):
        encoder = ImageEncoder(checkpoint_config.image)
    _check_normalization(
        get_normalization(encoder.body),
        get_normalization(embedder.image_encoder.body),
        config.model.image,
        str(config.pretrained),
    )
    checkpoint_settings = _collect_settings_not_in_shapes(encoder)
    model_settings = _collect_settings_not_in_shapes(embedder.image_encoder)
    for key in checkpoint_settings.keys() & model_settings.keys():
        if checkpoint_settings[key] != model_settings[key]:
            image = checkpoint_config.image
            raise UserError(
                f"pretrained={config.pretrained}: its image encoder's {key} is "
                f"{checkpoint_settings[key]}, not {model_settings[key]}: choose a timm model and "
                f"options with this setting, such as model.image.name={image.name} with "
                f"model.image.options={image.options}"
            )


def _check_normalization(
    checkpoint_stats: Mapping[str, Sequence[float]],
    model_stats: Mapping[str, Sequence[float]],
    image: ImageConfig,
    path: str,
) -> None:
    """Raise `UserError` if the image encoder normalizes pixels by another mean and deviation."""
    if model_stats == checkpoint_stats:
        return
    overlay = "pretrained_cfg_overlay"
    key = f"model.image.options.{overlay}"
    required_stats = {k: _format_list(v) for k, v in checkpoint_stats.items()}
    if image.options.get(overlay):  # a section has its keys set one by one
        settings = [f"{key}.{name}={values}" for name, values in required_stats.items()]
    else:
        section = ",".join(f"{name}:{values}" for name, values in required_stats.items())
        settings = [f"{key}={{{section}}}"]
    raise UserError(
        f"pretrained={path}: the pixels of its image encoder have mean "
        f"{required_stats['mean']} and deviation {required_stats['std']}, not "
        f"{_format_list(model_stats['mean'])} and {_format_list(model_stats['std'])}: set "
        + " ".join(map(repr, settings))
    )


def _format_list(values: Sequence[float]) -> str:
    """Return a list as the command line accepts it."""
    return f"[{','.join(map(str, values))}]"


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


# ---- loading ---------------------------------------------------------------------------------


def _load_part(module: nn.Module, part: str, state: dict[str, Tensor], path: str) -> None:
    part_state = _select_part(part, state)
    difference = _describe_difference(module, part_state)
    if difference is not None:
        raise UserError(
            f"pretrained={path}: {_format_part_name(part)}'s {difference}; choose the model of the "
            "checkpoint"
        )
    module.load_state_dict(part_state)


def _load_heads(
    heads: Mapping[str, nn.Module], head_names: Sequence[str], state: dict[str, Tensor]
) -> LoadedParts:
    """Load all heads if all of `head_names` agree in keys and shapes; else say why not."""
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
