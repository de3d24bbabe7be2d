"""Checkpoints written by a thread: copies, order, errors, and kills while one is written."""

from __future__ import annotations

import os
import random
import threading
import time
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection

import pytest
import torch
from torch.overrides import TorchFunctionMode

from tests.helpers.small_runs import claimed, opened, tiny
from tests.helpers.training_runs import equal_weights, get_weights, score_texts
from uniclip.checkpoints import tensor_file
from uniclip.errors import UserError
from uniclip.io import atomic
from uniclip.store import Store
from uniclip.training import checkpoint, metrics_log, trainer
from uniclip.training.checkpoint_writer import CheckpointWriter, Snapshot


@pytest.fixture
def run(tmp_path):
    return Store(tmp_path).get_run("0" * 16)


@pytest.fixture
def gate(monkeypatch):
    """Checkpoints are written once this event is set."""
    event, write = threading.Event(), checkpoint.write_checkpoint

    def wait_and_write(*arguments):
        assert event.wait(60)
        return write(*arguments)

    monkeypatch.setattr(checkpoint, "write_checkpoint", wait_and_write)
    yield event
    event.set()


def list_steps(attempt) -> list[int]:
    return [step for step, _ in checkpoint.list_checkpoints(attempt)]


def test_the_file_holds_what_the_tensors_were_when_it_was_started(run, gate):
    attempt = claimed(run)
    writer, weights = CheckpointWriter(attempt), {"x": torch.ones(3), "best.x": torch.ones(2)}
    counters = {"step": 1, "unreadable": [4]}
    writer.start(1, weights, {"counters": dict(counters)}, constant=["best.x"])
    assert writer.is_writing
    weights["x"].mul_(2)
    counters["step"] = 2
    gate.set()
    writer.close()
    loaded = checkpoint.load_newest_checkpoint(attempt)
    assert {name: value.tolist() for name, value in loaded.tensors.items()} == {
        "x": [1, 1, 1],
        "best.x": [1, 1],
    }
    assert loaded.metadata["counters"]["step"] == 1


def test_a_snapshot_uses_its_memory_again():
    snapshot, tensors = Snapshot(), {"x": torch.zeros(4), "constant": torch.zeros(1)}
    snapshot.update(tensors, ["constant"])
    first = snapshot["x"].data_ptr()
    tensors["x"] += 1
    snapshot.update(tensors, ["constant"])
    assert snapshot["x"].tolist() == [1, 1, 1, 1]
    assert first == snapshot["x"].data_ptr() != tensors["x"].data_ptr()
    assert snapshot["constant"] is tensors["constant"]
    snapshot.update({"x": torch.zeros(9, dtype=torch.int64)})
    assert snapshot["x"].dtype == torch.int64


def test_deferred_tensors_are_copied_only_if_they_are_still_needed():
    tensors = {"x": torch.zeros(4), "y": torch.zeros(4)}
    snapshot = Snapshot()
    snapshot.update(tensors, deferred=["x", "y"])
    assert snapshot["x"] is tensors["x"], "it takes no memory"
    threading.Timer(0.2, snapshot.__getitem__, ["y"]).start()
    snapshot.preserve()
    for tensor in tensors.values():
        tensor += 1
    assert snapshot["x"].tolist() == snapshot["y"].tolist() == [0] * 4
    snapshot.release()
    snapshot.update({**tensors, "z": torch.zeros(4)}, deferred=["x", "y"])
    snapshot.release()
    snapshot.preserve()
    assert list(snapshot) == ["z"], "the others are no longer needed"


@pytest.mark.parametrize("in_use", range(1, 9))
def test_a_tensor_is_not_changed_while_it_is_written(run, monkeypatch, in_use):
    """The optimizer's update comes while the tensor `in_use`, in order, is read or written."""
    attempt, reached, view_bytes = claimed(run), threading.Event(), tensor_file._view_bytes
    tensors = {f"{kind}.{i}": torch.zeros(1000) for kind in "ab" for i in range(2)}
    views = iter(range(1, 100))

    def wait_and_view(tensor):
        if next(views) == in_use:
            reached.set()
            time.sleep(0.1)
        return view_bytes(tensor)

    monkeypatch.setattr(tensor_file, "_view_bytes", wait_and_view)
    writer = CheckpointWriter(attempt)
    writer.start(1, tensors, {}, deferred=["b.0", "b.1"])
    assert reached.wait(60)
    for name in ("a.0", "a.1"):
        tensors[name] += 1
    writer.preserve()
    for name in ("b.0", "b.1"):
        tensors[name] += 1
    writer.close()
    loaded = checkpoint.load_newest_checkpoint(attempt)
    assert loaded is not None
    assert all((value == 0).all() for value in loaded.tensors.values())


def test_an_update_waits_for_no_disk(run, monkeypatch):
    attempt, reached, released = claimed(run), threading.Event(), threading.Event()
    monkeypatch.setattr(atomic.os, "fsync", lambda _: reached.set() or released.wait(20))
    writer, tensors = CheckpointWriter(attempt), {"x": torch.zeros(1000)}
    writer.start(1, tensors, {}, deferred=["x"])
    assert reached.wait(60)
    writer.preserve()
    assert writer.is_writing
    tensors["x"] += 1
    released.set()
    writer.close()
    assert checkpoint.load_newest_checkpoint(attempt).tensors["x"].sum() == 0


def test_checkpoints_of_each_step_hold_the_state_of_that_step(tmp_path, monkeypatch):
    """The thread is slow, so that updates come while it reads."""
    attempts, view_bytes = [], tensor_file._view_bytes
    monkeypatch.setattr(tensor_file, "_view_bytes", lambda t: time.sleep(1e-4) or view_bytes(t))
    monkeypatch.setattr(checkpoint, "MAX_CHECKPOINTS", 100)
    monkeypatch.setattr(metrics_log, "MAX_CHECKPOINT_SECONDS", 0.0)
    for seconds in (0.0, 1e-6):
        config = tiny(runtime={"checkpoint_seconds": seconds})
        attempts.append(claimed(opened(tmp_path / str(seconds), config)))
        trainer.train_model(config, attempt=attempts[-1])
    assert list_steps(attempts[1])
    for step in list_steps(attempts[1]):
        one, other = (
            tensor_file.decode(a.checkpoints_path / f"{step}.safetensors")[0] for a in attempts
        )
        assert equal_weights(one, other)


def test_only_copies_from_cuda_are_not_waited_for():
    """No event tells when another device has copied."""
    waited = []

    class Record(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            if function is torch.Tensor.copy_:
                waited.append(not (kwargs or {}).get("non_blocking", False))
            return function(*args, **(kwargs or {}))

    with Record():
        Snapshot().update({"x": torch.zeros(4)})
    assert waited == [True]


def test_one_checkpoint_at_most_is_being_written(run, gate):
    attempt = claimed(run)
    writer = CheckpointWriter(attempt)
    writer.start(1, {"x": torch.ones(1)}, {})
    second = threading.Thread(target=writer.start, args=(2, {"x": torch.ones(1)}, {}))
    second.start()
    second.join(0.2)
    assert second.is_alive(), "it waits for the first"
    assert list_steps(attempt) == []
    gate.set()
    second.join()
    writer.close()
    assert list_steps(attempt) == [2, 1]


def test_an_error_of_the_thread_is_raised_once_in_the_training_thread(run):
    attempt = claimed(run)
    attempt.checkpoints_path.write_bytes(b"a file where the folder belongs")
    writer = CheckpointWriter(attempt)
    writer.start(1, {"x": torch.ones(1)}, {})
    with pytest.raises(UserError, match="could not be written"):
        writer.wait()
    writer.raise_error()
    writer.close()


def test_training_ends_with_an_error_of_the_thread(tmp_path):
    """Here the folder of checkpoints cannot be made; a full disk is in test_metrics_log.py."""
    config = tiny(train={"steps": 200}, runtime={"checkpoint_seconds": 0.01})
    attempt = claimed(opened(tmp_path, config))

    def block() -> bool:
        if not attempt.checkpoints_path.exists():
            attempt.checkpoints_path.write_bytes(b"a file where the folder belongs")
        return False

    with pytest.raises(UserError, match="checkpoint .* could not be written"):
        trainer.train_model(config, attempt=attempt, stop=block)


def test_complete_training_needs_no_checkpoint(tmp_path, gate, capsys):
    """The error of the last one, which is written after the last step, is printed."""
    config = tiny(runtime={"checkpoint_seconds": 1e-6})
    attempt = claimed(opened(tmp_path, config))
    calls = iter(range(config.train.validate_every, 100, config.train.validate_every))

    def validate(pretrained) -> float:
        if next(calls) == config.train.steps:
            attempt.checkpoints_path.write_bytes(b"a file where the folder belongs")
            gate.set()
        return 0.5

    assert trainer.train_model(config, attempt=attempt, validate=validate).kind == "trained"
    assert "could not be written" in capsys.readouterr().err


def test_a_superseded_attempt_writes_nothing(run, gate):
    attempt = claimed(run)
    writer = CheckpointWriter(attempt)
    claimed(run, forced=True)
    writer.start(1, {"x": torch.ones(1)}, {})
    gate.set()
    writer.close()
    assert list_steps(attempt) == []


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path, gate):
    """All steps are taken before the first checkpoint is; the end waits for it."""
    config = tiny(runtime={"checkpoint_seconds": 1e-6})
    attempt = claimed(opened(tmp_path, config))
    steps = iter(range(1, 100))

    def stop() -> bool:
        if next(steps) == config.train.steps - 1:
            assert list_steps(attempt) == []
            gate.set()
        return False

    assert trainer.train_model(config, attempt=attempt, stop=stop).kind == "trained"
    assert list_steps(attempt)[-1] == 1


def test_a_slow_write_is_waited_for_after_the_longest_time(tmp_path, monkeypatch, gate):
    monkeypatch.setattr(metrics_log, "MAX_CHECKPOINT_SECONDS", 0.0)
    config = tiny(runtime={"checkpoint_seconds": 1e-6})
    attempt = claimed(opened(tmp_path, config))
    threading.Timer(0.5, gate.set).start()
    assert trainer.train_model(config, attempt=attempt).kind == "trained"
    assert list_steps(attempt) == [5, 4], "no step was taken without a checkpoint of the last"


def test_a_requested_stop_waits_for_its_own_checkpoint(tmp_path, gate):
    config = tiny()
    attempt = claimed(opened(tmp_path, config))
    gate.set()
    steps = iter(range(1, 100))
    result = trainer.train_model(config, attempt=attempt, stop=lambda: next(steps) == 4)
    assert (result.kind, list_steps(attempt)) == ("stopped", [4])


def test_weights_do_not_depend_on_checkpoints_written_meanwhile(tmp_path):
    expected = get_weights(trainer.train_model(tiny(), validate=score_texts))
    config = tiny(runtime={"checkpoint_seconds": 1e-6})
    attempt = claimed(opened(tmp_path, config))
    result = trainer.train_model(config, attempt=attempt, validate=score_texts)
    assert equal_weights(get_weights(result), expected)
    assert list_steps(attempt)


NUM_KILLS = 200 if "UNICLIP_SOAK" in os.environ else 8


def write_without_end(attempt, first_step: int, connection: Connection) -> None:
    """Write checkpoints in the background, and send the step of each that is complete."""
    writer, weights = CheckpointWriter(attempt), torch.full((2**20,), float(first_step))
    for step in range(first_step, first_step + 10**6):
        writer.wait()
        connection.send(step - 1)
        weights.fill_(step)
        writer.start(step, {"x": weights}, {"step": step})
        weights.fill_(-1)


@pytest.mark.soak
def test_a_kill_while_a_checkpoint_is_written_loses_no_earlier_one(run):
    """The newest one that is complete is found, whole, and at least the last that was reported."""
    draw, step, context = random.Random(0), 0, get_context("fork")
    for _ in range(NUM_KILLS):
        attempt = claimed(run)
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=write_without_end, args=(attempt, step + 1, sender))
        child.start()
        sender.close()
        reported_steps = [receiver.recv(), receiver.recv()]
        time.sleep(draw.uniform(0, 0.1))
        child.kill()
        child.join()
        with suppress(EOFError):
            while True:
                reported_steps.append(receiver.recv())
        newest = checkpoint.load_newest_checkpoint(attempt)
        step = newest.metadata["step"]
        assert step >= reported_steps[-1]
        assert newest.tensors["x"].unique().tolist() == [step]
        assert not attempt.events_path.exists(), "a damaged file has the name of a checkpoint"
