"""Tables of scores: the leading scores of every arm, and all scores."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from analysis import formatting
from analysis.results.results import Results
from analysis.statistics.effects import MIN_SEEDS_FOR_INTERVAL
from analysis.statistics.verdicts import ScoreKey
from analysis.tables.table import Table, TableCell, make_row
from uniclip.store import Arm, RunStatus

MAX_LEADING_SCORES = 6
"""Number of scores in the first table; all are in the table `all_scores`."""


def build_score_table(results: Results) -> Table:
    """Return arms by leading scores, the primary one first, with chance, seeds and cost."""
    plan, keys = results.plan, _select_leading_scores(results)
    chance_texts = [_format_chance(results, k) for k in keys]
    rows = [make_row("chance", *chance_texts, "", "")]
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
    rows.append(make_row("test samples", *(_format_samples(results, k) for k in keys), "", ""))
    score_headings = [results.format_heading(k, "value") for k in keys]
    return Table(
        name="scores",
        title=f"Scores on {plan.data}",
        headings=("arm", *score_headings, "seeds", "image forward passes per sample"),
        essential=("arm", score_headings[0], "seeds", *score_headings[1:]),
        rows=tuple(rows),
        records=tuple(_build_score_records(results, keys)),
        notes=tuple(_build_notes(results, keys)),
    )


def build_all_scores_table(results: Results) -> Table:
    """Return all scores by arms."""
    plan, keys = results.plan, list(results.observations)
    rows = [
        make_row(
            results.format_heading(key, "value"),
            _format_chance(results, key),
            _format_samples(results, key),
            *(_build_score_cell(results, arm, key, brief=True) for arm in plan.arms),
        )
        for key in keys
    ]
    has_report_only = any(results.sweep_data.is_report_only(*key) for key in keys)
    return Table(
        name="all_scores",
        title="All scores (mean over seeds)",
        headings=("score", "chance", "samples", *(a.label for a in plan.arms)),
        rows=tuple(rows),
        records=tuple(_build_score_records(results, keys)),
        notes=(
            *results.describe_directions(keys),
            *([formatting.REPORT_ONLY_NOTE] if has_report_only else []),
        ),
    )


def _build_notes(results: Results, keys: Sequence[ScoreKey]) -> Iterator[str]:
    plan, primary_key = results.plan, keys[0]
    yield f"Mean over seeds {formatting.PLUS_MINUS} standard deviation of one seed."
    yield (
        f"First column of scores: {results.format_heading(primary_key)}, the primary score "
        f"({plan.primary_metric.metric} on {plan.primary_metric.dataset})."
    )
    yield from results.describe_directions(keys)
    yield _format_bold_note(results, primary_key)
    if any(results.sweep_data.is_report_only(*key) for key in keys):
        yield formatting.REPORT_ONLY_NOTE
    observations = results.observations[primary_key]
    for arm in plan.arms:
        worst_case_mean = observations.compute_worst_case_mean(arm.name)
        if worst_case_mean is not None:
            yield (
                f"{arm.label}: {observations.count_diverged(arm.name)} of {len(plan.seeds)} seeds "
                "diverged and are not in the mean; with them at chance, the mean is "
                f"{results.get_score_format().format_with_unit(worst_case_mean)}."
            )
    # missing published data sets are listed with their own tables
    for dataset in sorted(set(plan.missing_datasets) - set(results.published_datasets)):
        yield f"{dataset}: n/a: missing, {plan.missing_datasets[dataset]}"
    yield from plan.skipped


def _format_bold_note(results: Results, key: ScoreKey) -> str:
    if any(results.tied_for_best.values()):
        return formatting.BOLD_NOTE
    fewest_seeds = min((len(v) for v in results.observations[key].values.values()), default=0)
    first_look = results.plan.looks[0].num_seeds
    if MIN_SEEDS_FOR_INTERVAL <= fewest_seeds < first_look:
        return f"Nothing is bold before {first_look} seeds."
    if fewest_seeds >= MIN_SEEDS_FOR_INTERVAL:
        return "Nothing is bold: no arm is significantly worse than the best."
    return "Nothing is bold: fewer than three seeds."


def _build_score_records(results: Results, keys: Sequence[ScoreKey]) -> Iterator[dict[str, Any]]:
    run_by_cell = results.run_by_cell
    for key in keys:
        observations, kind = results.observations[key], results.sweep_data.get_score_kind(*key)
        num_samples = results.sweep_data.get_num_samples(*key)
        for arm in results.plan.arms:
            values = observations.values.get(arm.name, {})
            yield {
                "arm": arm.name,
                "dataset": key[0],
                "score": key[1],
                "kind": kind,
                "mean": observations.compute_mean(arm.name),
                "sd": _compute_sd(list(values.values())),
                "num_seeds": len(values),
                "num_diverged": observations.count_diverged(arm.name),
                "worst_case_mean": observations.compute_worst_case_mean(arm.name),
                "num_planned_seeds": len(results.plan.seeds),
                "chance": observations.chance,
                "num_samples": num_samples,
                "tied_for_best": arm.name in results.tied_for_best.get(key, set()),
                "runs": " ".join(run_by_cell[arm.name, s] for s in values),
            }


def _build_score_cell(
    results: Results, arm: Arm, key: ScoreKey, *, brief: bool = False
) -> TableCell:
    """Return mean and standard deviation over seeds; the mean alone if `brief`."""
    mean = results.compute_mean(arm.name, key)
    if mean is None:
        return TableCell(text="n/a", tone=formatting.MUTED)
    sd = _compute_sd(list(results.observations[key].values[arm.name].values()))
    score_format = results.get_score_format(key)
    text = score_format.format(mean)
    if sd is not None and not brief:
        text += f" {formatting.PLUS_MINUS} {score_format.format(sd)}"
    is_best = arm.name in results.tied_for_best.get(key, set())
    return TableCell(text=text, bold=is_best, link=f"#runs-{arm.name}")


def _format_seed_count(results: Results, arm: Arm) -> str:
    """Return the number of completed seeds, with the reasons for the others."""
    observations = results.observations[results.primary_score]
    num_complete, num_planned = len(observations.values.get(arm.name, {})), len(results.plan.seeds)
    cells = results.sweep_data.cells
    counts = {
        "diverged": observations.count_diverged(arm.name),
        "failed": int(((cells["arm"] == arm.name) & (cells["status"] == RunStatus.FAILED)).sum()),
    }
    counts["missing"] = num_planned - num_complete - sum(counts.values())
    exclusions = formatting.format_exclusions(counts)
    return f"{num_complete} of {num_planned}{exclusions}" if exclusions else str(num_complete)


def _select_leading_scores(results: Results) -> list[ScoreKey]:
    """Return the primary scores and further ranked scores of the sweep's own benchmarks."""
    candidate_keys = [
        k
        for k in results.observations
        if k not in results.primary_scores
        and k in results.tied_for_best
        and k[0] not in results.published_datasets
        and not results.sweep_data.is_report_only(*k)
    ]
    candidate_keys.sort(key=lambda k: k[0] != results.primary_score[0])
    keys_by_task: dict[str, list[ScoreKey]] = {}
    for k in candidate_keys:
        keys_by_task.setdefault(k[1].split(".")[0], []).append(k)
    ranked_keys = sorted(
        (i, k) for task_keys in keys_by_task.values() for i, k in enumerate(task_keys)
    )
    num_others = MAX_LEADING_SCORES - len(results.primary_scores)
    selected_keys = {k for _, k in ranked_keys[:num_others]}
    return [*results.primary_scores, *(k for k in candidate_keys if k in selected_keys)]


def _format_chance(results: Results, key: ScoreKey) -> str:
    return results.get_score_format(key).format_exact(results.observations[key].chance)


def _format_samples(results: Results, key: ScoreKey) -> str:
    num_samples = results.sweep_data.get_num_samples(*key)
    return f"{num_samples:.0f}" if num_samples == num_samples else ""


def _compute_sd(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation (n - 1); None below two values."""
    if len(values) < 2:
        return None
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))
