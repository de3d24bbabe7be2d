"""A plan as text: cells by arm, differences only, and how lines are shared on a screen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sweeps.claims.status import RunState
from sweeps.costs.estimate import CostEstimate
from sweeps.monitor import plan_lines
from sweeps.monitor.plan_lines import PlannedCell, build_plan_lines, build_planned_cells
from sweeps.monitor.status import CellRow
from tests.sweeps.monitor import make_plan
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets.acquisition import describe_ways
from uniclip.store import Cell, Contrast, Plan, RunStatus

SEEDS = (0, 1, 2)


def test_arms_of_a_command_differ_in_their_values() -> None:
    plan = make_plan()
    arms = (
        replace(plan.arms[0], name="a", config_diff={"values.lr": 0.5}),
        replace(plan.arms[0], name="b", config_diff={"train.steps": 9}),
    )
    weights = {"a": 1.0, "b": -1.0}
    contrast = Contrast(name="c", label="c", kind="difference", weights=weights, primary=True)
    values = {"lr": 0.1, "flags": ["--x"]}
    plan = replace(
        plan, arms=arms, contrasts=(contrast,), base_config={**plan.base_config, "values": values}
    )
    lines = plan_lines.describe_differences(plan, {}, 80)
    assert lines[-1].strip() == "c: lr 0.5 vs. 0.1"
    fact = {"samples seen": 10.0}
    assert plan_lines.describe_differences(plan, {"a": fact, "b": fact}, 80) == lines


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        ({"on": 0.5, "no-y": 0.5, "no-x": -0.5, "none": -0.5}, "x 1 vs. 0"),
        ({"on": 1.0, "no-x": -1.0, "no-y": -1.0, "none": 1.0}, plan_lines.SAME_VALUES),
        ({"on": 1.0, "no-x": -0.5, "none": -0.5}, "x 1 vs. 0, y 1 vs. 1 or 0"),
        ({"on": 1.5, "no-x": 0.5, "no-y": -0.5, "none": -1.5}, "x in other shares, y 1 vs. 0"),
    ],
)
def test_values_of_several_arms_are_those_of_the_sides(
    weights: dict[str, float], text: str
) -> None:
    plan = make_plan()
    off = {"on": "", "no-x": "x", "no-y": "y", "none": "xy"}
    arms = tuple(
        replace(plan.arms[0], name=name, config_diff={f"values.{v}": 0 for v in values})
        for name, values in off.items()
    )
    contrast = Contrast(name="c", label="c", kind="main", weights=weights, primary=True)
    base_config = {**plan.base_config, "values": {"x": 1, "y": 1, "z": 1}}
    plan = replace(plan, arms=arms, contrasts=(contrast,), base_config=base_config)
    lines = plan_lines.describe_differences(plan, {}, 80)
    assert lines[-1].strip() == f"c: {text}"


def make_seeds_plan(num_arms: int = 3) -> Plan:
    """Return a plan of three seeds, one contrast for each arm but the first, and two notes."""
    plan = make_plan()
    arms = tuple(replace(plan.arms[0], name=f"arm-{i}", label=f"arm {i}") for i in range(num_arms))
    contrasts = tuple(
        Contrast(
            name=arm.name,
            label=f"first against {arm.label}",
            kind="difference",
            weights={"arm-0": 1.0, arm.name: -1.0},
            primary=True,
        )
        for arm in arms[1:]
    )
    return replace(
        plan,
        arms=arms,
        seeds=SEEDS,
        contrasts=contrasts,
        cells=tuple(
            Cell(arm=arm.name, seed=seed, run_id=f"{i}{seed}" * 8)
            for seed in SEEDS
            for i, arm in enumerate(arms)
        ),
        base_config={**plan.base_config, "data": {"image_size": 96}},
        data_notes=("the separator is a tab", "3 rows without a caption are skipped"),
    )


def make_planned_cells(plan: Plan) -> list[PlannedCell]:
    """Return the cells: those of seed 0 are complete, the cost of the first arm is measured."""
    rows = [
        CellRow(
            cell=cell.name,
            run=cell.run_id,
            state=RunState(status=RunStatus.PENDING, reason="not started")
            if cell.seed
            else RunState(status=RunStatus.COMPLETE),
        )
        for cell in plan.cells
    ]
    runs = [cell.run_id for cell in plan.cells if cell.seed]
    costs = {"arm-0": CostEstimate(seconds=60, low=45, high=75, source="probe", memory_bytes=5e8)}
    return build_planned_cells(plan, rows, runs, costs, gpus_per_run=0)


def facts(plan: Plan, **changes: float | None) -> dict[str, dict[str, float | None]]:
    """Return facts in which the last arm differs from the others."""
    base: dict[str, float | None] = {"samples seen": 100.0, "strong views": 2.0, "weak views": 1.0}
    return {arm.name: {**base, **(changes if arm == plan.arms[-1] else {})} for arm in plan.arms}


def build(plan: Plan, width: int = 80, height: int | None = None) -> list[str]:
    changed = facts(plan, **{"samples seen": 50.0, "strong views": None})
    cells = make_planned_cells(plan)
    return build_plan_lines(plan, cells, changed, ["estimate: 1 h"], width=width, height=height)


def test_everything_is_listed_where_there_is_room() -> None:
    lines = build(make_seeds_plan())
    assert lines[:3] == [
        "t",
        "s: 3 arms, seeds 0-2: 9 cells, 6 to run on cpu",
        "data scenes, images of 96 pixels; 9 steps; score x",
    ]
    assert sum(line.startswith("arm-") for line in lines) == 9
    assert lines[-6:] == [
        "in 1 of 2 contrasts both sides have equal counts; the others differ in:",
        "  first against arm 2: samples seen 100 vs. 50, not counted (labels): strong",
        "    views",
        "data: the separator is a tab",
        "data: 3 rows without a caption are skipped",
        "estimate: 1 h",
    ]
    assert build(make_seeds_plan(), height=24) == lines


def test_a_plan_on_the_validation_split_says_so() -> None:
    plan = make_seeds_plan()
    runtime = {**plan.base_config["runtime"], "evaluation_split": "validation"}
    validation = {**plan.base_config, "runtime": runtime}
    lines = build(replace(plan, base_config=validation))
    assert any(line.startswith("Scores are of the validation split") for line in lines)


def test_on_a_screen_the_cells_of_an_arm_are_one_row() -> None:
    lines = build(make_seeds_plan(6), height=23)
    assert len(lines) <= 23
    rows = [line for line in lines if line.startswith("arm-")]
    assert len(rows) == 12
    assert rows[0].split() == [
        "arm-0/0",
        "00000000",
        "no",
        "60",
        "s",
        "(45",
        "s",
        "to",
        "75",
        "s)",
        "500",
    ] + [
        "MB",
        "complete",
    ]
    assert rows[1].split()[:2] == ["arm-0/1-2", "yes"]
    assert lines[-1] == plan_lines.MORE_HINT


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("height", [16, 23, 49])
@pytest.mark.parametrize("num_arms", [1, 3, 40])
def test_a_screen_is_never_exceeded(num_arms: int, height: int, width: int) -> None:
    lines = build(make_seeds_plan(num_arms), width=width, height=height)
    assert all(len(line) <= width for line in lines)
    assert len(lines) <= height
    assert any("estimate" in line for line in lines)
    if num_arms == 40:
        assert any(line.startswith("and ") and line.endswith(" more rows") for line in lines)


def test_seeds_are_ranges() -> None:
    texts = [plan_lines.format_seeds(seeds) for seeds in ([4], [0, 1, 2, 7], [3, 9, 4], [0, 2])]
    assert texts == ["4", "0-2,7", "3-4,9", "0,2"]


def test_contrasts_that_are_all_equal_are_one_line() -> None:
    plan = make_seeds_plan()
    assert plan_lines.describe_differences(plan, facts(plan), 80) == [
        "in all 2 contrasts both sides have equal counts"
    ]
    assert plan_lines.describe_differences(make_plan(), {}, 80) == []
    lines = plan_lines.describe_differences(plan, {}, 80)
    assert lines[1] == "  first against arm 1: not stated"


def test_contrasts_without_room_are_counted() -> None:
    plan = make_seeds_plan()
    assert plan_lines.describe_differences(plan, {}, 80, max_lines=1) == [
        "in 0 of 2 contrasts both sides have equal counts"
    ]
    assert plan_lines.describe_differences(plan, {}, 80, max_lines=0) == []


def test_how_to_get_all_lists_is_on_a_screen() -> None:
    """Nothing is on the disk: no line that says how to get it is cut off."""
    lists = ("bench14", "shifts", "composition", "fewshot", "long", "datacomp38")
    names = dict.fromkeys(name for lst in lists for name in datasets.read_benchmark(lst))
    plan = make_seeds_plan(40)
    plan = replace(
        plan,
        missing_datasets={name: "hint" for name in names},
        base_config={**plan.base_config, "runtime": {"device": "cpu", "data_root": "data"}},
    )
    lines = build(plan, width=80, height=23)
    assert len(lines) <= 23
    first = next(i for i, line in enumerate(lines) if line.startswith("n/a: "))
    assert lines[first] == (
        "n/a: 61 data sets are missing under data_root=data; data check NAME says more:"
    )
    ways = describe_ways(list(names), "data")
    assert lines[first + 1 : first + 6] == [f"  {way}" for way in ways]
    assert "hint" not in str(lines)
    assert sum(line.endswith(": hint") for line in build(plan, width=80, height=None)) == 61


def test_lines_that_a_part_does_not_need_go_to_the_others() -> None:
    assert plan_lines.share_lines([30, 2, 5], [6, 4, 3], 20) == [15, 2, 3]
    assert plan_lines.share_lines([4, 2, 5], [6, 4, 3], 20) == [4, 2, 5]
