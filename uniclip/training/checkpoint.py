"""Tensors and facts in one safetensors file that notices its own damage; nothing is unpickled.

A checkpoint holds what a resume needs: the state of model, method and optimiser, the best weights
so far, and as facts the step and a few counters. Random generators are not in it: each step seeds
them anew. Weights are kept in the same kind of file.

The facts and a checksum stand in the file's header under one metadata key (the order of several
is not fixed, and equal weights must be equal files).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from uniclip.errors import UserError
from uniclip.io.atomic import atomic_write
from uniclip.store import AttemptFolder

MAX_CHECKPOINTS = 2
"""Checkpoints that an attempt keeps: the newest, and one in case that one is damaged."""
METADATA_KEY = "uniclip"
OPTIMIZER_PREFIX = "optimizer."
_CHECKPOINT_NAME = re.compile(r"(\d+)\.safetensors")


class CorruptFileError(Exception):
    """A file that does not hold what was written to it."""


# ---- one file ---------------------------------------------------------------------------------


def encode(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> bytes:
    """The bytes of a file: a function of names, values and facts alone."""
    cpu_tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = json.dumps(
        {"facts": metadata, "checksum": _compute_checksum(cpu_tensors, metadata)}, sort_keys=True
    )
    data: bytes = safetensors.torch.save(cpu_tensors, {METADATA_KEY: header})
    return data


def decode(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors (on the CPU) and facts of the file at `path`.

    Raises:
        Damaged: it is no file of ours, or not as it was written.
        FileNotFoundError: there is no file.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            header = json.loads((file.metadata() or {})[METADATA_KEY])
        metadata, checksum = header["facts"], header["checksum"]
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        if not path.exists():
            raise FileNotFoundError(path) from None
        raise CorruptFileError(f"{path}: {type(error).__name__}: {error}") from None
    if _compute_checksum(tensors, metadata) != checksum:
        raise CorruptFileError(f"{path}: the checksum does not match")
    return tensors, dict(metadata)


def _compute_checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> str:
    hasher = blake2b(json.dumps(metadata, sort_keys=True).encode(), digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name]
        hasher.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        hasher.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return hasher.hexdigest()


def bundle_modules(embedder: nn.Module, method: nn.Module) -> nn.ModuleDict:
    """What a run's weights belong to: its state dict names the tensors in every file of ours."""
    return nn.ModuleDict({"embedder": embedder, "method": method})


# ---- the state of an optimiser as named tensors -----------------------------------------------


def flatten_optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state, as `optimizer.<quantity>.<parameter name>`."""
    state, names = optimizer.state_dict()["state"], _list_parameter_names(optimizer)
    return {
        f"{OPTIMIZER_PREFIX}{quantity}.{names[index]}": value
        for index, quantities in state.items()
        for quantity, value in quantities.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give `optimizer` the state that `optimizer_tensors` took; its groups stay as they are."""
    indices = {name: index for index, name in enumerate(_list_parameter_names(optimizer))}
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(OPTIMIZER_PREFIX):
            quantity, _, name = key.removeprefix(OPTIMIZER_PREFIX).partition(".")
            state.setdefault(indices[name], {})[quantity] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _list_parameter_names(optimizer: torch.optim.Optimizer) -> list[str]:
    groups = optimizer.state_dict()["param_groups"]
    return [name for group in groups for name in group["param_names"]]


# ---- the checkpoints of a run -----------------------------------------------------------------


def write_checkpoint(
    attempt: AttemptFolder, step: int, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]
) -> int:
    """Write `checkpoint/<step>.safetensors`, whole or not at all, and keep the newest; its bytes.

    Raises:
        UserError: it could not be written (a full disk); the checkpoints before it are untouched.
    """
    data = encode(tensors, metadata)
    path = attempt.checkpoints_path / f"{step}.safetensors"
    try:
        atomic_write(path, data)
    except OSError as error:
        raise UserError(
            f"checkpoint {path} could not be written ({error.strerror}); make room and run again: "
            "the run resumes from the checkpoint before it"
        ) from error
    checkpoints = list_checkpoints(attempt)
    for _, old_path in checkpoints[MAX_CHECKPOINTS:]:
        old_path.unlink(missing_ok=True)
    if len(checkpoints) >= MAX_CHECKPOINTS:
        _delete_earlier_checkpoints(attempt, step)
    return len(data)


def _delete_earlier_checkpoints(attempt: AttemptFolder, step: int) -> None:
    """Delete what attempts before this one left below `step`: nobody resumes from there any more.

    A run that is preempted fifty times has no more checkpoints than one that never was.
    """
    for number in attempt.run.list_attempts():
        if number < attempt.number:
            for earlier_step, old_path in list_checkpoints(attempt.run.get_attempt(number)):
                if earlier_step < step:
                    old_path.unlink(missing_ok=True)


def list_checkpoints(attempt: AttemptFolder) -> list[tuple[int, Path]]:
    """Step and file of each checkpoint of an attempt, newest first."""
    try:
        paths = list(attempt.checkpoints_path.iterdir())
    except FileNotFoundError:
        return []
    checkpoints = [(int(m[1]), p) for p in paths if (m := _CHECKPOINT_NAME.fullmatch(p.name))]
    return sorted(checkpoints, reverse=True)


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint."""

    path: Path
    tensors: dict[str, Tensor]
    metadata: dict[str, Any]


def load_newest_checkpoint(attempt: AttemptFolder) -> Checkpoint | None:
    """The newest whole checkpoint of the run, for `attempt` to resume from.

    Looks through the run's attempts up to this one from newest to oldest, higher steps first.
    What is damaged, or was made by other training code, is passed over with an event.
    """
    for path in _iter_candidate_paths(attempt):
        try:
            return Checkpoint(path, *decode(path))
        except FileNotFoundError:
            continue  # its owner has just replaced it by a newer one
        except CorruptFileError as error:
            attempt.log_event("checkpoint_damaged", path=str(path), error=str(error))
    return None


def _iter_candidate_paths(attempt: AttemptFolder) -> Iterator[Path]:
    current_claim = attempt.read_claim()
    for number in sorted(attempt.run.list_attempts(), reverse=True):
        if number > attempt.number:
            continue
        earlier = attempt.run.get_attempt(number)
        earlier_claim, checkpoints = earlier.read_claim(), list_checkpoints(earlier)
        if (
            checkpoints
            and current_claim
            and earlier_claim
            and earlier_claim.training_hash != current_claim.training_hash
        ):
            attempt.log_event(
                "checkpoint_of_other_code", attempt=number, training=earlier_claim.training_hash
            )
            continue
        yield from (path for _, path in checkpoints)
