"""Imported runs in the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.merging.imported_runs import ImportedRun
from sweeps.merging.imported_sweep import build_plan, write_sweep
from uniclip.errors import UserError
from uniclip.store import Plan, Store

KINDS = {"r1": "recall"}


def make_runs(seeds: tuple[int, ...]) -> list[ImportedRun]:
    return [
        ImportedRun(
            arm=arm, seed=seed, scores={"r1": value + seed / 1000}, origin="x",
            records=[{"step": 1, "phase": "train", "loss": 2.0}], start=10.0, end=70.0,
        )
        for seed in seeds
        for arm, value in (("a", 0.5), ("b", 0.6))
    ]  # fmt: skip


def make_plan(*seeds: int, **options: str) -> tuple[Plan, dict[str, ImportedRun]]:
    return build_plan("mine", make_runs(seeds), KINDS, Path("runs.csv"), **options)  # type: ignore[arg-type]


def test_the_plan_says_what_it_is() -> None:
    plan, _ = make_plan(2, 3, 4, reference="b")
    assert (plan.reference, plan.seeds, plan.first_seed, plan.executor) == (
        "b", (2, 3, 4), 2, "imported",
    )  # fmt: skip
    assert [(c.weights, c.primary) for c in plan.contrasts] == [({"a": 1.0, "b": -1.0}, True)]
    assert plan.caveats == (
        "Imported from runs.csv: not audited, not planned here, provenance unverified.",
    )
    again, runs = make_plan(2, 3, 4, reference="b")
    assert again.sweep_id == plan.sweep_id
    other, other_runs = make_plan(2, 3, 4)
    assert other.sweep_id != plan.sweep_id, "a plan with another reference replaces no plan"
    assert [*other_runs] == [*runs]


def test_seeds_with_gaps_are_numbered() -> None:
    plan, runs = make_plan(7, 99, 42)
    assert plan.seeds == (0, 1, 2)
    assert plan.caveats[0].endswith("Seeds 7, 42, 99 are numbered from 0.")
    assert {(r.arm, r.seed): r.scores["r1"] for r in runs.values()}["a", 1] == 0.542


def test_runs_are_written_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    plan, runs = make_plan(0, 1)
    assert write_sweep(store, plan, runs, KINDS) == 4  # type: ignore[arg-type]
    assert write_sweep(store, plan, runs, KINDS) == 0  # type: ignore[arg-type]
    run = store.get_run(next(iter(runs)))
    assert [r["loss"] for r in run.read_history()] == [2.0]
    outcome = run.read_outcome()
    assert outcome is not None
    assert outcome.cost == {"training_seconds": 60.0}
    attempt = run.get_attempt(1)
    for path in (run.path / "outcome.json", attempt.end_path, attempt.metrics_path):
        path.unlink()  # as an import that was killed leaves it
    assert write_sweep(store, plan, runs, KINDS) == 1  # type: ignore[arg-type]
    assert [r["loss"] for r in run.read_history()] == [2.0]
    assert attempt.read_end() is not None
    assert run.has_scores(plan.required_evaluations()[run.id])


def test_errors() -> None:
    with pytest.raises(UserError, match="unknown arm 'c'"):
        make_plan(0, reference="c")
    with pytest.raises(UserError, match="arm a, seed 0 has no score top1"):
        build_plan("mine", make_runs((0,)), {"top1": "accuracy"}, Path("x"))
