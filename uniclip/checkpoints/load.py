"""The trained model of a run in a store, read back from its folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from torch import Tensor

from uniclip import identity, methods, numerics
from uniclip.checkpoints.model_input import ModelInputError
from uniclip.checkpoints.pretrained import PretrainedModel
from uniclip.checkpoints.tensor_file import CorruptFileError, bundle_modules, decode
from uniclip.config import RunConfig
from uniclip.data.text.build import read_tokenizer
from uniclip.errors import UserError
from uniclip.io.hashing import digest_file
from uniclip.models.embedder import build_embedder
from uniclip.store import RunFolder, Store

MAX_LISTED_RUNS = 5
"""Runs that an error for an ambiguous run lists."""


def load(
    run: str | Path, *, best: bool = False, store: str | Path | None = None
) -> PretrainedModel:
    """Return the trained model of a run, on the CPU, ready to embed images and texts.

    Args:
        run: A run's folder, a weights file in it, or (with `store`) a run id or an unambiguous
            prefix of one.
        best: Load the weights of the best validation instead of the final ones.
        store: The store's folder.

    Raises:
        UserError: There is no such run, it has no such weights, or a file is damaged.
        ModelInputError: `run` or `store` is no path; it is a `TypeError`.
    """
    for name, value in (("run", run), ("store", "" if store is None else store)):
        if not isinstance(value, (str, os.PathLike)):
            raise ModelInputError(
                f"{name} is of type {type(value).__name__}: give a run's folder or file, or "
                "a run id and store=<folder>"
            )
    folder, best = _find_run(run, best, store)
    if not folder.has_spec():
        raise UserError(f"{folder.path} is no run folder: it has no spec.json")
    config = identity.config_from_spec(folder.read_spec(), {"runtime": {"device": "cpu"}})
    return load_from_folder(folder, config, best=best)


def load_from_folder(run: RunFolder, config: RunConfig, *, best: bool = False) -> PretrainedModel:
    """Return the trained model of `run`, whose configuration is `config`, on `runtime.device`.

    Raises:
        UserError: Weights or tokenizer are missing or damaged, or do not fit `config`.
    """
    path = run.best_weights_path if best else run.weights_path
    for required_path in (path, run.tokenizer_path):
        if not required_path.exists():
            raise UserError(f"{required_path} is missing: the run is not trained to its end")
    tensors, metadata = decode_weights(path)
    if digest_file(run.tokenizer_path) != metadata["tokenizer"]:
        raise UserError(
            f"{run.tokenizer_path} is damaged: it is not what {path.name} was trained with"
        )
    tokenizer = read_tokenizer(run.tokenizer_path.read_text(encoding="utf-8"))
    method = methods.build_method(config)
    embedder = build_embedder(config, tokenizer, method.head_type)
    method.build_heads(embedder, tokenizer, config.seed)
    modules = bundle_modules(embedder, method)
    try:
        modules.load_state_dict(tensors)
    except RuntimeError:
        raise UserError(f"{path} does not fit the configuration in spec.json beside it") from None
    modules.to(numerics.get_device(config.runtime.device))
    return PretrainedModel(embedder, method, tokenizer, config)


def decode_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors and metadata of a weights file in a run's folder.

    Raises:
        UserError: The file is damaged.
    """
    try:
        return decode(path)
    except CorruptFileError as error:
        raise UserError(
            f"{error}; the file is damaged: move the run's folder away and run again"
        ) from None


def _find_run(run: str | Path, best: bool, store: str | Path | None) -> tuple[RunFolder, bool]:
    """Return the folder of the run that `run` names, and whether the best weights are meant."""
    path = Path(run).expanduser()
    if store is not None:
        store_path = Path(store).expanduser()
        if not store_path.is_dir():
            raise UserError(f"there is no store {store_path}")
        matches = [r for r in Store(store_path).iter_runs() if r.id.startswith(str(run))]
        if len(matches) == 1:
            return matches[0], best
        ids = ", ".join(r.id for r in matches[:MAX_LISTED_RUNS]) or "none"
        more = f" and {len(matches) - MAX_LISTED_RUNS} more" * (len(matches) > MAX_LISTED_RUNS)
        raise UserError(f"run {str(run)!r} must name one run of store {store}; it fits {ids}{more}")
    if path.is_file():
        return RunFolder(path.resolve().parent), best or path.name == "best.safetensors"
    if path.is_dir():
        return RunFolder(path.resolve()), best
    raise UserError(f"no run at {path}; give a run's folder, or a run id and store=")
