"""The checkpoint that a program leaves: opened without executing code in it, and evaluated."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from uniclip import numerics
from uniclip.checkpoints import published
from uniclip.checkpoints.importing import ImportedModel
from uniclip.checkpoints.open_clip_config import read_open_clip_config
from uniclip.commands.evaluation import (
    build_evaluation_config,
    describe_checkpoint,
    find_checkpoint,
    find_checkpoint_config,
    hash_evaluation,
)
from uniclip.commands.invocation import OUTPUT_FOLDER, Invocation
from uniclip.config.device import AUTO, detect_device
from uniclip.errors import CHANGED_DATA_ADVICE, DataChangedError, NotFiniteError, UserError
from uniclip.evaluate import build_protocol, evaluate
from uniclip.io.hashing import digest, digest_file
from uniclip.run_evaluation import Interruption, RunEvaluation
from uniclip.store import AttemptFolder, RunFolder

NUM_THREADS = 1
"""Compute threads of an evaluation on a CPU."""
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".json")
"""Files of a folder of transformers that enter the digest of a checkpoint."""


def load_checkpoint(invocation: Invocation, path: Path, device: str) -> ImportedModel:
    """Return the model of a checkpoint, on the device.

    Raises:
        UserError: It cannot be read, holds more than tensors in plain containers, or is a folder,
            which describes its model itself, beside `checkpoint_config`.
    """
    definition, folder = invocation.definition, invocation.folder
    config_path = find_checkpoint_config(definition, folder, invocation.values)
    if config_path is not None and path.is_dir():
        raise UserError(
            f"command.checkpoint_config: {path} is a folder, whose own files describe the model: "
            "leave checkpoint_config out"
        )
    facts = None if config_path is None else read_open_clip_config(config_path)
    model = published.load_model(path, open_clip_config=facts)
    model.embedder.to(detect_device() if device == AUTO else device)
    return model


def has_diverged(invocation: Invocation, path: Path) -> bool:
    """Return whether a checkpoint has weights that are not finite.

    What else is wrong with it is the error of its evaluation.
    """
    try:
        model = load_checkpoint(invocation, path, "cpu")
    except NotFiniteError:
        return True
    except UserError:
        return False
    return not all(bool(v.isfinite().all()) for v in model.embedder.state_dict().values())


def release_device_memory() -> None:
    """Free the memory of models that are no longer used: the next program may need all of it."""
    gc.collect()
    torch.cuda.empty_cache()  # nothing happens if CUDA was not used


def evaluate_checkpoint(
    run: RunFolder,
    attempt: AttemptFolder,
    invocation: Invocation,
    run_only: Mapping[str, Any],
    evaluations: Mapping[str, str],
    stop: Callable[[], bool],
) -> Interruption | None:
    """Evaluate the checkpoint of a run on data sets; see `RunEvaluation.evaluate`.

    Args:
        run: The run.
        attempt: The attempt of this process.
        invocation: The program.
        run_only: As for `read_invocation`.
        evaluations: Data set -> planned evaluation hash.
        stop: Returns True once the evaluation should stop.
    """
    numerics.apply(NUM_THREADS)
    path = find_checkpoint(invocation, (run.path / OUTPUT_FOLDER).absolute())
    config = build_evaluation_config(run_only["runtime"])
    return CheckpointEvaluation(
        run=run,
        attempt=attempt,
        pretrained=load_checkpoint(invocation, path, invocation.device),
        config=config,
        weights_digest=digest_checkpoint(path),
        step=invocation.total_steps,
        total_steps=invocation.total_steps,
        stop=stop,
        checkpoint=describe_checkpoint(invocation.definition, invocation.folder, invocation.values),
    ).evaluate(evaluations)


def time_evaluation(
    invocation: Invocation, output: Path, runtime: Mapping[str, Any], names: Iterable[str]
) -> float:
    """Return the wall seconds of opening a checkpoint and evaluating it, without a cache.

    Args:
        invocation: The program.
        output: The folder of its files.
        runtime: The section `runtime` of the plan.
        names: The data sets; none to see only whether the checkpoint can be opened.
    """
    numerics.apply(NUM_THREADS)
    start = time.perf_counter()
    path, config = find_checkpoint(invocation, output), build_evaluation_config(runtime)
    model = load_checkpoint(invocation, path, invocation.device)
    for name in names:
        evaluate(name, model, config)
    seconds = time.perf_counter() - start
    del model
    release_device_memory()
    return seconds


@dataclass(kw_only=True)
class CheckpointEvaluation(RunEvaluation):
    """The evaluation of a program's checkpoint."""

    checkpoint: Mapping[str, str]
    """As of `describe_checkpoint`; covered by evaluation hashes."""

    @property
    def embeddings_hash(self) -> str:
        """Hash of the weights, and of the description with which they are read."""
        return " ".join(filter(None, (self.weights_digest, self.checkpoint["config"])))

    def require_protocol(self, name: str, evaluation_hash: str) -> dict[str, Any]:
        """Return the protocol of a data set, with the checkpoint; see `RunEvaluation`."""
        protocol = build_protocol(name, self.config, self.run.cache_path)
        if hash_evaluation(digest(protocol, 8), self.checkpoint) != evaluation_hash:
            raise DataChangedError(
                "the data, their evaluation protocol or command.checkpoint has changed since the "
                f"plan; {CHANGED_DATA_ADVICE}"
            )
        return {**protocol, "checkpoint": dict(self.checkpoint)}


def digest_checkpoint(path: Path) -> str:
    """Return the digest of a file, or of the weights and descriptions in a folder."""
    if path.is_file():
        return digest_file(path)
    files = [p for p in sorted(path.iterdir()) if p.suffix in WEIGHT_SUFFIXES and p.is_file()]
    return digest({p.name: digest_file(p) for p in files})
