"""Checks of encoders and optimizers when a sweep is planned, before a worker builds them."""

from __future__ import annotations

from collections.abc import Mapping

from uniclip.checkpoints import pretrained_folder
from uniclip.config import RunConfig, optimizer, text_model
from uniclip.config.binding import to_builtins
from uniclip.config.image_model import describe_missing_patches, query_image_model
from uniclip.config.schema import DEFAULT_OPTIMIZER
from uniclip.errors import UserError


def check_image_models(configs: Mapping[str, RunConfig]) -> None:
    """Check that timm has the image encoder of every arm, and that options and size suit it.

    Args:
        configs: arm -> its configuration.

    Raises:
        UserError: one of them cannot be built, or gradient caching, activation checkpointing or
            patch dropout does not suit it.
    """
    for arm, config in configs.items():
        image, train = config.model.image, config.train
        needs_no_batch_norm = train.grad_cache_chunks > 1 or train.activation_checkpointing
        facts = query_image_model(
            image.name,
            image.options,
            image.image_size,
            asks_always=needs_no_batch_norm or train.patch_drop_rate > 0,
        )
        if facts.error is not None:
            raise UserError(facts.error if len(configs) == 1 else f"arm {arm}: {facts.error}")
        if train.patch_drop_rate > 0 and facts.is_known and not facts.has_patch_tokens:
            raise UserError(describe_missing_patches(image.name))
        if facts.has_batch_norm and needs_no_batch_norm and config.lock not in ("image", "both"):
            raise _make_batch_norm_error(config)


def _make_batch_norm_error(config: RunConfig) -> UserError:
    chunks, name = config.train.grad_cache_chunks, config.model.image.name
    if chunks > 1:
        return UserError(
            f"train.grad_cache_chunks={chunks} needs encoders without batch norm, whose "
            f"statistics would be those of chunks; model.image.name={name} has it: set "
            "train.grad_cache_chunks=1, or choose another encoder"
        )
    return UserError(
        "train.activation_checkpointing=true needs encoders without batch norm, whose running "
        f"statistics would count each batch twice; model.image.name={name} has it: leave the key "
        "out, or choose another encoder"
    )


def check_text_models(configs: Mapping[str, RunConfig]) -> None:
    """Check that transformers has the text encoder of every arm, and that options suit it.

    Args:
        configs: arm -> its configuration.

    Raises:
        UserError: one of them cannot be built.
    """
    for arm, config in configs.items():
        text = config.model.text
        problem = None if text.is_clip else text_model.describe_problem(to_builtins(text))
        if problem is not None:
            raise UserError(problem if len(configs) == 1 else f"arm {arm}: {problem}")


def check_pretrained_models(configs: Mapping[str, RunConfig]) -> None:
    """Check that the encoders of every arm are those of the folder that `pretrained` names.

    A folder of transformers is checked; other models are when their weights are read.

    Args:
        configs: arm -> its configuration.

    Raises:
        UserError: one of them is not, or there is no such folder or file.
    """
    for arm, config in configs.items():
        problem = pretrained_folder.describe_problem(config)
        if problem is not None:
            raise UserError(problem if len(configs) == 1 else f"arm {arm}: {problem}")


def check_optimizers(configs: Mapping[str, RunConfig]) -> None:
    """Check that training can use the optimizer of every arm, with its options.

    Args:
        configs: arm -> its configuration.

    Raises:
        UserError: timm has no such optimizer, or it is not supported with these options.
    """
    for arm, config in configs.items():
        train = config.train
        if train.optimizer == DEFAULT_OPTIMIZER and not train.optimizer_options:
            continue
        problem = optimizer.describe_problem(train.optimizer, train.optimizer_options)
        if problem is not None:
            raise UserError(problem if len(configs) == 1 else f"arm {arm}: {problem}")


def describe_image_sizes(configs: Mapping[str, RunConfig]) -> tuple[str, ...]:
    """Return a sentence on the sizes of the images and of the encoder's input, for each pair."""
    sentences: dict[str, None] = {}
    for config in configs.values():
        source_size, image = config.data.image_size, config.model.image
        sentence = f"images of {source_size} px; {image.name} takes {image.image_size} px"
        if source_size < image.image_size:
            sentence += (
                f": all are enlarged, data.image_size={image.image_size} would keep their detail"
            )
        sentences[sentence] = None
    return tuple(sentences)
