"""The tables of a report: scores, effects, components and runs; never a time, a host or a path.

Every row of a CSV names the runs that its numbers come from. What is marked bold, corrected or
withheld follows `analysis.statistics.effects`; here it is only laid out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from analysis import formatting
from analysis.collect import literature
from analysis.results import alarms, tuning
from analysis.results.results import Results, ScoreKey, compute_knockout_effect
from analysis.statistics.effects import MIN_SEEDS_FOR_INTERVAL
from analysis.tables import benchmark, comparability
from analysis.tables.effects import build_effect_table, build_other_effects_table
from analysis.tables.table import Table, TableCell, make_row
from uniclip.store import Arm, Component, Plan

REPORT_ONLY_NOTE = "* fewer than 50 test samples: shown, never judged."
MAX_LEADING_SCORES = 6
"""Scores beside each other in the first table; the rest stand in `all_scores`."""


def build_tables(results: Results) -> list[Table]:
    """Every table, in reading order."""
    built_tables = [build_score_table(results)]
    if results.plan.contrasts:
        built_tables.append(build_effect_table(results))
    if results.tuning_comparison is not None:
        built_tables += _build_tuning_tables(results, results.tuning_comparison)
    if results.other_effects and any(c.primary for c in results.plan.contrasts):
        built_tables.append(build_other_effects_table(results))
    if results.other_effects:
        built_tables.append(build_all_scores_table(results))
    built_tables += benchmark.build_benchmark_tables(results)
    if results.data_checks:
        built_tables.append(alarms.build_data_checks_table(results.plan, results.data_checks))
    if results.plan.components:
        built_tables.append(build_component_table(results))
    if results.plan.comparison_facts:
        built_tables.append(
            comparability.build_comparability_table(results.plan, results.sweep_data.probes)
        )
    caveats = results.plan.caveats
    return [
        *(replace(t, notes=(*caveats, *t.notes)) for t in built_tables),
        build_run_table(results),
    ]


def _build_tuning_tables(
    results: Results, tuning_comparison: tuning.TuningComparison
) -> list[Table]:
    plan, heading = results.plan, results.format_heading(results.primary_score)
    built_tables = [
        tuning.build_tuning_table(
            plan, results.observations[results.primary_score], tuning_comparison, heading
        )
    ]
    if plan.contrasts:
        built_tables.append(
            tuning.build_tuned_effects_table(plan, results.effects, tuning_comparison, heading)
        )
    return built_tables


# ---- scores ----------------------------------------------------------------------------------


def build_score_table(results: Results) -> Table:
    """Arms by scores, the primary one first, with chance, seeds and costs."""
    plan, keys = results.plan, _select_leading_scores(results)
    headings = [
        "arm",
        *(results.format_heading(k) for k in keys),
        "seeds",
        "image forwards a sample",
    ]
    rows = [
        make_row(
            "chance",
            *(formatting.format_number(results.observations[k].chance) for k in keys),
            "",
            "",
        )
    ]
    for arm in plan.arms:
        score_cells = [_build_score_cell(results, arm, key) for key in keys]
        forward_passes = plan.forward_passes.get(arm.name, {}).get("image")
        rows.append(
            make_row(
                arm.label,
                *score_cells,
                _format_seed_count(results, arm),
                f"{forward_passes:g}" if forward_passes else "",
            )
        )
    sample_counts = [_format_sample_count(results, k) for k in keys]
    rows.append(make_row("test samples", *sample_counts, "", ""))
    notes = [
        f"Mean over seeds {formatting.PLUS_MINUS} standard deviation of one seed (not an interval).",
        f"First column of scores: {results.format_heading(keys[0])}, the primary score "
        f"({plan.primary_metric.metric} on "
        f"{plan.primary_metric.dataset}).",
        _format_bold_note(results, keys[0]),
        *_build_diverged_notes(results),
        *(
            f"{n}: n/a: missing, {plan.missing_datasets[n]}"
            for n in sorted(_find_missing_benchmarks(plan))
        ),
        *plan.skipped,
    ]
    return Table(
        name="scores",
        title=f"Scores on {plan.data}",
        headings=tuple(headings),
        rows=tuple(rows),
        records=tuple(_build_score_records(results, keys)),
        notes=tuple(notes),
    )


def _find_missing_benchmarks(plan: Plan) -> set[str]:
    """Benchmarks of ours that are not here; the published sets have tables that say so."""
    return set(plan.missing_datasets) - set(literature.list_published_datasets(plan))


def build_all_scores_table(results: Results) -> Table:
    """Every score of every arm: scores down, arms across."""
    plan = results.plan
    rows = []
    for key in results.observations:
        chance = formatting.format_number(results.observations[key].chance)
        score_cells = [_build_score_cell(results, arm, key, brief=True) for arm in plan.arms]
        rows.append(
            make_row(
                results.format_heading(key),
                chance,
                _format_sample_count(results, key),
                *score_cells,
            )
        )
    return Table(
        name="all_scores",
        title="Every score: mean over seeds",
        headings=("score", "chance", "samples", *(a.label for a in plan.arms)),
        rows=tuple(rows),
        records=tuple(_build_score_records(results, list(results.observations))),
        notes=(REPORT_ONLY_NOTE,) if _has_report_only_scores(results) else (),
    )


def _build_score_records(results: Results, keys: list[ScoreKey]) -> Iterable[dict[str, Any]]:
    run_by_cell = results.run_by_cell
    for key in keys:
        observations, samples = (
            results.observations[key],
            results.sweep_data.select_score_rows(*key)["samples"].max(),
        )
        for arm in results.plan.arms:
            values = observations.values.get(arm.name, {})
            yield {
                "arm": arm.name,
                "dataset": key[0],
                "score": key[1],
                "kind": results.sweep_data.get_score_kind(*key),
                "mean": results.compute_mean(arm.name, key),
                "sd": _sample_stdev(list(values.values())),
                "seeds": len(values),
                "diverged": sum(a == arm.name for a, _ in observations.diverged_cells),
                "worst_case": _compute_worst_case_mean(results, arm, key),
                "planned": len(results.plan.seeds),
                "chance": observations.chance,
                "samples": samples,
                "bold": arm.name in results.tied_for_best.get(key, set()),
                "runs": " ".join(run_by_cell[arm.name, s] for s in values),
            }


def _build_score_cell(
    results: Results, arm: Arm, key: ScoreKey, *, brief: bool = False
) -> TableCell:
    mean = results.compute_mean(arm.name, key)
    if mean is None:
        return TableCell(text="n/a", tone="quiet")
    stdev = _sample_stdev(list(results.observations[key].values[arm.name].values()))
    text = formatting.format_number(mean)
    if stdev is not None and not brief:
        text += f" {formatting.PLUS_MINUS} {formatting.format_number(stdev)}"
    is_best = arm.name in results.tied_for_best.get(key, set())
    return TableCell(text=text, bold=is_best, link=f"#runs-{arm.name}")


def _format_seed_count(results: Results, arm: Arm) -> str:
    observations = results.observations[results.primary_score]
    num_complete, num_planned = len(observations.values.get(arm.name, {})), len(results.plan.seeds)
    num_diverged = sum(a == arm.name for a, _ in observations.diverged_cells)
    cells = results.sweep_data.cells
    num_failed = int(((cells["arm"] == arm.name) & (cells["state"] == "failed")).sum())
    num_missing = num_planned - num_complete - num_diverged - num_failed
    exclusions = [f"{num_diverged} diverged"] if num_diverged else []
    exclusions += [f"{num_failed} failed"] if num_failed else []
    exclusions += [f"{num_missing} missing"] if num_missing else []
    return (
        f"{num_complete} of {num_planned} ({', '.join(exclusions)})"
        if exclusions
        else str(num_complete)
    )


def _compute_worst_case_mean(results: Results, arm: Arm, key: ScoreKey) -> float | None:
    """The mean when a diverged run takes the chance value; None if none diverged."""
    observations = results.observations[key]
    num_diverged = sum(a == arm.name for a, _ in observations.diverged_cells)
    if not num_diverged or observations.chance is None:
        return None
    values = (
        list(observations.values.get(arm.name, {}).values()) + [observations.chance] * num_diverged
    )
    return math.fsum(values) / len(values)


def _build_diverged_notes(results: Results) -> list[str]:
    notes = []
    for arm in results.plan.arms:
        worst_case_mean = _compute_worst_case_mean(results, arm, results.primary_score)
        if worst_case_mean is not None:
            num_diverged = sum(
                a == arm.name for a, _ in results.observations[results.primary_score].diverged_cells
            )
            notes.append(
                f"{arm.label}: {num_diverged} of {len(results.plan.seeds)} seeds diverged and are "
                f"left out of the mean; "
                f"counted at chance it would be {formatting.format_number(worst_case_mean)}."
            )
    return notes


def _format_bold_note(results: Results, key: ScoreKey) -> str:
    if any(results.tied_for_best.values()):
        return "Bold: cannot be told from the best arm (paired t over seeds, Holm over the arms)."
    fewest_seeds = min((len(v) for v in results.observations[key].values.values()), default=0)
    reason = (
        "every arm could be the best"
        if fewest_seeds >= MIN_SEEDS_FOR_INTERVAL
        else "fewer than three seeds"
    )
    return f"Nothing is bold: {reason}."


# ---- components and runs ---------------------------------------------------------------------


def build_component_table(results: Results) -> Table:
    """What each component is, whether off is off, and whether the trained model uses it."""
    rows, records = [], []
    for component in results.plan.components:
        off_settings = ", ".join(f"{k}={v}" for k, v in component.off_overrides.items())
        check_text, knockout_text = (
            _format_manipulation_check(results, component),
            _format_knockout_effect(results, component),
        )
        rows.append(
            make_row(component.label, off_settings, check_text, knockout_text, component.reason)
        )
        loss_change, relative_changes = compute_knockout_effect(results.sweep_data, component.name)
        records.append(
            {
                "component": component.name,
                "label": component.label,
                "off": off_settings,
                "witness": check_text,
                "loss_added_when_off": loss_change,
                **{f"moved_{k}": v for k, v in relative_changes.items()},
                "reason": component.reason,
            }
        )
    return Table(
        name="components",
        title="The components",
        rows=tuple(rows),
        records=tuple(records),
        num_text_columns=5,
        headings=(
            "component",
            "turning it off sets",
            "off is off?",
            "does the trained model use it?",
            "why it may help",
        ),
        notes=(
            f"Use: of the arm {results.get_arm_label(results.plan.reference)}, mean over seeds; what "
            "switching the component off in the trained model adds to the loss of a validation "
            "batch, and how far its parameters moved as a share of their initial length.",
        ),
    )


def _format_manipulation_check(results: Results, component: Component) -> str:
    """What the audit said of the arms in which this component alone is off."""
    component_checks = [
        f for f in results.audit_checks if f.name.startswith(f"{component.name} is ")
    ]
    if not component_checks:
        return "not audited"
    failed_checks = [f for f in component_checks if not f.passed]
    if failed_checks:
        return f"NO: {failed_checks[0].detail}"
    return f"yes ({len(component_checks)} check{'s' * (len(component_checks) > 1)} held)"


def _format_knockout_effect(results: Results, component: Component) -> str:
    loss_change, relative_changes = compute_knockout_effect(results.sweep_data, component.name)
    phrases = (
        []
        if loss_change is None
        else [f"switching it off changes the loss by {formatting.format_signed(loss_change)}"]
    )
    phrases += [
        f"{part.replace('_', ' ')} moved by {100 * relative_change:.0f} %"
        for part, relative_change in relative_changes.items()
    ]
    return "; ".join(phrases) or "not measured"


def build_run_table(results: Results) -> Table:
    """Which run folder each cell is."""
    cells = results.sweep_data.cells
    run_by_cell = {
        (a, s): (r, t)
        for a, s, r, t in zip(cells["arm"], cells["seed"], cells["run"], cells["state"])
    }
    seeds = results.plan.seeds
    rows = [
        make_row(
            TableCell(text=arm.label, anchor=f"runs-{arm.name}"),
            *(
                _build_run_cell(*run_by_cell[arm.name, s])
                for s in seeds
                if (arm.name, s) in run_by_cell
            ),
        )
        for arm in results.plan.arms
    ]
    records = tuple(
        {"arm": a, "seed": s, "run": r, "state": t} for (a, s), (r, t) in run_by_cell.items()
    )
    return Table(
        name="runs",
        title="The runs behind the numbers (folders below runs/ in the store)",
        num_text_columns=len(seeds) + 1,
        headings=("arm", *(f"seed {s}" for s in seeds)),
        rows=tuple(rows),
        records=records,
    )


def _build_run_cell(run: str, status: str) -> TableCell:
    if status == "complete":
        return TableCell(text=run, link=f"../../runs/{run}/")
    status_text = {
        "missing": "not there yet",
        "begun": "not finished yet",
        "unscored": "trained, not scored",
    }.get(status, status)
    return TableCell(
        text=f"{run} ({status_text})",
        tone="quiet",
        link="" if status == "missing" else f"../../runs/{run}/",
    )


# ---- shared ----------------------------------------------------------------------------------


def _select_leading_scores(results: Results) -> list[ScoreKey]:
    """The primary score and a few more of ours that can be judged."""
    published_datasets = literature.list_published_datasets(results.plan)
    candidate_keys = [
        k
        for k in results.observations
        if k != results.primary_score
        and k in results.tied_for_best
        and k[0] not in published_datasets
        and not results.sweep_data.is_report_only(*k)
    ]
    candidate_keys.sort(key=lambda k: k[0] != results.primary_score[0])
    keys_by_family: dict[str, list[ScoreKey]] = {}
    for k in candidate_keys:
        keys_by_family.setdefault(k[1].split(".")[0], []).append(k)
    ranked_keys = sorted(
        (i, k) for family_keys in keys_by_family.values() for i, k in enumerate(family_keys)
    )
    selected_keys = {k for _, k in ranked_keys[: MAX_LEADING_SCORES - 1]}
    return [results.primary_score, *(k for k in candidate_keys if k in selected_keys)]


def _has_report_only_scores(results: Results) -> bool:
    return any(results.sweep_data.is_report_only(*key) for key in results.observations)


def _format_sample_count(results: Results, key: ScoreKey) -> str:
    frame = results.sweep_data.frame
    max_samples = frame[(frame["dataset"] == key[0]) & (frame["score"] == key[1])]["samples"].max()
    return f"{max_samples:.0f}" if max_samples == max_samples else ""


def _sample_stdev(values: list[float]) -> float | None:
    if len(values) < 2:
        return None
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))
