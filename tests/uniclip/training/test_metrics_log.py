"""The records of training, also while the disk is full."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.small_disk import fill, make_room, small_disk
from tests.helpers.small_runs import claimed, opened, tiny
from tests.helpers.training_runs import score_texts, stop_after
from uniclip import numerics
from uniclip.data import open_split
from uniclip.errors import UserError
from uniclip.io.atomic import read_jsonl
from uniclip.store import RunFolder
from uniclip.training import checkpoint, trainer
from uniclip.training.metrics_log import MetricsLogger, rename_taken_names
from uniclip.training.state import StepMetrics
from uniclip.training.trainer import train_model


def test_records_of_a_run(tmp_path):
    attempt = claimed(opened(tmp_path, tiny()))
    config = tiny(runtime={"log_every": 4}, train={"steps": 10})
    result = trainer.train_model(config, attempt=attempt, validate=score_texts)
    assert read_jsonl(attempt.metrics_path) == result.history
    steps = [record for record in result.history if record["phase"] == "train"]
    assert [record["step"] for record in steps] == [1, 4, 8, 10]
    last = steps[-1]
    assert (last["samples_seen"], last["images_seen"]) == (160, 320)
    assert last["loss"] == pytest.approx(sum(last["loss_terms"].values()))
    assert 0 <= last["clipped_fraction"] <= 1
    assert 0 < last["grad_norm"]
    assert last["b_it"] == 0
    assert 0.01 <= last["tau_ii"] <= 1
    assert 0 < last["seconds"] == last["attempt_seconds"]
    waited = [record["waited_seconds"] for record in steps]
    assert waited == sorted(waited)
    assert 0 < waited[0] < last["waited_seconds"] < last["seconds"]
    (knockout,) = [r for r in result.history if r["phase"] == "knockout"]
    assert knockout["knockout_effect"].keys() == {"awareness", "mp_nce", "domain_similarity"}
    assert knockout["relative_change"].keys() == {
        "augmentation_encoder",
        "image_head",
        "similarity",
    }
    assert all(value > 0 for value in knockout["relative_change"].values())
    (cost,) = [r for r in result.history if r["phase"] == "cost"]
    assert cost["parameters"] == sum(p.numel() for p in result.pretrained.embedder.parameters()) + (
        sum(p.numel() for p in result.pretrained.method.parameters())
    )
    assert cost["waited_seconds"] == last["waited_seconds"]
    heartbeat = attempt.read_heartbeat()
    assert heartbeat is not None
    assert heartbeat.total_steps == 10


def test_a_subset_of_the_training_samples_may_be_larger_than_the_validation_split(tmp_path):
    """The knock-out of components is measured on all of that split."""
    size = len(open_split(tiny().data, "validation")) + 1
    config = tiny(train={"steps": 1, "subset_size": size})
    result = trainer.train_model(
        config, attempt=claimed(opened(tmp_path, config)), validate=score_texts
    )
    (knockout,) = [r for r in result.history if r["phase"] == "knockout"]
    assert len(knockout["knockout_effect"]) == 3


def test_the_use_of_the_device_is_sampled_that_auto_comes_to(tmp_path, monkeypatch):
    monkeypatch.setattr(numerics, "get_device", lambda name: torch.device(f"cuda:{len(name)}"))
    logger = MetricsLogger(tiny(runtime={"device": "auto"}), None)
    assert logger._resource_sampler._device == "cuda:4"


def test_a_heartbeat_has_the_share_of_time_since_the_last_one_spent_on_waiting(tmp_path):
    attempt = claimed(opened(tmp_path, tiny()))
    logger = MetricsLogger(tiny(), attempt)
    _, state = trainer.setup_training(tiny())
    metrics = StepMetrics(loss=1.0, loss_terms={}, grad_norm=1.0, lr=1.0)
    shares = []
    logger.write_heartbeat(0, "opening")
    for phase, seconds, waited in (
        ("training", None, None),
        ("validating", 8.0, 2.0),
        ("training", None, None),
        ("validating", 2.0, 3.0),
    ):
        if seconds is not None:
            state.record_step(seconds, clipped=False, waited_seconds=waited)
            logger.log_step(state, metrics)
        logger.write_heartbeat(state.counters.step, phase)
        shares.append(attempt.read_heartbeat().data_wait)
    assert shares == [None, 0.25, 0.25, 0.5]


def test_a_heartbeat_is_written_once_a_second_and_whenever_the_phase_changes(tmp_path):
    attempt = claimed(opened(tmp_path, tiny()))
    logger = MetricsLogger(tiny(), attempt)
    written = []
    for step, phase in ((0, "opening"), (7, "training"), (8, "training"), (9, "validating")):
        logger.write_heartbeat(step, phase)
        heartbeat = attempt.read_heartbeat()
        written.append((heartbeat.step, heartbeat.phase, heartbeat.steps_per_second > 0))
    assert written == [
        (0, "opening", False),
        (7, "training", False),
        (7, "training", False),
        (9, "validating", True),
    ]
    logger.write_heartbeat(9, "training")
    assert attempt.read_heartbeat().steps_per_second > 0, "the rate of the last steps"


def test_seconds_accumulate_over_attempts(tmp_path):
    run = opened(tmp_path, tiny())
    first = trainer.train_model(tiny(), attempt=claimed(run), stop=stop_after(3))
    second = trainer.train_model(tiny(), attempt=claimed(run))
    assert second.seconds > first.seconds
    last = [record for record in second.history if record["phase"] == "train"][-1]
    assert last["attempt_seconds"] == pytest.approx(second.seconds - first.seconds)


# ---- a full disk -----------------------------------------------------------------------------

CONFIG = tiny(train={"steps": 12}, runtime={"log_every": 1, "checkpoint_seconds": 0.0})


@pytest.fixture
def run(tmp_path) -> RunFolder:
    with small_disk(tmp_path / "disk") as disk:
        yield opened(disk, CONFIG)


def at_step(acts, stop=False):
    """Return a `stop` that calls functions after some steps."""
    steps = iter(range(1, 10**6))

    def stop_and_act() -> bool:
        act = acts.get(next(steps))
        if act is not None:
            act()
        return stop and act is not None

    return stop_and_act


def test_training_continues_while_the_disk_is_full(run, tmp_path, capsys):
    disk, attempt = tmp_path / "disk", claimed(run)
    acts = {4: lambda: fill(disk), 9: lambda: make_room(disk)}
    result = train_model(CONFIG, attempt=attempt, stop=at_step(acts))
    assert result.kind == "trained"
    assert "the disk is full, training continues: checkpoint" in capsys.readouterr().err
    assert [step for step, _ in checkpoint.list_checkpoints(attempt)] == [11, 10]
    records = [r for r in read_jsonl(attempt.metrics_path) if r["phase"] != "cost"]
    assert records == [r for r in result.history if r["phase"] != "cost"]


def test_a_requested_checkpoint_needs_space(run, tmp_path):
    disk, attempt = tmp_path / "disk", claimed(run)
    with pytest.raises(UserError, match="No space left"):
        train_model(CONFIG, attempt=attempt, stop=at_step({4: lambda: fill(disk)}, stop=True))
    assert [step for step, _ in checkpoint.list_checkpoints(attempt)] == [3, 2]


def test_scalars_of_a_plug_in_replace_no_field():
    scalars = {"tau": 0.1, "loss": 2.0, "seed": 3.0, "arm": 4.0}
    assert rename_taken_names(scalars, {"loss": 1.0, "seconds": 5.0}) == {
        "tau": 0.1, "learned.loss": 2.0, "learned.seed": 3.0, "learned.arm": 4.0
    }  # fmt: skip
