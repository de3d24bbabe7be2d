"""Default and tuned arms side by side: a sweep of each, made up, and what was chosen."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.collect.frame import collect_sweep_data
from analysis.report import build
from analysis.results.results import Results, analyze, find_mixed_training
from analysis.tables import scores
from analysis.tables.table import Table, to_csv
from tests.helpers import fake_sweep
from tests.helpers.fake_sweep import Truth
from uniclip import rng
from uniclip.errors import UserError
from uniclip.store import Cell, Plan, Store, Trial, TunedArm, Tuning

KEY = "train.learning_rate"


def chosen(arm: str, number: int) -> TunedArm:
    """Every other arm at the upper edge; the default's trial of arm `clip` was stopped."""
    best = Trial(
        number=number,
        params={KEY: 1e-3 * (1 + number)},
        rung_scores={"0": 0.5},
        completed=True,
        steps=200,
    )
    return TunedArm(
        arm=arm,
        best_trial=best,
        default_score=None if arm == "clip" else 0.4,
        n_trials=12,
        n_pruned=2,
        n_diverged=1,
        steps=2200 + 200 * (arm == "clip"),
        at_boundary={KEY: "upper"} if number % 2 else {},
    )


def tuned_plan(default: Plan, seeds: tuple[int, ...] = (1000,)) -> Plan:
    arms = tuple(chosen(a.name, i) for i, a in enumerate(default.arms))
    cells = tuple(
        Cell(arm=c.arm, seed=c.seed, run_id=f"{rng.derive_key('tuned', c.arm, c.seed):016x}")
        for c in default.cells
    )
    tuning = Tuning(
        default_sweep=default.sweep_id,
        space="optimizer",
        pruner="median",
        n_trials=12,
        seeds=seeds,
        arms=arms,
    )
    return replace(default, sweep_id="components-quick-tuned-5e6f7a8b", cells=cells, tuning=tuning)


def made(root: Path, better: float = 0.1, seeds: tuple[int, ...] = (1000,)) -> tuple[Store, Plan]:
    """A store with a sweep of default arms, and of tuned ones of which all but clip are better."""
    store, sweep = fake_sweep.make(root, Truth())
    default = store.get_sweep(sweep).read_plan()
    assert default is not None
    plan = tuned_plan(default, seeds)
    store.get_sweep(plan.sweep_id).write_plan(plan)
    for cell in plan.cells:
        lift = 0.0 if "clip" in cell.arm else 2 * better
        fake_sweep.write_run(store, plan, cell, Truth(effects={"awareness": lift}))
    return store, plan


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Results]:
    store, plan = made(tmp_path_factory.mktemp("store"))
    return store, analyze(store, collect_sweep_data(store, plan.sweep_id))


def table(findings: Results, name: str) -> Table:
    return next(t for t in scores.build_tables(findings) if t.name == name)


def rows(of: Table) -> dict[str, dict[str, str]]:
    read = list(csv.DictReader(to_csv(of).splitlines()))
    return {row.get("arm") or row["contrast"]: row for row in read}


def test_a_sweep_that_was_not_tuned_has_no_such_table(tmp_path: Path) -> None:
    store, sweep = fake_sweep.make(tmp_path, Truth())
    findings = analyze(store, collect_sweep_data(store, sweep))
    assert findings.tuning_comparison is None
    assert not [t for t in scores.build_tables(findings) if "tun" in t.name]


def test_default_and_tuned_stand_side_by_side(found: tuple[Store, Results]) -> None:
    store, findings = found
    assert findings.plan.tuning is not None
    before = analyze(store, collect_sweep_data(store, findings.plan.tuning.default_sweep))
    for arm, row in rows(table(findings, "tuning")).items():
        assert float(row["tuned"]) == pytest.approx(findings.compute_mean(arm))
        assert float(row["default"]) == pytest.approx(before.compute_mean(arm))
        paired = float(row["tuned"]) - float(row["default"])
        assert float(row["difference"]) == pytest.approx(paired)
        if paired:  # of clip the same scores were made up again
            assert float(row["low"]) < paired < float(row["high"])
        assert row["runs_default"].split() == [fake_sweep.run_id(arm, s) for s in (0, 1, 2)]
        assert len(set(row["runs_tuned"].split())) == 3
        assert row["validation_default"] == ("" if arm == "clip" else "0.4")


def test_default_runs_of_other_code_are_told(tmp_path: Path) -> None:
    store, plan = made(tmp_path)
    path = store.get_run(fake_sweep.run_id("clip", 2)).path / "outcome.json"
    path.write_text(path.read_text().replace('"training_hash": "t"', '"training_hash": "u"'))
    findings = analyze(store, collect_sweep_data(store, plan.sweep_id))
    assert find_mixed_training(findings) == ["clip/2 by default"]


def test_edges_are_flagged(found: tuple[Store, Results]) -> None:
    of = table(found[1], "tuning")
    column = of.headings.index(KEY)
    marked = [row[column].text.endswith("(upper edge)") for row in of.rows]
    assert marked == [i % 2 == 1 for i in range(len(of.rows))]
    assert [row[column].tone == "bad" for row in of.rows] == marked
    assert sum("on the upper edge of the space" in note for note in of.notes) == sum(marked)
    by_arm = rows(of)
    assert {a: r["edges"] for a, r in by_arm.items()}["clip"] == (
        f"{KEY}:upper" if list(by_arm).index("clip") % 2 else ""
    )


def test_what_was_spent_is_said(found: tuple[Store, Results]) -> None:
    of = table(found[1], "tuning")
    assert {row["steps"] for row in rows(of).values()} == {"2200", "2400"}
    assert any("Steps spent differ" in note for note in of.notes)
    assert all(row[-2].text == "12 (2 stopped)" for row in of.rows)


def test_effects_before_and_after_tuning(found: tuple[Store, Results]) -> None:
    store, findings = found
    of = rows(table(findings, "tuned_effects"))
    assert of.keys() == {c.name for c in findings.plan.contrasts}
    assert float(of["main:awareness"]["default_effect"]) == pytest.approx(0.08, abs=0.03)
    assert float(of["main:awareness"]["tuned_effect"]) == pytest.approx(0.2, abs=0.03)
    effects = rows(table(findings, "effects"))
    for name, row in of.items():
        assert row["tuned_effect"] == effects[name]["effect"]
        assert row["verdict_tuned"] == effects[name]["verdict"]


@pytest.mark.parametrize(
    ("seeds", "said"), [((1000,), "had no say"), ((1, 1000), "Seeds 1 served")]
)
def test_seeds_that_served_the_choice_are_named(
    tmp_path: Path, seeds: tuple[int, ...], said: str
) -> None:
    store, plan = made(tmp_path, seeds=seeds)
    of = table(analyze(store, collect_sweep_data(store, plan.sweep_id)), "tuning")
    assert any(said in note for note in of.notes)


def test_the_report_is_built_again_when_a_default_run_changes(tmp_path: Path) -> None:
    store, plan = made(tmp_path)
    before = build.compute_input_digest(store, plan)
    assert build.compute_input_digest(store, plan) == before
    (store.get_run(fake_sweep.run_id("clip", 0)).path / "outcome.json").unlink()
    assert build.compute_input_digest(store, plan) != before


def test_a_default_sweep_that_is_gone_is_one_line(tmp_path: Path) -> None:
    store, plan = made(tmp_path)
    assert plan.tuning is not None
    (store.get_sweep(plan.tuning.default_sweep).path / "plan.json").unlink()
    with pytest.raises(UserError, match="has no sweep components-quick-1a2b3c4d"):
        analyze(store, collect_sweep_data(store, plan.sweep_id))
