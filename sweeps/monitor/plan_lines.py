"""A plan as text: what would run, what differs between arms that are compared, and notes.

On a screen a plan takes one screen: cells are listed by arm, and what does not fit is counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from types import MappingProxyType
from typing import Any

from ablations.plan.conflicts import describe_test_data
from analysis.results import comparability
from sweeps.costs.estimate import COST_HEADINGS, CostEstimate, format_cost_columns
from sweeps.monitor.columns import INDENT, Column, layout_table, wrap_text
from sweeps.monitor.missing_data import describe_missing_data
from sweeps.monitor.status import CellRow
from uniclip.config.compose import flatten
from uniclip.config.keys import format_value
from uniclip.store import Contrast, Plan

MIN_TABLE_LINES, MIN_DIFFERENCE_LINES, MIN_NOTE_LINES = 6, 3, 4
"""Lines that each part of a plan has on a screen, if it needs so many."""
SHORT_TABLE_LINES = 4
"""Lines of the table of cells where notes say how to get many data sets."""
SAME_VALUES = "the same values in other combinations"
"""What is said of an interaction of values of a command."""
MORE_HINT = "plan --full lists every cell, difference and note"
PLAN_COLUMNS = (
    Column("cells"),
    Column("run id", 5),
    Column("will run"),
    Column(COST_HEADINGS[0], 1),
    Column(COST_HEADINGS[1], 2, right_aligned=True),
    Column(COST_HEADINGS[2], 3, right_aligned=True),
    Column(COST_HEADINGS[3], 4, right_aligned=True),
    Column("reason"),
)


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """A cell of a plan, and whether it will run."""

    row: CellRow
    arm: str
    seed: int
    will_run: bool
    cost_columns: tuple[str, ...]
    """Under `COST_HEADINGS`."""
    is_measured: bool
    """Whether its cost is."""

    @property
    def reason(self) -> str:
        """Why it will run or not."""
        return self.row.reason or self.row.status


def build_planned_cells(
    plan: Plan,
    rows: Sequence[CellRow],
    runs: Iterable[str],
    cost_estimates: Mapping[str, CostEstimate],
    gpus_per_run: int,
) -> list[PlannedCell]:
    """Return the cells of a plan.

    Args:
        plan: the plan.
        rows: the status of each cell of the plan.
        runs: ids of the runs that will be executed.
        cost_estimates: arm -> estimated cost of one of its runs.
        gpus_per_run: GPUs of one run; 0 for runs on CPUs.
    """
    planned_runs = set(runs)
    return [
        PlannedCell(
            row=row,
            arm=cell.arm,
            seed=cell.seed,
            will_run=row.run in planned_runs,
            cost_columns=format_cost_columns(cost_estimates.get(cell.arm), gpus_per_run),
            is_measured=cell.arm in cost_estimates,
        )
        for cell, row in zip(plan.cells, rows)
    ]


def describe_training(plan: Plan) -> str:
    """Return the data, the size of the images, the training and the primary scores, in one line."""
    base_values = flatten(plan.base_config)

    def list_values(key: str) -> str:
        values = {arm.config_diff.get(key, base_values.get(key)) for arm in plan.arms}
        known_values = sorted(value for value in values if isinstance(value, int | float))
        return " or ".join(f"{value:,}" for value in known_values)

    image_size, steps = list_values("data.image_size"), list_values("train.steps")
    batch_size = list_values("train.batch_size")
    parts = [
        f"data {plan.data}" + (f", images of {image_size} pixels" if image_size else ""),
        f"{steps} steps" + (f" of {batch_size} samples" if batch_size else ""),
        f"score {' and '.join(m.metric for m in plan.primary_metrics)}",
    ]
    return "; ".join(parts)


def describe_differences(
    plan: Plan,
    facts_by_arm: comparability.ComparisonFacts,
    width: int,
    *,
    max_lines: int | None = None,
) -> list[str]:
    """Return what differs between the two sides of each contrast; equal ones are counted.

    Args:
        plan: the plan.
        facts_by_arm: arm -> quantity -> value.
        width: columns that a line may have.
        max_lines: lines for all contrasts together; None for as many as there are.
    """
    tolerances = comparability.SIZE_TOLERANCES | comparability.MEASURED_TOLERANCES
    texts, num_matched = [], 0
    for contrast in plan.contrasts:
        comparison = comparability.compare_quantities(facts_by_arm, contrast, tolerances)
        values = _list_value_differences(plan, contrast)
        if comparison is not None and comparison.is_matched and values in ([], [SAME_VALUES]):
            num_matched += 1
            continue
        differences = [] if comparison is None and values else _list_differences(comparison)
        texts.append((contrast.label, [*values, *differences]))
    if not plan.contrasts:
        return []
    if not texts:
        text = f"in all {num_matched} contrasts both sides have equal counts"
        return wrap_text(text, width, INDENT)
    heading = "the two sides of a contrast differ in:"
    short_text = f"in {num_matched} of {len(plan.contrasts)} contrasts both sides have equal counts"
    if num_matched:
        heading = f"{short_text}; the others differ in:"
    lines = wrap_text(heading, width, INDENT)
    if max_lines is None:
        return lines + _join_differences(texts, width, max_lines_each=None)
    room = max_lines - len(lines)
    if room < 1:
        return limit_lines(wrap_text(short_text, width, INDENT), max_lines, "lines")
    for max_lines_each in (4, 3, 2, 1):
        difference_lines = _join_differences(texts, width, max_lines_each=max_lines_each)
        if len(difference_lines) <= room:
            return lines + difference_lines
    return lines + limit_lines(difference_lines, room, "contrasts")


def _join_differences(
    texts: Sequence[tuple[str, Sequence[str]]], width: int, *, max_lines_each: int | None
) -> list[str]:
    """Return the lines of each contrast: as many differences as fit, and the number of others."""
    lines = []
    for label, differences in texts:
        candidates = [
            f"{INDENT}{label}: {', '.join(differences[:n])}"
            + (f" and {len(differences) - n} more" if n < len(differences) else "")
            for n in range(len(differences), 0, -1)
        ]
        wrapped = [wrap_text(text, width, INDENT * 2) for text in candidates]
        fitting = [w for w in wrapped if max_lines_each is None or len(w) <= max_lines_each]
        fallback = wrap_text(f"{INDENT}{label}: {len(differences)} differences", width, INDENT * 2)
        lines += fitting[0] if fitting else fallback
    return lines


def _list_value_differences(plan: Plan, contrast: Contrast) -> list[str]:
    """Return the values of a command in which two sides differ; nothing without a command.

    A side of several arms may have several values, each with a share of the weights.
    """
    base_values = plan.base_config.get("values", {})
    if not base_values or not all(contrast.arms_by_sign):
        return []
    differences = []
    for name in base_values:
        left, right = (_share_values(plan, contrast, side, name) for side in contrast.arms_by_sign)
        if left.keys() == right.keys() and all(
            math.isclose(left[v], right[v], abs_tol=1e-9) for v in left
        ):
            continue
        if left.keys() == right.keys():
            differences.append(f"{name} in other shares")
        else:
            differences.append(f"{name} {' or '.join(left)} vs. {' or '.join(right)}")
    return differences or [SAME_VALUES]


def _share_values(
    plan: Plan, contrast: Contrast, side: Sequence[str], name: str
) -> dict[str, float]:
    """Return each value of a command on one side of a contrast, and its share of the weights."""
    shares: dict[str, float] = {}
    total = sum(contrast.weights[arm] for arm in side)
    for arm in side:
        default = plan.base_config["values"][name]
        text = format_value(plan.get_arm(arm).config_diff.get(f"values.{name}", default))
        shares[text] = shares.get(text, 0.0) + contrast.weights[arm] / total
    return shares


def _list_differences(comparison: comparability.ConditionComparison | None) -> list[str]:
    if comparison is None:
        return [comparability.NOT_STATED]
    texts = [f"{quantity} {left} vs. {right}" for quantity, left, right in comparison.differences]
    if comparison.decided_by_labels:
        names = ", ".join(comparison.decided_by_labels)
        texts.append(f"{comparability.DECIDED_BY_LABELS}: {names}")
    return texts


def build_cell_table(cells: Sequence[PlannedCell], width: int, *, by_arm: bool) -> list[str]:
    """Return a table of cells; `by_arm` joins those of an arm that will run for one reason."""
    rows = []
    if not any(cell.is_measured for cell in cells):
        cells = [replace(cell, cost_columns=("",) * len(COST_HEADINGS)) for cell in cells]
    if by_arm:
        order = {cell.arm: i for i, cell in reversed(list(enumerate(cells)))}
        cells = sorted(cells, key=lambda cell: order[cell.arm])
        for _, group in groupby(cells, key=lambda c: (c.arm, c.will_run, c.reason)):
            rows.append(_to_table_row(list(group)))
    else:
        rows = [_to_table_row([cell]) for cell in cells]
    heading_line, row_lines = layout_table(PLAN_COLUMNS, rows, width)
    return [heading_line, *(line for lines in row_lines for line in lines)]


def _to_table_row(cells: Sequence[PlannedCell]) -> tuple[str, ...]:
    first = cells[0]
    run_ids = first.row.run[:8] if len(cells) == 1 else ""
    name = f"{first.arm}/{format_seeds([cell.seed for cell in cells])}"
    will_run = "yes" if first.will_run else "no"
    return (name, run_ids, will_run, *first.cost_columns, first.reason)


def format_seeds(seeds: Sequence[int]) -> str:
    """Return seeds as ranges: [0, 1, 2, 7] is "0-2,7"."""
    parts = []
    for _, group in groupby(enumerate(sorted(seeds)), key=lambda pair: pair[1] - pair[0]):
        run = [seed for _, seed in group]
        parts.append(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}")
    return ",".join(parts)


def limit_lines(lines: Sequence[str], limit: int, label: str) -> list[str]:
    """Return at most `limit` lines; the last one counts those that are left out."""
    if len(lines) <= limit:
        return list(lines)
    if limit < 1:
        return []
    shown = list(lines[: limit - 1])
    return [*shown, f"and {len(lines) - len(shown)} more {label}"]


def share_lines(needs: Sequence[int], minimums: Sequence[int], total: int) -> list[int]:
    """Return the lines of each part: its minimum, then what is left in the given order."""
    shares: list[int] = []
    for need, minimum in zip(needs, minimums):
        shares.append(max(0, min(need, minimum, total - sum(shares))))
    for i, need in enumerate(needs):
        shares[i] += max(0, min(need - shares[i], total - sum(shares)))
    return shares


def collect_facts(plan: Plan, probes: Iterable[Mapping[str, Any]]) -> comparability.ComparisonFacts:
    """Return arm -> quantity -> value: time and memory as probed, then what is counted."""
    probes = list(probes)
    counted_facts = comparability.combine_comparison_facts(
        plan.comparison_facts, plan.base_config, plan.arms, probes
    )
    measured_facts = comparability.collect_measured_facts(plan.base_config, plan.arms, probes)
    return {
        arm.name: {**measured_facts[arm.name], **counted_facts.get(arm.name, {})}
        for arm in plan.arms
    }


def build_plan_lines(
    plan: Plan,
    cells: Sequence[PlannedCell],
    facts_by_arm: comparability.ComparisonFacts,
    closing_lines: Sequence[str],
    *,
    width: int,
    height: int | None,
    design_texts: Mapping[bool, Sequence[str]] = MappingProxyType({}),
) -> list[str]:
    """Return the lines of a plan.

    Args:
        plan: the plan.
        cells: its cells.
        facts_by_arm: arm -> quantity -> value (see `collect_facts`).
        closing_lines: what follows the notes, such as the estimated time of the sweep.
        width: columns that a line may have.
        height: lines at most; None to list everything.
        design_texts: what is said of the design, in whole (True) and on a screen (False).
    """
    num_to_run = sum(cell.will_run for cell in cells)
    seeds_text = f"seeds {format_seeds(plan.seeds)}" if len(plan.seeds) > 1 else "1 seed"
    header = [
        *wrap_text(plan.title, width),
        *wrap_text(
            f"{plan.sweep_id}: {len(plan.arms)} arms, {seeds_text}: {len(cells)} cells, "
            f"{num_to_run} to run on {plan.device}",
            width,
            INDENT,
        ),
        *wrap_text(describe_training(plan), width, INDENT),
    ]
    closing = [line for text in closing_lines for line in wrap_text(text, width, INDENT)]
    designs = {
        whole: [line for text in texts for line in wrap_text(text, width, INDENT)]
        for whole, texts in design_texts.items()
    }
    table = build_cell_table(cells, width, by_arm=False)
    differences = describe_differences(plan, facts_by_arm, width)
    notes = _build_notes(plan, width, whole=True)
    lines = [*header, *designs.get(True, ()), *table, *differences, *notes, *closing]
    if height is None or len(lines) <= height:
        return lines
    table = build_cell_table(cells, width, by_arm=True)
    notes = _build_notes(plan, width, whole=False)
    footer = wrap_text(MORE_HINT, width, INDENT)
    header += designs.get(False, ())
    room = height - len(header) - len(closing) - len(footer)
    needs = [len(table), len(notes), len(differences)]
    num_missing_lines = len(_describe_missing_datasets(plan, width, whole=False))
    min_notes = max(MIN_NOTE_LINES, num_missing_lines + 1)
    min_table = min(MIN_TABLE_LINES, max(SHORT_TABLE_LINES, room - min_notes - 1))
    minimums = [min_table, min_notes, MIN_DIFFERENCE_LINES]
    table_room, note_room, difference_room = share_lines(needs, minimums, room)
    return [
        *header,
        *limit_lines(table, table_room, "rows"),
        *describe_differences(plan, facts_by_arm, width, max_lines=difference_room),
        *limit_lines(notes, note_room, "lines of notes"),
        *closing,
        *footer,
    ]


def _build_notes(plan: Plan, width: int, *, whole: bool) -> list[str]:
    """Return what is to be known of data, recipes, skipped arms and missing data sets."""
    missing_lines = _describe_missing_datasets(plan, width, whole=whole)
    texts = [
        *plan.split_caveats,
        *plan.precision_caveats,
        *describe_test_data(plan),
        *(f"data: {note}" for note in plan.data_notes),
    ]
    texts += _describe_recipes(plan, whole=whole)
    texts += plan.skipped
    probe_texts = describe_missing_data(
        plan.missing_probe_data, whole=whole, kind="linear probe on "
    )
    lines, probe_lines = (
        [line for text in part for line in wrap_text(text, width, INDENT * 2)]
        for part in (texts, probe_texts)
    )
    if len(missing_lines) > 1 and not whole:
        return [*missing_lines, *lines, *probe_lines]
    return [*lines, *missing_lines, *probe_lines]


def _describe_missing_datasets(plan: Plan, width: int, *, whole: bool) -> list[str]:
    data_root = str(plan.base_config.get("runtime", {}).get("data_root", ""))
    texts = describe_missing_data(plan.missing_datasets, whole=whole, data_root=data_root)
    return [line for text in texts for line in wrap_text(text, width, INDENT * 2)]


def _describe_recipes(plan: Plan, *, whole: bool) -> list[str]:
    """Return optimizer and schedule of each arm, if `recipe=` changes them; or that it does."""
    if not plan.recipe_descriptions:
        return []
    if not whole:
        return list(plan.recipe_caveats) or [f"recipe={plan.recipe} sets optimizer and schedule"]
    scope = "steps and batch size are the budget's; warm-up is a share of the steps, rounded"
    arm_width = max(map(len, plan.recipe_descriptions))
    arm_lines = (
        f"{INDENT}{arm:<{arm_width}}  {text}" for arm, text in plan.recipe_descriptions.items()
    )
    return [*plan.recipe_caveats, f"recipe={plan.recipe}: {scope}", *arm_lines]
