"""Initial weights: `pretrained` names a whole model, other keys the weights of one encoder.

A whole model is published, or was written by a run. Both encoders load their weights from it, or
one of them (`pretrained_towers`); heads are loaded too if their shapes agree. Settings that shapes
do not determine (activations, attention heads, epsilons, normalization) must agree with the
checkpoint; where the file does not state the activation, `pretrained_activation` must.
`load_pretrained` returns which parts were loaded; temperatures and SigLIP's bias are never loaded,
they start at `method.temperature` and `method.bias`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Union

from uniclip.checkpoints import weight_files
from uniclip.checkpoints.image_agreement import check_image_encoder, describe_difference
from uniclip.config import CLIP_VOCAB_SIZE, ModelConfig, RunConfig, TextConfig
from uniclip.errors import UserError

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


def load_pretrained(
    embedder: Embedder, config: RunConfig, text_tokenizer: Tokenizer
) -> LoadedParts:
    """Load the weights that a configuration names into the embedder.

    Returns:
        The parts of the embedder, loaded or not; empty if no weights are named.

    Raises:
        UserError: Weights cannot be imported, an encoder is not the configured one, or nothing
            states the activation with which it was trained.
        DataChangedError: A file is not that of `weight_files.require_fingerprint`, or was changed
            while it was read.
    """
    loaded_parts: LoadedParts = {}
    from uniclip.checkpoints import tower_weights

    with weight_files.read_steadily(config):
        if config.pretrained is not None:
            loaded_parts = _load_whole_model(embedder, config, text_tokenizer)
        if config.model.image.weights_source is not None:
            tower_weights.load_image_weights(embedder.image_encoder, config.model.image)
            loaded_parts["image_encoder"] = None
        if config.model.text.pretrained:
            tower_weights.load_text_weights(embedder.text_encoder, config.model.text)
            loaded_parts["text_encoder"] = None
    return loaded_parts


def _load_whole_model(
    embedder: Embedder, config: RunConfig, text_tokenizer: Tokenizer
) -> LoadedParts:
    """Load the encoders of `config.pretrained`, and heads whose shapes agree."""
    assert config.pretrained is not None
    path = config.pretrained
    state, checkpoint_config = _read_run_weights(
        path, text_tokenizer, config.pretrained_towers, config.pretrained_activation
    ) or _read_published(path, text_tokenizer, config)
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


def describe_loaded_parts(config: RunConfig, loaded_parts: LoadedParts) -> str:
    """Return one line on what was loaded from where, and what was not and why."""
    image, text = config.model.image, config.model.text
    sources = {
        f"pretrained={config.pretrained}": config.pretrained is not None,
        f"model.image.pretrained={image.pretrained}": image.weights_source is not None,
        f"model.text.folder={text.folder}": text.pretrained,
    }
    loaded_names = ", ".join(
        _format_part_name(part) for part, reason in loaded_parts.items() if reason is None
    )
    initialized_parts = [
        f"{_format_part_name(part)} ({reason})"
        for part, reason in loaded_parts.items()
        if reason is not None
    ]
    source = ", ".join(source for source, is_used in sources.items() if is_used)
    return f"{source}: loaded {loaded_names}; newly initialized: " + ", ".join(
        [*initialized_parts, "the temperature (set by method.temperature)"]
    )


def _format_part_name(part: str) -> str:
    return part.replace("_", " ")


# ---- reading ---------------------------------------------------------------------------------


def _read_published(path: str, text_tokenizer: Tokenizer, config: RunConfig) -> WeightsAndConfig:
    from uniclip.checkpoints import published

    source = weight_files.find_pretrained(path)
    if not source.is_dir():
        return _read_published_file(path, text_tokenizer, config)
    weights, folder_tokenizer = published.read_folder(source)
    if config.pretrained_towers != "image":
        problem = describe_other_vocabulary(source, folder_tokenizer, text_tokenizer)
        if problem is not None:
            raise UserError(f"pretrained={path}: {problem}")
    _reject_activation_setting(path, config.pretrained_activation)
    return weights.state_dict, weights.model


def describe_other_vocabulary(
    folder: Path, folder_tokenizer: Tokenizer, text_tokenizer: Tokenizer | None
) -> str | None:
    """Return what to set if a text encoder's vocabulary is not a folder's; None if it is.

    Args:
        folder: Folder of a model.
        folder_tokenizer: The model's tokenizer.
        text_tokenizer: That of the text encoder; None if it is trained on the captions.
    """
    if text_tokenizer is not None and _are_equal(folder_tokenizer, text_tokenizer):
        return None
    remedy = (
        f"model.text.tokenizer=clip and model.text.vocab_size={CLIP_VOCAB_SIZE}"
        if folder_tokenizer.is_clip
        else f"model.text.folder={folder}"
    )
    return f"its text encoder has another vocabulary: set {remedy}, or pretrained_towers=image"


def _are_equal(one: Tokenizer, other: Tokenizer) -> bool:
    """Return whether two tokenizers give the same ids: CLIP's files differ in their format."""
    is_published_clip = other.is_clip and one.vocab_size == CLIP_VOCAB_SIZE
    return is_published_clip or one.to_json() == other.to_json()


def _read_published_file(
    path: str, text_tokenizer: Tokenizer, config: RunConfig
) -> WeightsAndConfig:
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

    source = weight_files.find_pretrained(path)
    if source.suffix != ".safetensors":
        return None
    try:
        tensors, _ = tensor_file.decode(source)
    except (tensor_file.CorruptFileError, FileNotFoundError):
        return None
    run_folder = RunFolder(source.parent)
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
    loads_text = config.pretrained_towers != "image"
    if loads_text and not _have_equal_names(checkpoint_config.text, config.model.text):
        name = checkpoint_config.text.name
        raise UserError(
            f"pretrained={config.pretrained}: its text encoder is model.text.name={name} with "
            "other options: set model.text.folder to the folder of transformers that defines it"
        )
    for field in TEXT_FIELDS_NOT_IN_SHAPES if loads_text else ():
        checkpoint_value = getattr(checkpoint_config.text, field)
        model_value = getattr(config.model.text, field)
        if checkpoint_value != model_value:
            raise UserError(
                f"pretrained={config.pretrained}: its text encoder has {field}={checkpoint_value}: "
                f"set model.text.{field}={checkpoint_value}, not {model_value}"
            )
    if config.pretrained_towers != "text":
        try:
            check_image_encoder(embedder.image_encoder, config.model.image, checkpoint_config.image)
        except UserError as error:
            raise UserError(f"pretrained={config.pretrained}: {error}") from None


def _have_equal_names(checkpoint_text: TextConfig, text: TextConfig) -> bool:
    return (checkpoint_text.name, checkpoint_text.options) == (text.name, text.options)


# ---- loading ---------------------------------------------------------------------------------


def _load_part(module: nn.Module, part: str, state: dict[str, Tensor], path: str) -> None:
    part_state = _select_part(part, state)
    difference = describe_difference(module, part_state)
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
        part: describe_difference(heads.get(part), state_by_part[part]) for part in head_names
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
