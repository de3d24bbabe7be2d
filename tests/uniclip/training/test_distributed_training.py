"""Training on several processes equals training on one, up to the rounding of sums."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.helpers.distributed_training import (
    SHUFFLED,
    STEPS,
    collect_results,
    end_superseded,
    make_config,
    run_in_processes,
    run_rank,
    start_processes,
    stop_and_resume,
    train_configs,
)
from tests.helpers.small_runs import METHODS, of_method, opened, tiny
from uniclip import distributed
from uniclip.data.text.tokenizer import train_bpe
from uniclip.errors import UserError
from uniclip.io.atomic import read_jsonl
from uniclip.store import RunFolder
from uniclip.training import trainer

SOAK = bool(os.environ.get("UNICLIP_SOAK"))
SIZES = (2, 4) if SOAK else (2,)
JOBS = {
    ("uniclip", "layer norm"): make_config("uniclip", "layer norm"),
    ("slip", "batch norm"): make_config("slip", "batch norm"),
    ("siglip", "patches"): make_config("siglip", "patches", patch_drop_rate=0.5, ema_decay=0.9),
    ("declip", "accumulated"): make_config("declip", "layer norm", grad_cache_chunks=2),
}
if SOAK:
    ALL_METHODS = (*METHODS, SHUFFLED)
    JOBS |= {(m, e): make_config(m, e) for m in ALL_METHODS for e in ("layer norm", "batch norm")}
    JOBS |= {
        (m, "accumulated"): make_config(m, "layer norm", grad_cache_chunks=3) for m in ALL_METHODS
    }


@pytest.fixture(scope="module")
def single():
    """Return by configuration: the results of one process."""
    return {name: collect_results(trainer.train_model(config)) for name, config in JOBS.items()}


@pytest.fixture(scope="module")
def initial_parameters():
    """Return by configuration: the parameters before the first step."""
    states = {name: trainer.setup_training(config)[1] for name, config in JOBS.items()}
    return {name: dict(state.modules.named_parameters()) for name, state in states.items()}


@pytest.fixture(scope="module", params=SIZES)
def multiple(request, tmp_path_factory):
    """Return by process: its results for every configuration."""
    folder = tmp_path_factory.mktemp(f"world{request.param}")
    run_in_processes(request.param, train_configs, folder, JOBS)
    return [torch.load(folder / f"{rank}.pt") for rank in range(request.param)]


@pytest.mark.soak
@pytest.mark.parametrize("name", JOBS, ids=", ".join)
def test_losses_and_weights_equal_those_of_one_process(multiple, single, initial_parameters, name):
    first, expected = multiple[0][name], single[name]
    assert len(first["losses"]) == STEPS
    torch.testing.assert_close(first["losses"], expected["losses"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(first["parts"], expected["parts"], rtol=1e-4, atol=1e-6)
    squared_difference, squared_change = 0.0, 0.0
    for tensor, expected_value in expected["weights"].items():
        value, initial_value = first["weights"][tensor], initial_parameters[name].get(tensor)
        if initial_value is None:  # running statistics, queues
            torch.testing.assert_close(value, expected_value, rtol=1e-3, atol=1e-3)
        else:
            squared_difference += (value - expected_value).double().square().sum().item()
            squared_change += (expected_value - initial_value).double().square().sum().item()
    # AdamW takes a full step along a gradient that consists of rounding errors.
    assert squared_difference**0.5 < 0.05 * squared_change**0.5


@pytest.mark.soak
@pytest.mark.parametrize("name", JOBS, ids=", ".join)
def test_all_processes_have_equal_weights(multiple, name):
    first = multiple[0][name]
    for other in multiple[1:]:
        assert {k: v for k, v in other[name].items() if k != "weights"} == {
            k: v for k, v in first.items() if k != "weights"
        }
        other_weights = other[name]["weights"]
        assert all(torch.equal(other_weights[n], value) for n, value in first["weights"].items())


def test_bf16_trains_batch_norm_on_two_processes(tmp_path):
    """The weights equal those of one process up to the precision of bfloat16."""
    config = make_config("clip", "batch norm", precision="bf16", steps=4, learning_rate=1e-3)
    run_in_processes(2, train_configs, tmp_path, {"bf16": config})
    first, second = (torch.load(tmp_path / f"{rank}.pt")["bf16"] for rank in (0, 1))
    expected = collect_results(trainer.train_model(config))
    assert len(first["losses"]) == 4
    torch.testing.assert_close(first["losses"], expected["losses"], rtol=2e-2, atol=0)
    for name, value in first["weights"].items():
        assert torch.equal(second["weights"][name], value)
        if "running" in name:
            assert value.dtype == torch.float32
            torch.testing.assert_close(value, expected["weights"][name], rtol=5e-2, atol=5e-2)


# ---- one run -----------------------------------------------------------------------------------


def only_run(folder: Path) -> RunFolder:
    (run_path,) = folder.glob("runs/*")
    return RunFolder(run_path)


def build_declip(**train: object):
    """Return DeCLIP (a queue, running statistics) with drop path drawn on each process."""
    small = {"depths": [1] * 4, "dims": [8, 8, 16, 16], "drop_path_rate": 0.5}
    return of_method("declip", model={"image": {"options": small}}, train=train)


def test_a_run_stopped_on_one_process_resumes_bit_for_bit(tmp_path):
    run_in_processes(2, stop_and_resume, tmp_path, build_declip(batch_size=15))
    uninterrupted, interrupted = (only_run(tmp_path / name) for name in ("whole", "cut"))
    assert [interrupted.get_attempt(n).read_end().kind for n in interrupted.list_attempts()] == [
        "interrupted",
        "trained",
    ]
    (resumed,) = [
        r for r in read_jsonl(interrupted.get_attempt(2).events_path) if r["event"] == "resumed"
    ]
    assert (resumed["step"], resumed["numerics_changed"]) == (3, {})
    assert interrupted.weights_path.read_bytes() == uninterrupted.weights_path.read_bytes()
    assert (
        interrupted.best_weights_path.read_bytes() == uninterrupted.best_weights_path.read_bytes()
    )
    (scores,) = (uninterrupted.path / "scores").iterdir()
    assert (interrupted.path / "scores" / scores.name).read_bytes() == scores.read_bytes()
    steps = [
        r["step"]
        for r in read_jsonl(uninterrupted.get_attempt(1).metrics_path)
        if r["phase"] == "train"
    ]
    assert steps == [1, 2, 3, 4, 5, 6]


def test_a_superseded_run_ends_on_all_processes_at_one_step(tmp_path):
    """Rank 0 finds it when a checkpoint is due, and tells the others in the next step."""
    config = make_config("clip", "layer norm", steps=6, validate_every=6)
    config = replace(config, runtime=replace(config.runtime, checkpoint_seconds=0))
    run_in_processes(2, end_superseded, tmp_path, config)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert first == second == ("superseded", 2, 0), "how, at which step, with how many checkpoints"


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.soak
@pytest.mark.parametrize("victim", [0, 1] if SOAK else [1])
def test_if_one_process_is_killed_the_others_end(tmp_path, victim):
    endless = build_declip(steps=10**6)
    with start_processes(2, run_rank, tmp_path, endless) as processes:
        metrics = opened(tmp_path, endless).get_attempt(1).metrics_path
        wait_until(lambda: metrics.exists() and len(read_jsonl(metrics)) > 2)
        processes[victim].kill()
        processes[1 - victim].join(120)
        assert processes[1 - victim].exitcode not in (None, 0)
    assert only_run(tmp_path).read_outcome() is None


# ---- joining the process group -----------------------------------------------------------------


def test_without_environment_variables_there_is_one_process(monkeypatch):
    for name in distributed.ENVIRONMENT_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert distributed.init_process_group("cpu") is distributed.SINGLE_PROCESS
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert distributed.init_process_group("cpu") is distributed.SINGLE_PROCESS
    assert distributed.SINGLE_PROCESS.broadcast_object({"a": [1]}) == {"a": [1]}
    assert distributed.SINGLE_PROCESS.all_reduce_max(3) == 3
    distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("environment", "device", "message"),
    [
        ({"RANK": "0"}, "cpu", "WORLD_SIZE and LOCAL_RANK"),
        ({"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}, "cpu", "MASTER_ADDR and MASTER_PORT"),
        (dict.fromkeys(distributed.ENVIRONMENT_VARIABLES, "2"), "cuda:1", "a GPU for each"),
    ],
)
def test_incomplete_environment_variables_are_refused(monkeypatch, environment, device, message):
    for name in distributed.ENVIRONMENT_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=message):
        distributed.init_process_group(device)


def test_a_batch_smaller_than_the_number_of_processes_is_refused():
    config = tiny(train={"batch_size": 3})
    split = trainer.data.open_split(config.data, "train")
    bpe = train_bpe([c for of in split.captions for c in of], 300)
    with pytest.raises(UserError, match="batch_size=3 is too small for 4 processes"):
        trainer.TrainingBatches(config, split, bpe, distributed.ProcessGroup(1, 4))
