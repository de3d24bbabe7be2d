"""Functions that several processes run together, for `test_distributed_training.py`."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import torch

from tests.helpers.small_runs import claimed, of_method, opened
from uniclip import distributed, evaluate, run
from uniclip.checkpoints import tensor_file
from uniclip.config import RunConfig
from uniclip.store import AttemptFolder
from uniclip.training import checkpoint
from uniclip.training.trainer import TrainResult, train_model

STEPS = 20
LEARNING_RATE = 1e-5
"""Low: at the default, 20 steps amplify a rounding error to 1e-3."""
ENCODERS = {
    "layer norm": {},
    "batch norm": {"name": "test_byobnet", "image_size": 32},
    "patches": {
        "name": "vit_tiny_patch16_224",
        "image_size": 32,
        "options": {"embed_dim": 16, "depth": 2, "num_heads": 2, "patch_size": 8},
    },
}
SHUFFLED = "uniclip, shuffled"


def make_config(method: str, encoder: str, **train: Any) -> RunConfig:
    """Return a run whose batch of 15 cannot be divided evenly among two or four processes."""
    model_section = {"model": {"image": ENCODERS[encoder]}} if ENCODERS[encoder] else {}
    method_section = {"method": {"augmentation_input": "shuffled"}} if method == SHUFFLED else {}
    train = {"steps": STEPS, "batch_size": 15, "learning_rate": LEARNING_RATE, **train}
    return of_method(method.partition(",")[0], train=train, **model_section, **method_section)


def collect_results(result: TrainResult) -> dict[str, Any]:
    """Return the values by which trainings are compared."""
    model = tensor_file.bundle_modules(result.pretrained.embedder, result.pretrained.method)
    steps = [record for record in result.history if record["phase"] == "train"]
    return {
        "losses": [record["loss"] for record in steps],
        "parts": [record["loss_terms"] for record in steps],
        "norms": [record["grad_norm"] for record in steps],
        "weights": {name: value.clone() for name, value in model.state_dict().items()},
    }


def train_configs(rank: int, folder: Path, jobs: dict[str, RunConfig]) -> None:
    """Train each configuration and save the results in one file a process."""
    torch.save(
        {name: collect_results(train_model(config)) for name, config in jobs.items()},
        folder / f"{rank}.pt",
    )


def stop_and_resume(rank: int, folder: Path, config: RunConfig) -> None:
    """Train without interruption; then stop on rank 1 after three steps, and resume."""
    calls = iter(range(1, 10**6))
    for name, stop in (("whole", None), ("cut", lambda: next(calls) >= 3), ("cut", None)):
        run_rank(rank, folder / name, config, stop if rank else None)


def end_superseded(rank: int, folder: Path, config: RunConfig) -> None:
    """Train while a newer attempt exists, and save how and at which step training ends."""
    AttemptFolder.is_superseded = lambda self: True  # type: ignore[method-assign]
    attempt = None if rank else claimed(opened(folder, config))
    result = train_model(config, attempt=attempt)
    checkpoints = [] if attempt is None else checkpoint.list_checkpoints(attempt)
    torch.save((result.kind, result.step, len(checkpoints)), folder / f"{rank}.pt")


def run_rank(
    rank: int, folder: Path, config: RunConfig, stop: Callable[[], bool] | None = None
) -> None:
    """Execute a run: `execute_run` on rank 0, `run_nonzero_rank` on the others."""
    arguments = {} if stop is None else {"stop": stop}
    if rank > 0:
        run.run_nonzero_rank(config, **arguments)
        return
    run_folder = opened(folder, config)
    attempt = claimed(run_folder)
    hashes = {"scenes": evaluate.evaluation_hash("scenes", config)}
    attempt.write_end(run.execute_run(run_folder, config, attempt, evaluations=hashes, **arguments))


def _run_process(
    rank: int, size: int, port: int, function: Callable[..., None], arguments: tuple
) -> None:
    values = (rank, size, rank, "127.0.0.1", port)
    os.environ.update(
        {name: str(value) for name, value in zip(distributed.ENVIRONMENT_VARIABLES, values)}
    )
    torch.set_num_threads(1)
    process_group = distributed.init_process_group("cpu")
    assert (process_group.rank, process_group.world_size) == (rank, size)
    function(rank, *arguments)
    assert process_group.broadcast_object(rank) == 0
    distributed.destroy_process_group()
    assert distributed.get_process_group() is distributed.SINGLE_PROCESS


@contextmanager
def start_processes(
    size: int, function: Callable[..., None], *arguments: Any
) -> Iterator[list[ForkProcess]]:
    """Start processes that call `function(rank, *arguments)` together; kill them at the end."""
    with socket.socket() as probe_socket:
        probe_socket.bind(("127.0.0.1", 0))
        port = probe_socket.getsockname()[1]
    context = get_context("fork")  # the child processes need not import again
    processes = [
        context.Process(target=_run_process, args=(rank, size, port, function, arguments))
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.join()


def run_in_processes(size: int, function: Callable[..., None], *arguments: Any) -> None:
    """Run `function(rank, *arguments)` in several processes; all must succeed."""
    with start_processes(size, function, *arguments) as processes:
        for process in processes:
            process.join(600)
        assert [process.exitcode for process in processes] == [0] * size
