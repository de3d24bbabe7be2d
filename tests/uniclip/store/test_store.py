"""The store: published once and whole, whoever races and whatever is killed; damage is named."""

from __future__ import annotations

import dataclasses
import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import ROOT
from uniclip.errors import UserError
from uniclip.io import atomic
from uniclip.store import (
    Arm,
    Cell,
    ClaimRecord,
    Component,
    Contrast,
    DatasetScores,
    Heartbeat,
    Outcome,
    Plan,
    PlantedEffect,
    PrimaryMetric,
    Score,
    Store,
    json_io,
)

PUBLISHERS, NAMES = 8, 50


def owner(**changes: Any) -> ClaimRecord:
    fields: dict[str, Any] = {
        "host": "here", "boot_id": "boot", "pid": 1, "start_ticks": 1, "source_hash": "s",
        "training_hash": "t", "numerics_class": {"device": "cpu"}, "time": 1.0,
    }  # fmt: skip
    return ClaimRecord(**{**fields, **changes})


def outcome(**changes: Any) -> Outcome:
    fields: dict[str, Any] = {
        "kind": "trained", "step": 3, "attempt": 1, "training_hash": "t", "source_hash": "s",
        "numerics_class": {}, "weights_digest": "00", "best_step": 3, "cost": {"seconds": 1.0},
    }  # fmt: skip
    return Outcome(**{**fields, **changes})


# ---- published once ------------------------------------------------------------------------------


def _publish_all(folder: str, publisher: int, barrier: Any, won: Any) -> None:
    barrier.wait()
    for name in range(NAMES):
        if atomic.write_once(Path(folder) / f"{name}.json", f"{publisher}\n".encode() * 100):
            won.put((name, publisher))


def test_of_racing_publishers_exactly_one_wins_each_name(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    barrier, won = spawn.Barrier(PUBLISHERS, timeout=30), spawn.Queue()
    racers = [
        spawn.Process(target=_publish_all, args=(str(tmp_path), p, barrier, won))
        for p in range(PUBLISHERS)
    ]
    for racer in racers:
        racer.start()
    winners = [won.get(timeout=60) for _ in range(NAMES)]
    for racer in racers:
        racer.join(60)
        assert racer.exitcode == 0
    assert won.empty()
    assert sorted(name for name, _ in winners) == list(range(NAMES))
    for name, publisher in winners:
        assert (tmp_path / f"{name}.json").read_text() == f"{publisher}\n" * 100
    assert len(os.listdir(tmp_path)) == NAMES, "temporary files are left"


def test_a_second_publisher_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "name"
    assert atomic.write_once(path, b"first")
    assert not atomic.write_once(path, b"second")
    assert path.read_bytes() == b"first"
    assert os.listdir(path.parent) == ["name"]


def test_a_link_that_happened_counts_though_it_reports_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def lost_answer(source: Any, target: Any) -> None:
        link(source, target)
        raise OSError(errno.EIO, "the answer was lost")

    monkeypatch.setattr(os, "link", lost_answer)
    assert atomic.write_once(tmp_path / "name", b"data")
    finished = tmp_path / "finished"
    finished.write_bytes(b"weights")
    assert atomic.link_once(tmp_path / "weights", finished)
    monkeypatch.undo()
    assert not atomic.write_once(tmp_path / "name", b"other")
    assert (tmp_path / "name").read_bytes() == b"data"


def test_a_link_that_failed_is_an_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Any, target: Any) -> None:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(OSError, match="no room"):
        atomic.write_once(tmp_path / "name", b"data")
    assert os.listdir(tmp_path) == []
    (tmp_path / "taken").write_bytes(b"theirs")
    assert not atomic.write_once(tmp_path / "taken", b"data"), "somebody else's publication stands"


def test_a_disk_that_fills_while_writing_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "no room")

    (tmp_path / "kept").write_bytes(b"before")
    monkeypatch.setattr(os, "fsync", full)
    for write in (atomic.write_once, atomic.atomic_write):
        with pytest.raises(OSError, match="no room"):
            write(tmp_path / "kept", b"data")
    assert os.listdir(tmp_path) == ["kept"]
    assert (tmp_path / "kept").read_bytes() == b"before"


def test_publish_file_links_once(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"finished{number}").write_bytes(b"%d" % number)
    assert atomic.link_once(tmp_path / "weights", tmp_path / "finished1")
    assert not atomic.link_once(tmp_path / "weights", tmp_path / "finished2")
    assert (tmp_path / "weights").read_bytes() == b"1"


KILLED = """
import sys
from pathlib import Path
from uniclip.io.atomic import atomic_write, write_once
folder, size = Path(sys.argv[1]), 400_000
print("started", flush=True)
for number in range(1_000_000):
    write_once(folder / f"once-{number}", b"%07d" % number * (size // 7))
    atomic_write(folder / "again", b"%07d" % number * (size // 7))
"""


@pytest.mark.parametrize("after", [0.05, 0.13, 0.21, 0.34])
def test_killed_while_writing_leaves_whole_files_or_none(tmp_path: Path, after: float) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert writer.stdout is not None
    assert writer.stdout.readline()
    time.sleep(after)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    named = [p for p in tmp_path.iterdir() if not p.name.startswith(".")]
    assert named, "it was killed before it wrote anything"
    for path in named:
        data = path.read_bytes()
        assert len(data) == 400_000 // 7 * 7
        assert data == data[:7] * (len(data) // 7)


def test_replace_is_whole_for_whoever_reads_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "beat"
    code = (
        "import sys\nfrom pathlib import Path\nfrom uniclip.io.atomic import atomic_write\n"
        "for n in range(300):\n    atomic_write(Path(sys.argv[1]), (b'%d ' % n) * 20000)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=ROOT)
    reads = 0
    while writer.poll() is None:
        if path.exists():
            words = path.read_bytes().split()
            assert len(words) == 20000
            assert len(set(words)) == 1
            reads += 1
    assert writer.returncode == 0
    assert reads > 3


# ---- lines ---------------------------------------------------------------------------------------


def test_torn_and_foreign_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert atomic.read_jsonl(path) == []
    path.write_bytes(b'{"step": 1}\n{"step": \n[1]\n\xff\xfe\n"word"\n{"step": 2}\n{"step": 3, "lo')
    assert [r["step"] for r in atomic.read_jsonl(path)] == [1, 2]


@pytest.mark.parametrize("cut", range(1, 24))
def test_a_record_after_a_torn_one_is_not_lost(tmp_path: Path, cut: int) -> None:
    """The writer before was killed in the middle of a line: the next line is a line of its own."""
    path = tmp_path / "probes.jsonl"
    path.write_bytes(b'{"arm": "a", "rate": 1}\n'[:cut])
    atomic.append_jsonl(path, {"arm": "b"})
    assert atomic.read_jsonl(path)[-1] == {"arm": "b"}


def test_appended_records_come_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "events.jsonl"
    records = [{"step": i, "text": "line\u2028separator \u00e9\n"} for i in range(5)]
    for record in records:
        atomic.append_jsonl(path, record)
    assert atomic.read_jsonl(path) == records


# ---- records -------------------------------------------------------------------------------------


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    score = Score(name="retrieval.r1", value=0.5, kind="recall", chance=0.01, num_samples=100)
    scores = DatasetScores(
        dataset="d",
        evaluation_hash="e",
        protocol={"k": [1, 5]},
        weights_digest="w",
        scores=(score, score),
    )
    for record in (
        owner(job_id="7"),
        outcome(),
        outcome(weights_digest=None, best_step=None),
        scores,
    ):
        atomic.write_once(tmp_path / str(id(record)), json_io.to_json_bytes(record))
        assert json_io.read_record(type(record), tmp_path / str(id(record))) == record
    assert json_io.read_record(ClaimRecord, tmp_path / "none") is None


def test_a_record_refuses_nan() -> None:
    with pytest.raises(ValueError, match="JSON"):
        json_io.to_json_bytes(
            Score(name="x", value=float("nan"), kind="gap", chance=None, num_samples=1)
        )


DAMAGES = {
    "empty": b"",
    "cut": b'{"kind": "trained", "ste',
    "not text": b"\xff\xfe\x00",
    "a list": b"[]",
    "a field lacks": b'{"kind": "trained"}',
    "another kind": b'{"kind": "finished"}',
    "a strange field": b'{"extra": 1}',
    "nan": json_io.to_json_bytes(outcome()).replace(b"1.0", b"NaN"),
    "no bottom": b'{"kind": ' * 100_000,
}


@pytest.mark.parametrize("damage", sorted(DAMAGES))
@pytest.mark.parametrize("file", ["outcome", "scores", "owner", "ended", "plan"])
def test_a_damaged_record_is_one_line_that_names_the_file(
    tmp_path: Path, file: str, damage: str
) -> None:
    lab = Store(tmp_path)
    run, sweep = lab.get_run("r"), lab.get_sweep("s")
    attempt = run.get_attempt(1)
    path, read = {
        "outcome": (run.path / "outcome.json", run.read_outcome),
        "scores": (run.scores_path("d", "e"), lambda: run.read_scores("d", "e")),
        "owner": (attempt.claim_path, attempt.read_claim),
        "ended": (attempt.path / "ended.json", attempt.read_end),
        "plan": (sweep.path / "plan.json", sweep.read_plan),
    }[file]
    assert read() is None
    path.parent.mkdir(parents=True)
    path.write_bytes(DAMAGES[damage])
    with pytest.raises(UserError) as caught:
        read()
    assert str(path) in str(caught.value)
    assert "damaged" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_heartbeat_is_no_sign_of_life(tmp_path: Path) -> None:
    attempt = Store(tmp_path).get_run("r").claim_attempt(1, owner())
    assert attempt is not None
    assert attempt.read_heartbeat() is None
    attempt.write_heartbeat(step=3, total_steps=9, steps_per_second=2.5, phase="training")
    beat = attempt.read_heartbeat()
    assert isinstance(beat, Heartbeat)
    assert (beat.step, beat.total_steps, beat.phase) == (3, 9, "training")
    for damage in (b"{", b"[" * 100_000):
        (attempt.path / "heartbeat").write_bytes(damage)
        assert attempt.read_heartbeat() is None


# ---- folders -------------------------------------------------------------------------------------


def test_an_attempt_is_claimed_once_and_numbers_ascend(tmp_path: Path) -> None:
    run = Store(tmp_path).get_run("r")
    assert run.list_attempts() == []
    for number in range(1, 12):
        attempt = run.claim_attempt(number, owner(pid=number))
        assert attempt is not None
        assert run.claim_attempt(number, owner(pid=99)) is None
        assert attempt.read_claim() == owner(pid=number)
    assert run.list_attempts() == list(range(1, 12))
    assert run.get_attempt(10).is_overtaken()
    assert not run.get_attempt(11).is_overtaken()


def test_strange_files_among_the_claims_are_not_attempts(tmp_path: Path) -> None:
    run = Store(tmp_path).get_run("r")
    run.claim_attempt(1, owner())
    for name in (".2.claim.ab12", "1 (copy).claim", "x.claim", ".claim", "2.claim~"):
        (run.path / "attempts" / name).write_text("")
    assert run.list_attempts() == [1]


def test_an_attempt_says_its_last_word_once(tmp_path: Path) -> None:
    attempt = Store(tmp_path).get_run("r").claim_attempt(1, owner())
    assert attempt is not None
    attempt.write_end("failed", "ValueError: x")
    attempt.write_end("trained")
    ended = attempt.read_end()
    assert ended is not None
    assert (ended.kind, ended.error) == ("failed", "ValueError: x")


def test_a_sign_of_life_says_whose_it_is_and_whether_it_is_the_last(tmp_path: Path) -> None:
    """So `status` needs no other file of an attempt."""
    attempt = Store(tmp_path).get_run("r").claim_attempt(1, owner())
    assert attempt is not None
    attempt.write_heartbeat(step=3, total_steps=9, steps_per_second=1.0, phase="training")
    beat = attempt.read_heartbeat()
    assert beat is not None
    assert (beat.claim, beat.end) == (owner(), None)
    attempt.write_end("failed", "ValueError: x")
    attempt.write_end("trained")
    last = attempt.read_heartbeat()
    assert last == dataclasses.replace(beat, end=attempt.read_end())


def test_an_attempt_whose_run_has_moved_away_is_overtaken(tmp_path: Path) -> None:
    """A stopped worker that wakes up after its run was superseded must publish nothing."""
    lab = Store(tmp_path)
    run = lab.get_run("r")
    attempt = run.claim_attempt(1, owner())
    assert attempt is not None
    assert not attempt.is_overtaken()
    lab.supersede(run)
    assert attempt.is_overtaken()
    afresh = lab.get_run("r").claim_attempt(1, owner(pid=2))
    assert afresh is not None
    assert attempt.is_overtaken(), "another attempt has its number now"
    assert not afresh.is_overtaken()
    attempt.write_heartbeat(step=5, total_steps=9, steps_per_second=1.0, phase="training")
    attempt.write_end("superseded")
    assert (afresh.read_heartbeat(), afresh.read_end()) == (None, None), "nor a word in its place"


def test_history_is_the_newer_attempts_where_they_overlap(tmp_path: Path) -> None:
    run = Store(tmp_path).get_run("r")
    for number, steps in ((1, range(0, 60, 10)), (2, range(30, 100, 10)), (3, ())):
        attempt = run.claim_attempt(number, owner())
        assert attempt is not None
        for step in steps:
            atomic.append_jsonl(attempt.metrics_path, {"step": step, "loss": float(number)})
            phase = {"step": step, "phase": "validation", "r1": 0.1}
            atomic.append_jsonl(attempt.metrics_path, phase)
        with open(attempt.metrics_path, "a") as torn:
            torn.write('{"step": 1000')
    history = run.read_history()
    losses = {r["step"]: r["loss"] for r in history if "loss" in r}
    assert losses == {s: 1.0 if s < 30 else 2.0 for s in range(0, 100, 10)}
    assert len(history) == 20
    assert [r["step"] for r in history] == sorted(r["step"] for r in history)


def test_supersede_keeps_every_generation(tmp_path: Path) -> None:
    lab = Store(tmp_path)
    for number in (1, 2, 3):
        run = lab.get_run("r")
        run.write_spec({"generation": number})
        place = lab.supersede(run)
        assert json.loads((place / "spec.json").read_text()) == {"generation": number}
    assert sorted(os.listdir(tmp_path / "superseded")) == ["r.1", "r.2", "r.3"]
    assert list(lab.iter_runs()) == []


def test_an_outcome_is_published_once(tmp_path: Path) -> None:
    run = Store(tmp_path).get_run("r")
    assert run.write_outcome(outcome(step=3))
    assert not run.write_outcome(outcome(step=4))
    assert run.read_outcome() == outcome(step=3)


def test_runs_and_sweeps_are_listed_in_order(tmp_path: Path) -> None:
    lab = Store(tmp_path)
    assert list(lab.iter_runs()) == list(lab.iter_sweeps()) == []
    for name in ("b", "a"):
        lab.get_run(name).write_spec({})
        lab.get_sweep(name).path.mkdir(parents=True)
    assert [r.id for r in lab.iter_runs()] == [s.id for s in lab.iter_sweeps()] == ["a", "b"]


def test_a_writable_folder_is_left_as_it_was(tmp_path: Path) -> None:
    Store(tmp_path / "new" / "store").require_writable()
    assert os.listdir(tmp_path / "new" / "store") == []


@pytest.mark.parametrize("where", ["file", "below a file", "proc"])
def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    root = {
        "file": tmp_path / "file",
        "below a file": tmp_path / "file" / "store",
        "proc": Path("/proc/store"),
    }[where]
    with pytest.raises(UserError, match="cannot be written") as caught:
        Store(root).require_writable()
    assert str(root) in str(caught.value)
    assert (tmp_path / "file").read_text() == "not a folder"


def test_a_file_system_without_links_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(source: Any, target: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    with pytest.raises(UserError, match="cannot be written"):
        Store(tmp_path).require_writable()
    assert os.listdir(tmp_path) == []


def test_a_plan_comes_back(tmp_path: Path) -> None:
    sweep = Store(tmp_path).get_sweep("s")
    arm = Arm(name="full", label="Full", role="crossed", levels={"a": True}, config_diff={})
    contrast = Contrast(
        name="main:a", label="a", kind="main", weights={"full": 1.0, "none": -1.0}, primary=True
    )
    part = Component(
        name="a", label="A", reason="why", off_overrides={"x": 1}, manipulation_check={}
    )
    plan = Plan(
        sweep_id="s", ablation="a", title="t", budget="quick", data="scenes", design="crossed",
        arms=(arm,), reference="full", components=(part,), contrasts=(contrast,),
        primary_metric=PrimaryMetric(dataset="scenes", metric="minimal.side"), seeds=(0, 3),
        cells=(Cell(arm="full", seed=0, run_id="00"),), evaluation_hashes={"full": {"scenes": "ab"}},
        missing_datasets={}, base_config={"train": {"steps": 3}},
        planted_effects=(PlantedEffect(kind="helps", description="it helps", contrast="main:a"),),
    )  # fmt: skip
    sweep.write_plan(plan)
    assert sweep.read_plan() == plan
    assert plan.get_arm("full") is arm
    assert plan.cells[0].name == "full/0"
