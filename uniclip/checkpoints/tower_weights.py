"""Initial weights of one encoder from its own library: a file of timm, a folder of transformers."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from uniclip.checkpoints import weight_files
from uniclip.checkpoints.read import read_checkpoint
from uniclip.config import ImageConfig, TextConfig, text_model
from uniclip.errors import UserError
from uniclip.io.atomic import JSON_ERRORS, parse_json
from uniclip.models.encoders import ImageEncoder, create_timm_model, get_normalization
from uniclip.models.text_encoder import extract_encoder, find_model_class


def load_image_weights(encoder: ImageEncoder, image: ImageConfig) -> Path:
    """Load the weights that `model.image.pretrained` names as timm does, and return their file.

    timm renames keys of other formats, leaves out the classifier, and resizes positions to the
    input size. Weights that are missing or left over are an error.

    Raises:
        UserError: There is no such file, it is damaged, or it is of another model.
    """
    path = weight_files.find_image_weights(image)
    key = f"{weight_files.IMAGE_KEY}={path}"
    _check_data_configuration(encoder, path, key)
    state = _convert_image_weights(read_checkpoint(path).tensors, image, key)
    _load(encoder.body, state, f"{key} is not of model.image.name={image.name}")
    return path


def load_text_weights(encoder: nn.Module, text: TextConfig) -> Path:
    """Load the weights in `model.text.folder` as transformers does, and return the folder.

    Raises:
        UserError: The folder has no weights, or they are of another model.
    """
    assert text.folder is not None
    folder = text_model.find_folder(text.folder)
    key = f"{text_model.FOLDER_KEY}={text.folder}"
    for path in weight_files.find_weight_files(folder, text_model.FOLDER_KEY):
        if path.suffix != ".safetensors":  # fails unless it holds tensors alone
            read_checkpoint(path)
    body: Any = encoder.body
    model_class = find_model_class(body.config, text.name)
    try:
        with torch.random.fork_rng(devices=[]), _silence_transformers():
            model, report = model_class.from_pretrained(
                folder, local_files_only=True, dtype=torch.float32, output_loading_info=True,
                config=body.config, attn_implementation=body.config._attn_implementation,
            )  # fmt: skip
    except Exception as error:  # the library checks what it reads in many ways
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{key} cannot be loaded as model.text.name={text.name}: {reason}"
        ) from None
    state = extract_encoder(model).state_dict()
    expected = body.state_dict().keys()
    missing = sorted(
        k for k in report["missing_keys"] if k.removeprefix("encoder.") in expected or k in expected
    )
    if missing:
        raise UserError(f"{key}: its weights lack {missing[0]} and {len(missing) - 1} more")
    _load(body, {k: v for k, v in state.items() if k in expected}, key)
    return folder


def _load(body: nn.Module, state: dict[str, Tensor], subject: str) -> None:
    own_state = body.state_dict()
    for key in sorted({*state, *own_state}):
        shapes = [tuple(s[key].shape) if key in s else "absent" for s in (state, own_state)]
        if shapes[0] != shapes[1]:
            raise UserError(f"{subject}: {key} is {shapes[0]} there and {shapes[1]} in the model")
    body.load_state_dict(state)


def _convert_image_weights(
    tensors: dict[str, Tensor], image: ImageConfig, key: str
) -> dict[str, Tensor]:
    """Return tensors as timm loads them into a model, without its classifier."""
    cfg = timm.get_pretrained_cfg(image.name)
    classifiers = (cfg.classifier if cfg is not None else None) or ()
    prefixes = tuple(
        f"{c}." for c in ([classifiers] if isinstance(classifiers, str) else classifiers)
    )
    state = {k: v for k, v in tensors.items() if not k.startswith(prefixes)}
    overlay = dict(image.options.get("pretrained_cfg_overlay") or {})
    complete = {"state_dict": state, "num_classes": 0, "classifier": None, "file": None}
    try:
        return _load_with_timm(image, {**overlay, **complete})
    except RuntimeError as error:
        if not _lists_classifier_only(str(error), prefixes):
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"{key} is not of model.image.name={image.name}: {reason}") from None
    # A filter of timm gave the classifier its name, by which timm leaves it out.
    return _load_with_timm(image, {**overlay, "state_dict": tensors, "file": None})


def _load_with_timm(image: ImageConfig, overlay: dict[str, Any]) -> dict[str, Tensor]:
    logger = logging.getLogger("timm")
    level = logger.level
    logger.setLevel(logging.ERROR)
    options = {**image.options, "pretrained_cfg_overlay": overlay}
    try:
        with torch.random.fork_rng(devices=[]):
            body = create_timm_model(replace(image, options=options), pretrained=True)
    finally:
        logger.setLevel(level)
    return dict(body.state_dict())


def _lists_classifier_only(message: str, prefixes: tuple[str, ...]) -> bool:
    """Return whether torch's error names only keys of a classifier, as left over."""
    unexpected = re.search(
        r"Unexpected key\(s\) in state_dict: (.*?)\.\s", f"{message} ", re.DOTALL
    )
    if unexpected is None or "Missing key" in message or "size mismatch" in message:
        return False
    keys = re.findall(r'"([^"]+)"', unexpected[1])
    return bool(prefixes) and all(key.startswith(prefixes) for key in keys)


def _check_data_configuration(encoder: ImageEncoder, path: Path, key: str) -> None:
    """Raise `UserError` if the `config.json` beside the weights states another normalization."""
    try:
        content = parse_json((path.parent / "config.json").read_text(encoding="utf-8"))
        stated = content["pretrained_cfg"]
        names = {name: tuple(stated[name]) for name in ("mean", "std") if name in stated}
    except (OSError, *JSON_ERRORS, KeyError, TypeError):
        return
    model_values = get_normalization(encoder.body)
    for name, values in names.items():
        if values != tuple(model_values[name]):
            listed = ",".join(map(str, values))
            raise UserError(
                f"{key}: its {name} of pixels is [{listed}]: set "
                f"'model.image.options.pretrained_cfg_overlay={{{name}:[{listed}]}}'"
            )


@contextmanager
def _silence_transformers() -> Iterator[None]:
    """Context without the progress bars and reports of transformers, as errors are raised here."""
    from transformers.utils import logging as library_logging

    level, shows_progress = (
        library_logging.get_verbosity(),
        library_logging.is_progress_bar_enabled(),
    )
    library_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    library_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        library_logging.set_verbosity(level)
        if shows_progress:
            library_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
