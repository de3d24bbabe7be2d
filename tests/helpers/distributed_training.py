"""What each process of a world does for `test_shared_training.py`, and how a world is made."""

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
from uniclip.training.trainer import TrainResult, train_model

STEPS = 20
RATE = 1e-5
"""Low: at the usual one, a training's own chaos makes 1e-3 of a rounding within 20 steps."""
ENCODERS = {
    "layer norm": {},
    "batch norm": {"name": "test_byobnet", "image_size": 32},
}
SHUFFLED = "uniclip, shuffled"


def job(method: str, encoder: str, **train: Any) -> RunConfig:
    """A training whose batch of 15 no world of two or four cuts evenly."""
    image = {"model": {"image": ENCODERS[encoder]}} if ENCODERS[encoder] else {}
    aware = {"method": {"augmentation_input": "shuffled"}} if method == SHUFFLED else {}
    train = {"steps": STEPS, "batch_size": 15, "learning_rate": RATE, **train}
    return of_method(method.partition(",")[0], train=train, **image, **aware)


def found(fitted: TrainResult) -> dict[str, Any]:
    """What is compared of a training."""
    model = tensor_file.bundle_modules(fitted.pretrained.embedder, fitted.pretrained.method)
    steps = [record for record in fitted.history if record["phase"] == "train"]
    return {
        "losses": [record["loss"] for record in steps],
        "parts": [record["loss_terms"] for record in steps],
        "norms": [record["grad_norm"] for record in steps],
        "weights": {name: value.clone() for name, value in model.state_dict().items()},
    }


def trains(rank: int, folder: Path, jobs: dict[str, RunConfig]) -> None:
    """Each job in turn; what came of it, in a file for each process."""
    torch.save(
        {name: found(train_model(config)) for name, config in jobs.items()}, folder / f"{rank}.pt"
    )


def stops_and_resumes(rank: int, folder: Path, config: RunConfig) -> None:
    """A run straight through, and one that the last process stops after three steps; then on."""
    asked = iter(range(1, 10**6))
    for name, stop in (("whole", None), ("cut", lambda: next(asked) >= 3), ("cut", None)):
        takes_part(rank, folder / name, config, stop if rank else None)


def takes_part(
    rank: int, folder: Path, config: RunConfig, stop: Callable[[], bool] | None = None
) -> None:
    """`run` on rank 0, `assist` on the others."""
    given = {} if stop is None else {"stop": stop}
    if rank > 0:
        run.run_nonzero_rank(config, **given)
        return
    place = opened(folder, config)
    attempt = claimed(place)
    hashes = {"scenes": evaluate.evaluation_hash("scenes", config)}
    attempt.write_end(run.execute_run(place, config, attempt, evaluations=hashes, **given))


def _begin(rank: int, size: int, port: int, act: Callable[..., None], arguments: tuple) -> None:
    told = (rank, size, rank, "127.0.0.1", port)
    os.environ.update(
        {name: str(value) for name, value in zip(distributed.ENVIRONMENT_VARIABLES, told)}
    )
    torch.set_num_threads(1)
    others = distributed.init_process_group("cpu")
    assert (others.rank, others.world_size) == (rank, size)
    act(rank, *arguments)
    assert others.broadcast_object(rank) == 0
    distributed.destroy_process_group()
    assert distributed.get_process_group() is distributed.SINGLE_PROCESS


@contextmanager
def world(size: int, act: Callable[..., None], *arguments: Any) -> Iterator[list[ForkProcess]]:
    """Processes that do `act(rank, *arguments)` together; they are gone afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = get_context("fork")  # what is imported here need not be imported there
    given = [(rank, size, port, act, arguments) for rank in range(size)]
    members = [context.Process(target=_begin, args=each) for each in given]
    for member in members:
        member.start()
    try:
        yield members
    finally:
        for member in members:
            member.kill()
            member.join()


def together(size: int, act: Callable[..., None], *arguments: Any) -> None:
    """The same, to the end; all must end well."""
    with world(size, act, *arguments) as members:
        for member in members:
            member.join(600)
        assert [member.exitcode for member in members] == [0] * size
