"""A training whose disk is full for a while."""

from __future__ import annotations

import pytest

from tests.helpers.small_disk import fill, make_room, small_disk
from tests.helpers.small_runs import claimed, opened, tiny
from uniclip.errors import UserError
from uniclip.io.atomic import read_jsonl
from uniclip.store import RunFolder
from uniclip.training import checkpoint
from uniclip.training.trainer import train_model

EVERY_STEP = tiny(train={"steps": 12}, runtime={"log_every": 1, "checkpoint_seconds": 0.0})


@pytest.fixture
def run(tmp_path) -> RunFolder:
    with small_disk(tmp_path / "disk") as disk:
        yield opened(disk, EVERY_STEP)


def at_step(acts, stop=False):
    """A `stop` that does something after some steps."""
    steps = iter(range(1, 10**6))

    def asked() -> bool:
        act = acts.get(next(steps))
        if act is not None:
            act()
        return stop and act is not None

    return asked


def test_training_goes_on(run, tmp_path, capsys):
    disk, attempt = tmp_path / "disk", claimed(run)
    acts = {4: lambda: fill(disk), 9: lambda: make_room(disk)}
    fitted = train_model(EVERY_STEP, attempt=attempt, stop=at_step(acts))
    assert fitted.kind == "trained"
    assert "the disk is full, training continues: checkpoint" in capsys.readouterr().err
    assert [step for step, _ in checkpoint.list_checkpoints(attempt)] == [11, 10]
    records = [r for r in read_jsonl(attempt.metrics_path) if r["phase"] != "cost"]
    assert records == [r for r in fitted.history if r["phase"] != "cost"]


def test_a_checkpoint_that_is_asked_for_needs_room(run, tmp_path):
    disk, attempt = tmp_path / "disk", claimed(run)
    with pytest.raises(UserError, match="No space left"):
        train_model(EVERY_STEP, attempt=attempt, stop=at_step({4: lambda: fill(disk)}, stop=True))
    assert [step for step, _ in checkpoint.list_checkpoints(attempt)] == [3, 2]
