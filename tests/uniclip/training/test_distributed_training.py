"""One training shared by several processes: it is that of one, to the rounding of sums."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.helpers.distributed_training import (
    SHUFFLED,
    STEPS,
    found,
    job,
    stops_and_resumes,
    takes_part,
    together,
    trains,
    world,
)
from tests.helpers.small_runs import METHODS, of_method, opened, tiny
from uniclip import distributed
from uniclip.errors import UserError
from uniclip.io.atomic import read_jsonl
from uniclip.store import RunFolder
from uniclip.training import trainer

SOAK = bool(os.environ.get("UNICLIP_SOAK"))
SIZES = (2, 4) if SOAK else (2,)
JOBS = {
    ("uniclip", "layer norm"): job("uniclip", "layer norm"),
    ("slip", "batch norm"): job("slip", "batch norm"),
    ("declip", "accumulated"): job("declip", "layer norm", grad_cache_chunks=2),
}
if SOAK:
    EVERY = (*METHODS, SHUFFLED)
    JOBS |= {(m, e): job(m, e) for m in EVERY for e in ("layer norm", "batch norm")}
    JOBS |= {(m, "accumulated"): job(m, "layer norm", grad_cache_chunks=3) for m in EVERY}


@pytest.fixture(scope="module")
def alone():
    """By job: what one process finds."""
    return {name: found(trainer.train_model(config)) for name, config in JOBS.items()}


@pytest.fixture(scope="module")
def start():
    """By job: the parameters before the first step."""
    states = {name: trainer.setup_training(config)[1] for name, config in JOBS.items()}
    return {name: dict(state.modules.named_parameters()) for name, state in states.items()}


@pytest.fixture(scope="module", params=SIZES)
def shared(request, tmp_path_factory):
    """What each process of a world finds in every job."""
    folder = tmp_path_factory.mktemp(f"world{request.param}")
    together(request.param, trains, folder, JOBS)
    return [torch.load(folder / f"{rank}.pt") for rank in range(request.param)]


@pytest.mark.soak
@pytest.mark.parametrize("name", JOBS, ids=", ".join)
def test_losses_and_weights_are_those_of_one_process(shared, alone, start, name):
    first, expected = shared[0][name], alone[name]
    assert len(first["losses"]) == STEPS
    torch.testing.assert_close(first["losses"], expected["losses"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(first["parts"], expected["parts"], rtol=1e-4, atol=1e-6)
    apart, way = 0.0, 0.0
    for tensor, there in expected["weights"].items():
        here, before = first["weights"][tensor], start[name].get(tensor)
        if before is None:  # running statistics, queues
            torch.testing.assert_close(here, there, rtol=1e-3, atol=1e-3)
        else:
            apart += (here - there).double().square().sum().item()
            way += (there - before).double().square().sum().item()
    # AdamW makes whole steps of a gradient that is nothing but rounding.
    assert apart**0.5 < 0.05 * way**0.5


@pytest.mark.soak
@pytest.mark.parametrize("name", JOBS, ids=", ".join)
def test_all_processes_hold_the_same_bits(shared, name):
    first = shared[0][name]
    for other in shared[1:]:
        assert {k: v for k, v in other[name].items() if k != "weights"} == {
            k: v for k, v in first.items() if k != "weights"
        }
        theirs = other[name]["weights"]
        assert all(torch.equal(theirs[n], value) for n, value in first["weights"].items())


def test_bf16_trains_batch_norm_on_two_processes(tmp_path):
    """The weights of one process but for bfloat16's 8 bits."""
    config = job("clip", "batch norm", precision="bf16", steps=4, learning_rate=1e-3)
    together(2, trains, tmp_path, {"bf16": config})
    first, second = (torch.load(tmp_path / f"{rank}.pt")["bf16"] for rank in (0, 1))
    expected = found(trainer.train_model(config))
    assert len(first["losses"]) == 4
    torch.testing.assert_close(first["losses"], expected["losses"], rtol=2e-2, atol=0)
    for name, value in first["weights"].items():
        assert torch.equal(second["weights"][name], value)
        if "running" in name:
            assert value.dtype == torch.float32
            torch.testing.assert_close(value, expected["weights"][name], rtol=5e-2, atol=5e-2)


# ---- one run -----------------------------------------------------------------------------------


def only_run(folder: Path) -> RunFolder:
    (place,) = folder.glob("runs/*")
    return RunFolder(place)


def dropping(**train: object):
    """DeCLIP, its queue and running statistics, with draws of drop path on each process."""
    small = {"depths": [1] * 4, "dims": [8, 8, 16, 16], "drop_path_rate": 0.5}
    return of_method("declip", model={"image": {"options": small}}, train=train)


def test_stopped_on_one_process_a_run_resumes_bitwise(tmp_path):
    together(2, stops_and_resumes, tmp_path, dropping(batch_size=15))
    whole, cut = (only_run(tmp_path / name) for name in ("whole", "cut"))
    assert [cut.get_attempt(n).read_end().kind for n in cut.list_attempts()] == [
        "interrupted",
        "trained",
    ]
    (resumed,) = [r for r in read_jsonl(cut.get_attempt(2).events_path) if r["event"] == "resumed"]
    assert (resumed["step"], resumed["numerics_changed"]) == (3, {})
    assert cut.weights_path.read_bytes() == whole.weights_path.read_bytes()
    assert cut.best_weights_path.read_bytes() == whole.best_weights_path.read_bytes()
    (scores,) = (whole.path / "scores").iterdir()
    assert (cut.path / "scores" / scores.name).read_bytes() == scores.read_bytes()
    steps = [
        r["step"] for r in read_jsonl(whole.get_attempt(1).metrics_path) if r["phase"] == "train"
    ]
    assert steps == [1, 2, 3, 4, 5, 6]


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 300
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.soak
@pytest.mark.parametrize("victim", [0, 1] if SOAK else [1])
def test_if_one_process_is_killed_the_others_end(tmp_path, victim):
    endless = dropping(steps=10**6)
    with world(2, takes_part, tmp_path, endless) as members:
        metrics = opened(tmp_path, endless).get_attempt(1).metrics_path
        until(lambda: metrics.exists() and len(read_jsonl(metrics)) > 2)
        members[victim].kill()
        members[1 - victim].join(120)
        assert members[1 - victim].exitcode not in (None, 0)
    assert only_run(tmp_path).read_outcome() is None


# ---- meeting -----------------------------------------------------------------------------------


def test_without_a_word_of_others_a_process_is_alone(monkeypatch):
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
    ("told", "device", "said"),
    [
        ({"RANK": "0"}, "cpu", "WORLD_SIZE and LOCAL_RANK"),
        ({"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}, "cpu", "MASTER_ADDR and MASTER_PORT"),
        (dict.fromkeys(distributed.ENVIRONMENT_VARIABLES, "2"), "cuda:1", "a GPU for each"),
    ],
)
def test_half_a_word_is_refused(monkeypatch, told, device, said):
    for name in distributed.ENVIRONMENT_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=said):
        distributed.init_process_group(device)


def test_a_batch_smaller_than_the_world_is_refused():
    config = tiny(train={"batch_size": 3})
    split = trainer.data.open_split(config.data, "train")
    words = trainer.tokenizer.train_bpe([c for of in split.captions for c in of], 300)
    with pytest.raises(UserError, match="batch_size=3 is too small for 4 processes"):
        trainer.TrainingBatches(config, split, words, distributed.ProcessGroup(1, 4))
