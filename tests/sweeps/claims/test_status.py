"""How an attempt ended by its witnesses' word, how often it may, and what it takes to tell."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from sweeps.claims import claim, process
from sweeps.claims.claim import (
    EXTERNAL_INTERRUPTIONS,
    MAX_ATTEMPTS,
    MAX_ATTEMPTS_WITHOUT_PROGRESS,
    MAX_REQUEUES,
    MAX_SILENT_DEATHS,
    RESTART_REASONS,
    RunState,
)
from uniclip.identity import compute_training_hash
from uniclip.io.atomic import write_once
from uniclip.store import AttemptFolder, ClaimRecord, Outcome, RunFolder, Store

EVALUATIONS = {f"set{i}": "abcd1234" for i in range(14)}
GONE: dict[str, Any] = {"started": 1}
"""No process of this boot started one tick after it."""
OFTEN = 60


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = Store(tmp_path / "store").get_run("0123456789abcdef")
    folder.write_spec({"config": {}})
    return folder


def attempt_of(run: RunFolder, **changes: Any) -> AttemptFolder:
    """The next attempt, by a live process of this machine, in a job."""
    mine = dataclasses.replace(process.make_claim_record({}), job_id="7", cluster="near", **changes)
    attempt = run.claim_attempt(len(run.list_attempts()) + 1, mine)
    assert attempt is not None
    return attempt


def ends(
    run: RunFolder, words: list[str], *, own: bool = False, saves: Callable[[int], bool] = bool
) -> RunState:
    """The state after attempts elsewhere that ended so, one after another.

    own: each said it itself; else its job's state says it. saves: whether the attempt of that
    number left a checkpoint (the default: each did).
    """
    before = ""
    for number, word in enumerate(words, start=1):
        attempt = attempt_of(run, host="elsewhere", after=before)
        if saves(number):
            save(attempt)
        if own:
            attempt.write_end("interrupted", word)
        before = word
    return claim.inspect_run(run, EVALUATIONS, lambda owner: words[-1])


def save(attempt: AttemptFolder) -> None:
    attempt.checkpoints_path.mkdir()
    (attempt.checkpoints_path / f"{attempt.number}.safetensors").write_text("")


def never(number: int) -> bool:
    return False


# ---- a witness -----------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["preempted", "timed out", "requeued", "cancelled", "node failed"])
def test_a_witness_proves_an_end_elsewhere(run: RunFolder, word: str) -> None:
    state = ends(run, [word])
    assert (state.status, state.end_reason, state.reason) == (
        "interrupted",
        word,
        f"{word} before its end",
    )


def test_a_witness_tells_a_death_life_and_nothing(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt_of(run, host="elsewhere")

    def look(word: str) -> tuple[str, str, str]:
        state = claim.inspect_run(run, EVALUATIONS, lambda owner: word)
        return state.status, state.end_reason, state.reason

    assert look("died") == ("interrupted", "died", "its process is gone")
    for word in ("alive", "unknown"):
        assert look(word) == ("running", "", "job 7 on elsewhere")
    monkeypatch.setattr(claim, "HEARTBEAT_TIMEOUT_SECONDS", -1.0)
    assert look("alive") == ("running", "", "job 7 on elsewhere")
    assert look("unknown")[:2] == ("lost", "")


@pytest.mark.parametrize(
    ("said", "after"),
    [("preempted", "preempted"), ("alive", "died"), ("unknown", "died"), ("died", "died")],
)
def test_of_a_process_that_is_gone_a_witness_says_why(
    run: RunFolder, said: str, after: str
) -> None:
    attempt_of(run, **GONE)
    assert claim.inspect_run(run, EVALUATIONS, lambda owner: said).end_reason == after


@pytest.mark.parametrize("case", ["alive here", "its own word", "no job"])
def test_a_witness_is_asked_where_it_knows_more(run: RunFolder, case: str) -> None:
    changes = {"alive here": {}, "its own word": {"host": "x"}, "no job": {"host": "x", "job": ""}}
    mine = dataclasses.replace(process.make_claim_record({}), **{"job": "7", **changes[case]})
    attempt = run.claim_attempt(1, mine)
    assert attempt is not None
    if case == "its own word":
        attempt.write_end("interrupted", "timed out")

    def asked(owner: ClaimRecord) -> str:
        raise AssertionError("asked")

    kinds = {"alive here": "running", "its own word": "interrupted", "no job": "running"}
    assert claim.inspect_run(run, EVALUATIONS, asked).status == kinds[case]


# ---- how often -----------------------------------------------------------------------------------


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("word", MAX_ATTEMPTS)
def test_an_end_with_a_budget_is_counted_whatever_was_saved(
    run: RunFolder, word: str, own: bool
) -> None:
    words = ["preempted", *[word] * (MAX_ATTEMPTS[word] - 1)]
    assert ends(run, words, own=own).status == "interrupted"
    attempt_of(run, host="elsewhere", after=word)
    state = claim.inspect_run(run, EVALUATIONS, lambda owner: word)
    assert (state.status, state.reason) == ("failed", f"{word}, {MAX_ATTEMPTS[word]} times")


@pytest.mark.parametrize("word", EXTERNAL_INTERRUPTIONS)
def test_what_comes_from_outside_is_free_while_steps_advance(run: RunFolder, word: str) -> None:
    assert ends(run, [word] * OFTEN).status == "interrupted"


@pytest.mark.parametrize("word", EXTERNAL_INTERRUPTIONS)
@pytest.mark.parametrize(
    ("attempts", "kind"),
    [(MAX_ATTEMPTS_WITHOUT_PROGRESS - 1, "interrupted"), (MAX_ATTEMPTS_WITHOUT_PROGRESS, "failed")],
)
def test_attempts_that_never_reach_a_checkpoint_end(
    run: RunFolder, word: str, attempts: int, kind: str
) -> None:
    state = ends(run, [word] * attempts, own=True, saves=never)
    assert (state.status, "did not reach" in state.reason) == (kind, kind == "failed")


@pytest.mark.parametrize("word", RESTART_REASONS)
@pytest.mark.parametrize(
    ("attempts", "kind"), [(MAX_REQUEUES - 1, "interrupted"), (MAX_REQUEUES, "failed")]
)
def test_a_job_that_is_started_anew_without_a_word_has_a_budget(
    run: RunFolder, word: str, attempts: int, kind: str
) -> None:
    """All that Slurm says of a node that failed under a job that it may requeue."""
    state = ends(run, [word] * attempts, saves=never)
    assert (state.status, f"anew {MAX_REQUEUES} times" in state.reason) == (kind, kind == "failed")


@pytest.mark.parametrize("word", RESTART_REASONS)
def test_starts_anew_are_counted_from_the_last_checkpoint_on(run: RunFolder, word: str) -> None:
    assert ends(run, [word] * MAX_REQUEUES, saves=lambda n: n == 1).status == "interrupted"
    attempt_of(run, host="elsewhere", after=word)
    assert claim.inspect_run(run, EVALUATIONS, lambda owner: word).status == "failed"


def test_a_word_tells_a_preemption_from_a_node_that_failed(run: RunFolder) -> None:
    for number in range(MAX_REQUEUES - 1):
        attempt = attempt_of(run, host="elsewhere")
        if number == 3:
            attempt.write_end("interrupted", "preempted")
    attempt_of(run, host="elsewhere")
    assert claim.inspect_run(run, EVALUATIONS, lambda owner: "restarted").status == "interrupted"


def test_a_death_after_preemptions_is_one_death(run: RunFolder) -> None:
    ends(run, ["preempted"] * (MAX_SILENT_DEATHS - 1), own=True, saves=never)
    attempt_of(run, **GONE)
    assert claim.inspect_run(run, EVALUATIONS).status == "interrupted"
    for _ in range(MAX_SILENT_DEATHS - 1):
        attempt_of(run, **GONE)
    state = claim.inspect_run(run, EVALUATIONS)
    assert (state.status, f"died {MAX_SILENT_DEATHS} times" in state.reason) == ("failed", True)


def test_an_outcome_is_progress_though_its_checkpoints_are_gone(run: RunFolder) -> None:
    ends(run, ["preempted"] * MAX_ATTEMPTS_WITHOUT_PROGRESS, own=True, saves=never)
    publish_outcome(run, MAX_ATTEMPTS_WITHOUT_PROGRESS)
    attempt_of(run, host="elsewhere", after="preempted").write_end("interrupted", "preempted")
    assert claim.inspect_run(run, EVALUATIONS).status == "due"


@pytest.mark.parametrize(("last", "kind"), [(1, "failed"), (2, "due")])
def test_scores_are_progress(run: RunFolder, last: int, kind: str) -> None:
    """After an outcome, in the row of attempts that judge; `last`: whose scores are the newest."""
    publish_outcome(run, attempt=0)
    for number in range(1, MAX_REQUEUES + 2):
        attempt = attempt_of(run, host="elsewhere")
        os.utime(attempt.claim_path, (number, number))
    path = run.scores_path("set0", EVALUATIONS["set0"])
    write_once(path, b"{}")
    os.utime(path, (last + 0.5, last + 0.5))
    assert claim.inspect_run(run, EVALUATIONS, lambda owner: "restarted").status == kind


# ---- what it takes to tell -----------------------------------------------------------------------


def publish_outcome(run: RunFolder, attempt: int = 1) -> None:
    outcome = Outcome(
        kind="trained", step=9, attempt=attempt, training_hash=compute_training_hash(), source_hash="s",
        numerics_class={}, weights_digest="00", best_step=9, cost={},
    )  # fmt: skip
    assert run.write_outcome(outcome)


_counting: list[Counter[str]] = []


@cache
def _listen() -> None:
    """For good: there is no way to take such a hook back."""
    sys.addaudithook(_hook)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _counting and event in ("open", "os.listdir", "os.scandir"):
        _counting[-1][_where(arguments[0])] += 1


def _where(path: object) -> str:
    return "proc" if str(path).startswith("/proc") else "store"


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Files that are opened, looked at or listed meanwhile: in the store, and in /proc."""
    _listen()
    real, calls = os.stat, Counter[str]()

    def stat(path: Any, **more: Any) -> os.stat_result:
        calls[_where(path)] += 1
        return real(path, **more)

    _counting.append(calls)
    try:
        with mock.patch("os.stat", stat):
            yield calls
    finally:
        _counting.pop()


@pytest.mark.parametrize(
    ("kind", "lightly", "store", "proc"),
    [
        ("planned", True, 2, 0),
        ("complete", True, 2, 0),
        ("running", True, 3, 1),
        ("interrupted", True, 3, 0),
        ("dead", True, 5, 2),
        ("running", False, 5, 1),
        ("interrupted", False, 5, 0),
        ("dead", False, 5, 1),
    ],
)
def test_a_look_reads_nothing_twice(
    run: RunFolder, kind: str, lightly: bool, store: int, proc: int
) -> None:
    """Two looks at a cell that is planned, or complete on fourteen sets; three where an attempt is
    at it or has said its last word (is there an outcome, which attempt is the newest, its last sign
    of life, which repeats the rest). Death is proven by the claim and the missing last word, and
    who would claim the next attempt believes these two alone. /proc is of this machine alone."""
    if kind == "complete":
        publish_outcome(run)
        for name, hash_ in EVALUATIONS.items():
            write_once(run.scores_path(name, hash_), b"{}")
    elif kind != "planned":
        for _ in range(MAX_SILENT_DEATHS - 1):
            attempt = attempt_of(run, **(GONE if kind == "dead" else {}))
            attempt.write_heartbeat(step=1, total_steps=9, steps_per_second=1.0, phase="training")
        if kind == "interrupted":
            attempt.write_end("interrupted", "preempted")
    claim.inspect_run(run, EVALUATIONS)  # what is read once for all
    with counted() as calls:
        state = claim.inspect_run(run, EVALUATIONS, trust_heartbeat=lightly)
    assert state.status == ("interrupted" if kind == "dead" else kind)
    assert (calls["store"], calls["proc"]) == (store, proc)
