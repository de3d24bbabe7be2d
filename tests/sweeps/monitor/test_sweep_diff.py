"""The comparison of two sweeps: settings, configuration, arms, data and scores."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sweeps.monitor import sweep_diff
from tests.helpers import fake_sweep
from uniclip.store import Cell, Plan, PrimaryMetric, Store


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Plan]:
    truth = fake_sweep.Truth(seeds=(0, 1), effects={"awareness": 0.2})
    store, sweep_id = fake_sweep.make(tmp_path_factory.mktemp("store"), truth)
    plan = store.get_sweep(sweep_id).read_plan()
    assert plan is not None
    return store, plan


def compare(stored: tuple[Store, Plan], other: Plan) -> dict[str, sweep_diff.DiffSection]:
    store, plan = stored
    sections = sweep_diff.compare_sweeps((store, store), (plan, other))
    return {section.title.split(",")[0]: section for section in sections}


def test_equal_sweeps_differ_in_nothing(stored: tuple[Store, Plan]) -> None:
    sections = compare(stored, replace(stored[1], sweep_id="other-smoke-00000000"))
    for title in ("settings", "configuration", "arms"):
        assert (sections[title].rows, sections[title].note) == ((), "the same")
    assert sections["data"].note == "the same content"
    rows = sections["primary score"].rows
    assert {name for name, _, _ in rows} == {arm.name for arm in stored[1].arms}
    for _, first, second in rows:
        assert first == second
        assert first.endswith("% (2)")


def test_what_differs_is_named_with_both_values(stored: tuple[Store, Plan]) -> None:
    store, plan = stored
    arms = (replace(plan.arms[0], config_diff={"method.x": 3}), *plan.arms[2:])
    base_config = {**plan.base_config, "train": {**plan.base_config["train"], "steps": 7}}
    other = replace(plan, budget="smoke", seeds=(0,), arms=arms, base_config=base_config)
    sections = compare(stored, other)
    assert ("budget", "quick", "smoke") in sections["settings"].rows
    assert ("seeds", "[0, 1]", "[0]") in sections["settings"].rows
    assert sections["configuration"].rows == (
        ("train.steps", str(plan.base_config["train"]["steps"]), "7"),
    )
    rows = {name: values for name, *values in sections["arms"].rows}
    assert rows[plan.arms[1].name] == [plan.arms[1].label, "-"]
    assert rows[f"{plan.arms[0].name}: method.x"] == ["-", "3"]


def test_other_data_are_said(stored: tuple[Store, Plan]) -> None:
    store, plan = stored
    other = replace(plan, cells=(Cell(arm="full", seed=0, run_id="0123456789abcdef"),))
    assert "has a spec" in compare(stored, other)["data"].note
    assert compare(stored, other)["primary score"].note.endswith("no score yet")
    store.get_run("0123456789abcdef").write_spec({"config": {}, "data": {"rows": {"digest": "a"}}})
    assert compare(stored, other)["data"].rows == (("rows.digest", "-", "a"),)


def test_other_primary_scores_are_not_compared(stored: tuple[Store, Plan]) -> None:
    other = replace(stored[1], primary_metric=PrimaryMetric(dataset="scenes", metric="x"))
    section = compare(stored, other)["primary score"]
    assert section.rows == ()
    assert "not the same" in section.note
