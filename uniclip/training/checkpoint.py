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
from uniclip.io.atomic import replace
from uniclip.store import AttemptFolder

KEPT = 2
"""Checkpoints that an attempt keeps: the newest, and one in case that one is damaged."""
METADATA = "uniclip"
OPTIMIZER = "optimizer."
_NAME = re.compile(r"(\d+)\.safetensors")


class Damaged(Exception):
    """A file that does not hold what was written to it."""


# ---- one file ---------------------------------------------------------------------------------


def encode(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> bytes:
    """The bytes of a file: a function of names, values and facts alone."""
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = json.dumps({"facts": facts, "checksum": _checksum(whole, facts)}, sort_keys=True)
    data: bytes = safetensors.torch.save(whole, {METADATA: header})
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
            header = json.loads((file.metadata() or {})[METADATA])
        facts, checksum = header["facts"], header["checksum"]
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        if not path.exists():
            raise FileNotFoundError(path) from None
        raise Damaged(f"{path}: {type(error).__name__}: {error}") from None
    if _checksum(tensors, facts) != checksum:
        raise Damaged(f"{path}: the checksum does not match")
    return tensors, dict(facts)


def _checksum(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> str:
    summed = blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name]
        summed.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        summed.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return summed.hexdigest()


def bundle(embedder: nn.Module, method: nn.Module) -> nn.ModuleDict:
    """What a run's weights belong to: its state dict names the tensors in every file of ours."""
    return nn.ModuleDict({"embedder": embedder, "method": method})


# ---- the state of an optimiser as named tensors -----------------------------------------------


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state, as `optimizer.<quantity>.<parameter name>`."""
    state, names = optimizer.state_dict()["state"], _parameter_names(optimizer)
    return {
        f"{OPTIMIZER}{quantity}.{names[index]}": value
        for index, quantities in state.items()
        for quantity, value in quantities.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give `optimizer` the state that `optimizer_tensors` took; its groups stay as they are."""
    indices = {name: index for index, name in enumerate(_parameter_names(optimizer))}
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(OPTIMIZER):
            quantity, _, name = key.removeprefix(OPTIMIZER).partition(".")
            state.setdefault(indices[name], {})[quantity] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _parameter_names(optimizer: torch.optim.Optimizer) -> list[str]:
    groups = optimizer.state_dict()["param_groups"]
    return [name for group in groups for name in group["param_names"]]


# ---- the checkpoints of a run -----------------------------------------------------------------


def write(
    attempt: AttemptFolder, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]
) -> int:
    """Write `checkpoint/<step>.safetensors`, whole or not at all, and keep the newest; its bytes.

    Raises:
        UserError: it could not be written (a full disk); the checkpoints before it are untouched.
    """
    data = encode(tensors, facts)
    path = attempt.checkpoints / f"{step}.safetensors"
    try:
        replace(path, data)
    except OSError as error:
        raise UserError(
            f"checkpoint {path} could not be written ({error.strerror}); make room and run again: "
            "the run resumes from the checkpoint before it"
        ) from error
    kept = steps_of(attempt)
    for _, old in kept[KEPT:]:
        old.unlink(missing_ok=True)
    if len(kept) >= KEPT:
        _forget_earlier(attempt, step)
    return len(data)


def _forget_earlier(attempt: AttemptFolder, step: int) -> None:
    """Delete what attempts before this one left below `step`: nobody resumes from there any more.

    A run that is preempted fifty times has no more checkpoints than one that never was.
    """
    for number in attempt.run.attempts():
        if number < attempt.number:
            for before, old in steps_of(attempt.run.attempt(number)):
                if before < step:
                    old.unlink(missing_ok=True)


def steps_of(attempt: AttemptFolder) -> list[tuple[int, Path]]:
    """Step and file of each checkpoint of an attempt, newest first."""
    try:
        paths = list(attempt.checkpoints.iterdir())
    except FileNotFoundError:
        return []
    found = [(int(m[1]), p) for p in paths if (m := _NAME.fullmatch(p.name))]
    return sorted(found, reverse=True)


@dataclass(frozen=True)
class Found:
    """A whole checkpoint."""

    path: Path
    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def newest_valid(attempt: AttemptFolder) -> Found | None:
    """The newest whole checkpoint of the run, for `attempt` to resume from.

    Looks through the run's attempts up to this one from newest to oldest, higher steps first.
    What is damaged, or was made by other training code, is passed over with an event.
    """
    for path in _candidates(attempt):
        try:
            return Found(path, *decode(path))
        except FileNotFoundError:
            continue  # its owner has just replaced it by a newer one
        except Damaged as error:
            attempt.event("checkpoint_damaged", path=str(path), error=str(error))
    return None


def _candidates(attempt: AttemptFolder) -> Iterator[Path]:
    ours = attempt.owner()
    for number in sorted(attempt.run.attempts(), reverse=True):
        if number > attempt.number:
            continue
        earlier = attempt.run.attempt(number)
        owner, found = earlier.owner(), steps_of(earlier)
        if found and ours and owner and owner.training != ours.training:
            attempt.event("checkpoint_of_other_code", attempt=number, training=owner.training)
            continue
        yield from (path for _, path in found)
