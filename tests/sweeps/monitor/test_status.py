"""Status: every cell with one advised action, from the store alone."""

from __future__ import annotations

import dataclasses
import json
import socket
import time
import typing
from pathlib import Path

import pytest

from sweeps.claims import process
from sweeps.claims.claim import RunState, RunStatus
from sweeps.monitor import status
from sweeps.monitor.display import Display, build_table
from sweeps.monitor.status import ADVICE, CellRow
from sweeps.slurm import Job
from uniclip.store import (
    Arm,
    Cell,
    Heartbeat,
    Outcome,
    Plan,
    PrimaryMetric,
    Store,
    SubmissionIntent,
)

KINDS = typing.get_args(RunStatus)
RUNS = {"full": "a" * 16, "twin": "a" * 16, "other": "b" * 16}


@pytest.fixture
def plan() -> Plan:
    """Three arms, two of which are one run."""
    return Plan(
        sweep_id="s", ablation="a", title="t", budget="quick", data="scenes", design="listed",
        arms=tuple(
            Arm(name=n, label=n, role="outside", levels={}, config_diff={}) for n in RUNS
        ),
        reference="full", components=(), contrasts=(),
        primary_metric=PrimaryMetric(dataset="scenes", metric="x"), seeds=(0,),
        cells=tuple(Cell(arm=n, seed=0, run_id=r) for n, r in RUNS.items()),
        evaluation_hashes={n: {} for n in RUNS}, missing_datasets={}, base_config={"train": {"steps": 9}},
    )  # fmt: skip


def beat(**changes: float) -> Heartbeat:
    fields = {"time": time.time(), "step": 30, "steps": 90, "rate": 2.0}
    return Heartbeat(phase="training", **{**fields, **changes})  # type: ignore[arg-type]


def row(state: RunState, cell: str = "full/0") -> CellRow:
    return CellRow(cell=cell, run="a" * 16, state=state)


def test_every_state_has_an_advice() -> None:
    assert set(ADVICE) == {*KINDS, "queued", "preempted", "unknown"}
    assert set(status.STATUS_STYLES) <= set(ADVICE)


def test_rows_follow_the_plan_and_shared_runs_are_told_alike(plan: Plan, tmp_path: Path) -> None:
    store = Store(tmp_path)
    attempt = store.get_run(RUNS["full"]).claim_attempt(1, process.make_claim_record({}))
    assert attempt is not None
    rows = status.build_rows(store, plan)
    assert [r.cell for r in rows] == ["full/0", "twin/0", "other/0"]
    assert [r.state.status for r in rows] == ["running", "running", "planned"]
    assert [r.advice for r in rows] == ["wait", "wait", "run"]
    assert status.describe_counts(rows) == "2 running, 1 planned"
    attempt.write_end("failed", "ValueError: broken")
    rows = status.build_rows(store, plan)
    assert [r.state.status for r in rows] == ["failed", "failed", "planned"]
    assert rows[0].reason == f"ValueError: broken; log: {attempt.log_path}"
    assert status.to_records(rows)[0]["log"] == str(attempt.log_path)


WAITS = Job(id="7_1", state="PENDING", restarts=1, node="", name="", reason="Priority")


@pytest.mark.parametrize(
    ("state", "job", "kind", "reason"),
    [
        (RunState(status="planned"), WAITS, "queued", "job 7_1 waits: Priority"),
        (
            RunState(status="interrupted", end_reason="preempted"),
            WAITS,
            "preempted",
            "it was preempted",
        ),
        (
            RunState(status="interrupted", end_reason="timed out"),
            WAITS,
            "queued",
            "it was timed out before",
        ),
        (
            RunState(status="planned", reason="never run"),
            status.UNKNOWN_JOB,
            "unknown",
            "never run",
        ),
        (RunState(status="complete"), WAITS, "complete", ""),
    ],
)
def test_what_waits_is_what_the_queue_says(
    state: RunState, job: Job, kind: str, reason: str
) -> None:
    row = CellRow(cell="full/0", run="a" * 16, state=state, job=job)
    assert row.status == kind
    assert reason in row.reason
    assert row.advice == ADVICE[kind]


def test_a_queue_that_does_not_answer_is_not_taken_for_an_empty_one(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, commands = Store(tmp_path), tmp_path / "bin"
    intent = SubmissionIntent(
        token="t",
        kind="run",
        array_tasks=(("b" * 16,),),
        last_attempts={},
        submitter=process.make_claim_record({}),
    )
    store.get_sweep("s").record_intent(intent)
    commands.mkdir()
    for name in ("sbatch", "scontrol", "squeue"):
        says = "echo ClusterName=near" if name == "scontrol" else "exit 1"
        (commands / name).write_text(f"#!/bin/sh\n{says}\n")
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:/usr/bin:/bin")
    assert [r.status for r in status.build_rows(store, plan)] == ["unknown"] * 3
    (commands / "squeue").write_text("#!/bin/sh\n")
    assert [r.status for r in status.build_rows(store, plan)] == ["planned", "planned", "queued"]


def test_looking_writes_nothing(plan: Plan, tmp_path: Path) -> None:
    status.build_rows(Store(tmp_path / "store"), plan)
    assert list(tmp_path.iterdir()) == []


def test_progress_says_how_far_and_how_long() -> None:
    running = row(RunState(status="running", heartbeat=beat()))
    assert running.progress == "training 30/90, 2 steps/s, 30 s to go"
    assert running.seconds_left == 30
    assert row(RunState(status="interrupted", heartbeat=beat())).progress == "training 30/90"
    assert row(RunState(status="running", heartbeat=beat(rate=0.0))).progress == "training 30/90"
    assert row(RunState(status="planned")).progress == ""
    outcome = Outcome(
        kind="trained", step=90, attempt=1, training_hash="", source_hash="", numerics_class={}, weights_digest="00",
        best_step=1, cost={},
    )  # fmt: skip
    assert row(RunState(status="complete", outcome=outcome, heartbeat=beat())).progress == "step 90"


@pytest.mark.parametrize(
    ("numerics", "place"),
    [
        ({"device": "cpu", "model": "Some CPU"}, socket.gethostname()),
        ({"device": "cuda", "model": "NVIDIA A100"}, f"{socket.gethostname()}, NVIDIA A100"),
    ],
)
def test_the_place_is_a_machine_and_its_gpu(numerics: dict[str, str], place: str) -> None:
    held = process.make_claim_record(numerics)
    assert row(RunState(status="running", claim_record=held)).location == place
    assert row(RunState(status="complete", claim_record=held)).location == ""


def test_the_age_of_a_sign_is_shown_while_it_matters() -> None:
    old = beat(time=time.time() - 600)
    assert row(RunState(status="lost", heartbeat=old)).heartbeat_age == "10 min"
    assert row(RunState(status="complete", heartbeat=old)).heartbeat_age == ""
    assert row(RunState(status="running")).heartbeat_age == ""


def test_records_are_json_with_every_cell() -> None:
    rows = [row(RunState(status=k, heartbeat=beat(), reason="why")) for k in KINDS]
    records = json.loads(json.dumps(status.to_records(rows)))
    assert [r["state"] for r in records] == list(KINDS)
    assert all(r["advice"] == ADVICE[r["state"]] for r in records)
    assert records[0]["step"] == 30


def test_a_run_with_an_outcome_says_as_much_to_machines_as_in_the_table() -> None:
    trained = Outcome(
        kind="trained", step=90, attempt=2, training_hash="", source_hash="", numerics_class={}, weights_digest="00",
        best_step=1, cost={},
    )  # fmt: skip
    diverged = dataclasses.replace(trained, kind="diverged", step=40, weights_digest=None)
    states = (
        RunState(status="complete", outcome=trained),
        RunState(status="diverged", outcome=diverged),
        RunState(status="due", outcome=trained, attempt=3, heartbeat=beat()),
        RunState(status="running", outcome=trained, attempt=3, heartbeat=beat()),
        RunState(status="running", attempt=1, heartbeat=beat(time=5.0)),
    )
    records = status.to_records(map(row, states))
    assert [(r["attempt"], r["step"], r["steps"]) for r in records] == [
        (2, 90, 90),
        (2, 40, None),
        (3, 90, 90),
        (3, 30, 90),
        (1, 30, 90),
    ]
    assert (records[-1]["phase"], records[-1]["last_sign"]) == ("training", 5.0)


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> typing.Callable[[], str]:
    return lambda: capsys.readouterr().out


def test_a_log_gets_plain_lines_for_what_changed(
    plan: Plan, printed: typing.Callable[[], str]
) -> None:
    from rich.console import Console

    display = Display(Console(width=200, highlight=False, color_system=None))
    before = {r: RunState(status="running") for r in set(RUNS.values())}
    display.show_states(plan, before)
    assert printed() == "", "a sweep that goes on is no news"
    after = {**before, RUNS["other"]: RunState(status="failed", reason="[red]broken[/red] file")}
    display.show_states(plan, after)
    text = printed()
    assert text.count("\n") == 1
    assert "other/0" in text
    assert "failed" in text
    assert "[red]broken[/red] file" in text, "an error line is not markup"
    display.show_states(plan, after)
    assert printed() == ""
    display.close()


def test_a_table_shows_every_cell_of_a_small_sweep(printed: typing.Callable[[], str]) -> None:
    from rich.console import Console

    rows = [row(RunState(status=k), f"arm-{k}/0") for k in KINDS]
    Console(width=200, color_system=None).print(build_table(rows))
    text = printed()
    assert all(f"arm-{k}/0" in text for k in KINDS)


def test_a_reason_in_the_table_is_not_markup(printed: typing.Callable[[], str]) -> None:
    from rich.console import Console

    reason = "KeyError: 'x[/y]' not in [bold]"
    Console(width=200, color_system=None).print(
        build_table([row(RunState(status="failed", reason=reason))])
    )
    assert reason in printed()


def test_a_big_sweep_shows_what_moves() -> None:
    rows = [row(RunState(status="complete"), f"done/{i}") for i in range(60)]
    rows += [row(RunState(status="running"), f"live/{i}") for i in range(3)]
    assert build_table(rows, max_rows=10).row_count == 3
    assert build_table(rows).row_count == 63
    assert dataclasses.is_dataclass(rows[0])
