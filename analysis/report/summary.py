"""Text summary of the results: sentences for the report, and a short table for the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from statistics import stdev

from analysis import formatting
from analysis.collect.frame import UNFINISHED_STATUSES
from analysis.results.results import Baseline, Results, find_comparability_warnings
from analysis.statistics.effects import MIN_SEEDS_FOR_INTERVAL, Effect
from analysis.tables.alarms import format_data_check_warnings
from uniclip.store import Arm, Contrast, RunStatus

MAX_WIDTH, MAX_LINES = 100, 25
"""Columns and lines of the terminal summary."""
MAX_CONTRASTS, MAX_ARMS = 8, 6
"""Contrasts and arms in the terminal summary."""
LABEL_WIDTH = 37
"""Columns of its first column."""
LEGEND = (
    "MDE: minimum detectable effect (80 % power); n.s.: not significant; "
    "*: exploratory, uncorrected"
)
STATUS_LABELS = {
    RunStatus.PENDING: "pending",
    **dict.fromkeys(UNFINISHED_STATUSES, "unfinished"),
    RunStatus.FAILED: "failed (`status` shows the error, `logs` the output)",
    RunStatus.NEEDS_EVALUATION: "trained but not evaluated",
    RunStatus.DIVERGED: "diverged",
}
"""Status of an incomplete cell -> its label."""


def build_summary_sentences(results: Results) -> list[str]:
    """Return the plan's caveats, primary contrasts, baselines, noise floor and missing cells."""
    return [
        *results.plan.caveats,
        *(_describe_contrast(c, results.effects[c.name]) for c in results.primary_contrasts),
        *_describe_baselines(results),
        *_describe_noise_floor(results),
        *_describe_missing_cells(results),
    ]


def build_terminal_summary(results: Results) -> list[str]:
    """Return contrasts, arms and warnings in at most 25 lines of at most 100 ASCII columns."""
    plan, effects = results.plan, results.effects
    score_label = formatting.format_score_label(plan.primary_metric.metric)
    contrasts = _select_contrasts(results)
    contrast_rows = [_format_contrast_row(c, effects[c.name]) for c in contrasts[:MAX_CONTRASTS]]
    if len(contrasts) > MAX_CONTRASTS:
        num_more = len(contrasts) - MAX_CONTRASTS
        contrast_rows.append(f"... and {num_more} contrasts more: see the report")
    interval_heading = f"{formatting.format_confidence_level()} interval"
    header_row = _format_columns(
        f"effect on {score_label}", "effect", interval_heading, "MDE", "verdict"
    )
    lines = [plan.title, *plan.caveats]
    lines += [header_row, *contrast_rows, f"  {LEGEND}"] if contrast_rows else []
    lines += [f"{'arm':<{LABEL_WIDTH}} {score_label:>16}  seeds", *_format_arm_rows(results)]
    optional_warnings = [
        *_describe_baselines(results),
        *format_data_check_warnings(results.data_checks, plan.get_arm(plan.reference)),
    ]
    required_warnings = _wrap_lines(
        [*_describe_missing_cells(results), *find_comparability_warnings(results)]
    )
    max_optional_lines = MAX_LINES - len(lines) - len(required_warnings)
    lines += _truncate_lines(_wrap_lines(optional_warnings), max_optional_lines)
    lines += required_warnings
    return [_convert_to_ascii(line)[:MAX_WIDTH].rstrip() for line in lines[:MAX_LINES]]


def _select_contrasts(results: Results) -> list[Contrast]:
    """Return the primary contrasts, differences from an outside arm, and noise contrasts."""
    outside_arms = {a.name for a in results.plan.arms if a.role == "outside"}
    outside_differences = [
        c
        for c in results.select_contrasts("difference")
        if not c.primary and outside_arms & set(c.weights)
    ]
    noise_contrasts = results.select_contrasts("noise")
    return [*results.primary_contrasts, *outside_differences, *noise_contrasts]


def _wrap_lines(warnings: Sequence[str]) -> list[str]:
    return [line for warning in warnings for line in textwrap.wrap(warning, MAX_WIDTH)]


def _truncate_lines(lines: list[str], max_lines: int) -> list[str]:
    """Return at most `max_lines` lines, and at least one; the last one counts the rest."""
    if len(lines) <= max_lines:
        return lines
    num_visible = max(max_lines, 1) - 1
    return [*lines[:num_visible], f"... and {len(lines) - num_visible} lines more: see the report"]


def _describe_contrast(contrast: Contrast, effect: Effect) -> str:
    verdict = formatting.format_verdict(effect, contrast.kind)
    label = f"{contrast.label[:1].upper()}{contrast.label[1:]}"
    if effect.mean is None or effect.is_exactly_zero:
        return f"{label}: {verdict}."
    value, seeds = formatting.format_signed(effect.mean), formatting.format_seed_count(effect)
    if len(effect.values) < MIN_SEEDS_FOR_INTERVAL:
        return f"{label}: {value} over {seeds} seeds; {verdict}."
    level, interval = formatting.format_confidence_level(), formatting.format_interval(effect)
    text = f"{label}: {verdict}, {value}, {level} interval {interval}, {seeds} seeds"
    if not effect.sign:
        text += f"; {formatting.MDE_LABEL} {formatting.format_number(effect.mde)}"
    if effect.worst_case_mean is not None:
        text += f"; with diverged runs at chance {formatting.format_signed(effect.worst_case_mean)}"
    return f"{text}."


def _describe_baselines(results: Results) -> list[str]:
    """Return one sentence on whether the reference arm scores higher than its baselines."""
    reference = results.plan.get_arm(results.plan.reference)
    reference_mean = results.compute_mean(reference.name)
    if reference_mean is None or not results.baselines:
        return []
    reference_text = f"{reference.label} ({formatting.format_number(reference_mean)})"
    term = "simpler arm" if reference.role == "crossed" else "baseline"
    better_baselines = [b for b in results.baselines if b.difference.sign == -1]
    higher_baselines = [b for b in results.baselines if b.mean > reference_mean]
    if better_baselines:
        baseline_texts = "; ".join(_describe_baseline(results, b) for b in better_baselines)
        return [f"{reference.label} loses to {term}s: {baseline_texts}."]
    if not higher_baselines:
        return [f"No {term} scores higher than {reference_text}."]
    num_more = len(higher_baselines) - 1
    more_text = f", and {num_more} more {term}s score higher" if num_more else ""
    significance_text = "no difference is" if num_more else "the difference is not"
    return [
        f"{reference_text} is not the best: {_describe_baseline(results, higher_baselines[0])}"
        f"{more_text}; {significance_text} significant with these seeds."
    ]


def _describe_baseline(results: Results, baseline: Baseline) -> str:
    cost_text = formatting.format_forward_passes(
        results.plan.forward_passes, [baseline.arm], [results.plan.reference]
    )
    label, mean = results.get_arm_label(baseline.arm), formatting.format_number(baseline.mean)
    return f"{label} scores {mean} ({cost_text})"


def _describe_noise_floor(results: Results) -> list[str]:
    effects = [results.effects[c.name] for c in results.select_contrasts("noise")]
    return [
        "Noise floor: the same configuration with other random draws differs by up to "
        f"{formatting.format_number(max(abs(v) for v in effect.values))} in one seed."
        for effect in effects
        if effect.values
    ]


def _describe_missing_cells(results: Results) -> list[str]:
    """Return the number of incomplete cells by status, and of missing published data sets."""
    statuses = [RunStatus(status) for status in results.sweep_data.cells["status"]]
    labels = [STATUS_LABELS[s] for s in statuses if s is not RunStatus.COMPLETE]
    count_texts = [
        f"{labels.count(label)} {label}"
        for label in dict.fromkeys(STATUS_LABELS.values())
        if label in labels
    ]
    sentences = [f"Of {len(statuses)} cells: {', '.join(count_texts)}."] if count_texts else []
    published_datasets = results.published_datasets
    num_missing = sum(d in results.plan.missing_datasets for d in published_datasets)
    if num_missing:
        sentences.append(
            f"{num_missing} of {len(published_datasets)} published data sets are missing (n/a): "
            "`python sweep.py data check` shows how to get them."
        )
    return sentences


def _format_contrast_row(contrast: Contrast, effect: Effect) -> str:
    verdict = formatting.format_short_verdict(effect, contrast.kind)
    verdict += "*" if not contrast.primary and effect.sign else ""
    verdict += f", {effect.num_diverged} diverged" if effect.num_diverged else ""
    return _format_columns(
        contrast.label.split(":")[0] if contrast.kind == "noise" else contrast.label,
        formatting.format_signed(effect.mean),
        formatting.format_interval(effect),
        "" if effect.mde is None else formatting.format_number(effect.mde),
        verdict,
    )


def _format_columns(
    label: str, effect_text: str, interval_text: str, mde_text: str, verdict: str
) -> str:
    label_text = f"{label[:LABEL_WIDTH]:<{LABEL_WIDTH}}"
    return f"{label_text} {effect_text:>7}  {interval_text:<17} {mde_text:>6}  {verdict}"


def _format_arm_rows(results: Results) -> list[str]:
    """Return rows of at most `MAX_ARMS` arms, best first, the reference among them.

    Candidates are the reference, the best baseline, outside arms, and the arm without components.
    """
    ranked_arms = _rank_arms(results)
    remaining_arms = ranked_arms[MAX_ARMS - 1 :]
    last_arm = [a for a in remaining_arms if a.name == results.plan.reference] or remaining_arms
    observations, num_seeds = results.observations[results.primary_score], len(results.plan.seeds)
    rows = []
    for arm in [*ranked_arms[: MAX_ARMS - 1], *last_arm[:1]]:
        values = list(observations.values.get(arm.name, {}).values())
        sd_text = f" +- {stdev(values):.3f}" if len(values) > 1 else ""
        mean_text = formatting.format_number(observations.compute_mean(arm.name)) + sd_text
        label_text = f"{arm.label[:LABEL_WIDTH]:<{LABEL_WIDTH}}"
        rows.append(f"{label_text} {mean_text:>16}  {len(values)} of {num_seeds}")
    return rows


def _rank_arms(results: Results) -> list[Arm]:
    best_baseline = results.baselines[0].arm if results.baselines else None
    candidates = [
        a
        for a in results.plan.arms
        if a.name in (results.plan.reference, best_baseline)
        or a.role == "outside"
        or (a.levels and not any(a.levels.values()))
    ]

    def sort_key(arm: Arm) -> float:
        mean = results.compute_mean(arm.name)
        return 1.0 if mean is None else -mean

    return sorted(candidates, key=sort_key)


def _convert_to_ascii(text: str) -> str:
    ascii_text = text.replace(formatting.MINUS, "-").replace(formatting.PLUS_MINUS, "+-")
    return ascii_text.encode("ascii", "replace").decode()
