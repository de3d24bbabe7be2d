"""The records of a sweep."""

from __future__ import annotations

from pathlib import Path

from uniclip.store import (
    Arm,
    Cell,
    Component,
    Contrast,
    Plan,
    PlantedEffect,
    PrimaryMetric,
    Store,
)
from uniclip.store.json_io import decode_record


def test_a_plan_is_read_back_unchanged(tmp_path: Path) -> None:
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
        cells=(Cell(arm="full", seed=0, run_id="00"),),
        evaluation_hashes={"full": {"scenes": "ab"}},
        missing_datasets={}, base_config={"train": {"steps": 3}},
        planted_effects=(
            PlantedEffect(kind="positive_effect", description="it helps", contrast="main:a"),
        ),
    )  # fmt: skip
    sweep.write_plan(plan)
    assert sweep.read_plan() == plan
    assert plan.get_arm("full") is arm
    assert plan.cells[0].name == "full/0"


def test_planted_effects_of_earlier_plans_are_read() -> None:
    record = b'{"kind": "no_significant_effect", "description": "d", "contrast": "c"}'
    planted = decode_record(PlantedEffect, record, "plan.json")
    assert (planted.kind, planted.contrast) == ("no_significant_effect", "c")
