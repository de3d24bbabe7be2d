"""A model that is evaluated from the command line: a run of a store, or a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uniclip.errors import UserError
from uniclip.io.hashing import digest_file
from uniclip.store import RunFolder, Store

if TYPE_CHECKING:
    from uniclip.checkpoints.pretrained import PretrainedModel

DEFAULT_STORE = "store"
ASSUMED_GELU_MESSAGE = (
    "the activation is assumed to be GELU; set quick_gelu=true if the model was trained with that"
)


@dataclass(frozen=True)
class LoadedModel:
    """A model, the hash of its weights, and the default cache of its embeddings."""

    pretrained: PretrainedModel
    weights_hash: str
    """With the activation, where that is an argument."""
    cache_dir: Path | None
    run: RunFolder | None = None
    """The run, whose training data are known; None for a checkpoint."""
    activation_warning: str = ""
    """An assumption about what the checkpoint does not state, if any."""


def load_model(name: str, arguments: Mapping[str, Any]) -> LoadedModel:
    """Load a model.

    Args:
        name: A run's folder or id, a weights file, or a checkpoint.
        arguments: Those of the command: `store`, `allow_torchscript` and `quick_gelu` count.

    Raises:
        UserError: There is no such run or checkpoint, or it cannot be loaded.
    """
    import torch

    from uniclip import numerics
    from uniclip.checkpoints import importing
    from uniclip.checkpoints.load import load

    path = find_run(name, arguments.get("store"))
    if path.is_dir() or (path.parent / "spec.json").exists():
        if "quick_gelu" in arguments:
            raise UserError("quick_gelu= is for checkpoints: a run states its activation")
        pretrained = load(path)
        # Without it a score differs from the sweep's in the last digit.
        numerics.apply(pretrained.config.train.num_threads)
        folder = RunFolder(path.resolve() if path.is_dir() else path.resolve().parent)
        weights_path = folder.weights_path if path.is_dir() else path
        is_in_store = folder.path.parent.name == "runs"
        return LoadedModel(
            pretrained,
            digest_file(weights_path),
            folder.cache_path if is_in_store else None,
            folder,
        )
    numerics.apply(torch.get_num_threads())  # exact: fine-tuning is resumed to the bit
    quick_gelu = arguments.get("quick_gelu")
    pretrained = importing.load_model(
        path,
        allow_torchscript=arguments.get("allow_torchscript", False),
        quick_gelu=quick_gelu,
    )
    activation = pretrained.config.model.text.activation
    warning = ASSUMED_GELU_MESSAGE if quick_gelu is None and activation == "gelu" else ""
    return LoadedModel(pretrained, f"{digest_file(path)} {activation}", None, None, warning)


def find_run(run_id_or_path: str, store: object) -> Path:
    """Return a path, or the folder of the only run of the store whose id has that prefix.

    Where a store is named, ids precede paths.
    """
    if store is None and Path(run_id_or_path).exists():
        return Path(run_id_or_path)
    store_path = DEFAULT_STORE if store is None else str(store)
    matching_paths = [
        r.path for r in Store(store_path).iter_runs() if r.id.startswith(run_id_or_path)
    ]
    if len(matching_paths) == 1:
        return matching_paths[0]
    if matching_paths or (store is not None and not Path(run_id_or_path).exists()):
        ids = ", ".join(path.name for path in matching_paths) or "none"
        raise UserError(
            f"run {run_id_or_path!r} must match one run of store={store_path}; it matches {ids}"
        )
    return Path(run_id_or_path)
