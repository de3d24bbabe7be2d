"""The answer first: what each component is worth, in plain words and in a short table."""

from __future__ import annotations

import textwrap
from statistics import stdev

from analysis import formatting
from analysis.collect import literature
from analysis.results import alarms
from analysis.results.results import Baseline, Results, find_comparability_warnings
from analysis.statistics.effects import MIN_SEEDS_FOR_INTERVAL, Effect
from uniclip.store import Contrast

MAX_WIDTH, MAX_LINES = 100, 25
"""Columns and lines of the table for a terminal."""
MAX_CONTRASTS, MAX_ARMS = 8, 6
"""Contrasts and arms in it."""
LABEL_WIDTH = 37
"""Columns of its first column."""
LEGEND = "least: what these seeds find 4 times in 5; *: exploratory, uncorrected"


def build_summary_sentences(results: Results) -> list[str]:
    """The plan's stamp; a sentence for each primary contrast; then rivals, the noise floor, what is
    missing."""
    contrast_sentences = [
        _describe_contrast(c, results.effects[c.name]) for c in results.plan.contrasts if c.primary
    ]
    return [
        *results.plan.caveats,
        *contrast_sentences,
        *_describe_baselines(results),
        *_describe_noise_floor(results),
        *_describe_missing_cells(results),
    ]


def build_terminal_summary(results: Results) -> list[str]:
    """At most 25 lines of at most 100 ASCII columns: contrasts that matter, arms, and warnings."""
    score_label = formatting.format_score_label(results.plan.primary_metric.metric)
    contrasts = [c for c in results.plan.contrasts if c.primary]
    contrasts += [
        c
        for c in results.select_contrasts("difference")
        if not c.primary and _involves_outside_arm(results, c)
    ]
    contrasts += results.select_contrasts("noise")
    header_line = _format_columns(
        f"effect on {score_label}", "effect", "95 % interval", "least", "verdict"
    )
    contrast_rows = [
        _format_contrast_row(c, results.effects[c.name]) for c in contrasts[:MAX_CONTRASTS]
    ]
    if len(contrasts) > MAX_CONTRASTS:
        contrast_rows.append(
            f"... and {len(contrasts) - MAX_CONTRASTS} contrasts more: see the report"
        )
    lines = [results.plan.title, *results.plan.caveats]
    lines += [*([header_line, *contrast_rows, f"  {LEGEND}"] if contrast_rows else [])]
    lines += [f"{'arm':<{LABEL_WIDTH}} {score_label:>16}  seeds", *_format_arm_rows(results)]
    optional_warnings = [
        *_describe_baselines(results),
        *alarms.format_data_check_warnings(results.plan, results.data_checks),
    ]
    required_warnings = _wrap_lines(
        [*_describe_missing_cells(results), *find_comparability_warnings(results)]
    )
    lines += (
        _truncate_lines(
            _wrap_lines(optional_warnings), MAX_LINES - len(lines) - len(required_warnings)
        )
        + required_warnings
    )
    return [_convert_to_ascii(line)[:MAX_WIDTH].rstrip() for line in lines[:MAX_LINES]]


def _wrap_lines(warnings: list[str]) -> list[str]:
    return [line for warning in warnings for line in textwrap.wrap(warning, MAX_WIDTH)]


def _truncate_lines(lines: list[str], max_lines: int) -> list[str]:
    """As many lines as there is room for, at least one; the last says that there are more."""
    if len(lines) <= max_lines:
        return lines
    num_visible = max(max_lines, 1) - 1
    return [*lines[:num_visible], f"... and {len(lines) - num_visible} lines more: see the report"]


def _describe_contrast(contrast: Contrast, effect: Effect) -> str:
    verdict = formatting.format_verdict(effect, contrast.kind)
    label = f"{contrast.label[:1].upper()}{contrast.label[1:]}"
    if effect.mean is None or effect.is_exactly_zero:
        return f"{label}: {verdict}."
    value = formatting.format_signed(effect.mean)
    if len(effect.values) < MIN_SEEDS_FOR_INTERVAL:
        return f"{label}: {value} over {formatting.format_seed_count(effect)} seeds; {verdict}."
    interval = (
        f"{formatting.format_confidence_level()} interval {formatting.format_interval(effect)}"
    )
    details = f"{value}, {interval}, {formatting.format_seed_count(effect)} seeds"
    mde_text = (
        f"; these seeds could have shown {formatting.format_number(effect.mde)}"
        if not effect.sign
        else ""
    )
    worst_case_text = (
        f"; with diverged runs at chance {formatting.format_signed(effect.worst_case_mean)}"
        if effect.worst_case_mean is not None
        else ""
    )
    return f"{label} {verdict}: {details}{mde_text}{worst_case_text}."


def _describe_baselines(results: Results) -> list[str]:
    """Whether the reference loses to an arm that it is held against, said either way."""
    reference_mean = results.compute_mean(results.plan.reference)
    if reference_mean is None or not results.baselines:
        return []
    reference = results.plan.get_arm(results.plan.reference)
    reference_label, baseline_term = (
        reference.label,
        "simpler arm" if reference.role == "crossed" else "rival",
    )
    better_baselines = [r for r in results.baselines if r.difference.sign == -1]
    higher_baselines = [r for r in results.baselines if r.mean > reference_mean]
    if better_baselines:
        return [
            f"{reference_label} loses to {baseline_term}s: {'; '.join(_describe_baseline(results, r) for r in better_baselines)}."
        ]
    if higher_baselines:
        first_baseline_text = _describe_baseline(results, higher_baselines[0])
        more_text = (
            f", and {len(higher_baselines) - 1} more {baseline_term}s are ahead of it"
            if len(higher_baselines) > 1
            else ""
        )
        significance_text = "none can be told from it" if more_text else "they cannot be told apart"
        return [
            f"{reference_label} ({formatting.format_number(reference_mean)}) does not lead: {first_baseline_text}{more_text}; {significance_text} with these seeds."
        ]
    return [
        f"No {baseline_term} scores higher than {reference_label} ({formatting.format_number(reference_mean)})."
    ]


def _describe_baseline(results: Results, baseline: Baseline) -> str:
    cost_text = formatting.format_forward_passes(
        results.plan, [baseline.arm], [results.plan.reference]
    )
    return f"{results.get_arm_label(baseline.arm)} scores {formatting.format_number(baseline.mean)} ({cost_text})"


def _describe_noise_floor(results: Results) -> list[str]:
    noise_sentences = []
    for contrast in results.select_contrasts("noise"):
        effect = results.effects[contrast.name]
        if effect.values:
            largest_difference = max(abs(v) for v in effect.values)
            noise_sentences.append(
                "Noise floor: the same configuration under another stream of random numbers "
                f"differs by up to {formatting.format_number(largest_difference)} in one seed."
            )
    return noise_sentences


def _describe_missing_cells(results: Results) -> list[str]:
    status_counts = results.sweep_data.cells["state"].value_counts()
    status_texts = {
        "missing": "not run yet",
        "begun": "begun and not finished",
        "failed": "failed (status says why, logs what was printed)",
        "unscored": "trained but not scored",
        "diverged": "diverged",
    }
    count_texts = [
        f"{status_counts[status]} {status_text}"
        for status, status_text in status_texts.items()
        if status in status_counts
    ]
    gap_sentences = (
        [f"Of {status_counts.sum()} cells: {', '.join(count_texts)}."] if count_texts else []
    )
    published_datasets = literature.list_published_datasets(results.plan)
    missing_datasets = [d for d in published_datasets if d in results.plan.missing_datasets]
    if missing_datasets:
        gap_sentences.append(
            f"{len(missing_datasets)} of {len(published_datasets)} published data sets are not here (n/a): "
            "python sweep.py data check says how to get them."
        )
    return gap_sentences


def _involves_outside_arm(results: Results, contrast: Contrast) -> bool:
    roles = {results.plan.get_arm(a).role for a in contrast.weights}
    return "outside" in roles


def _format_contrast_row(contrast: Contrast, effect: Effect) -> str:
    verdict = (
        formatting.format_verdict(effect, contrast.kind)
        .replace("cannot be", "not")
        .replace(": no claim", "")
    )
    verdict += "*" if not contrast.primary and effect.sign else ""
    verdict += f", {effect.num_diverged} diverged" if effect.num_diverged else ""
    label = contrast.label.split(":")[0] if contrast.kind == "noise" else contrast.label
    mde_text = formatting.format_number(effect.mde) if effect.mde is not None else ""
    return _format_columns(
        label,
        formatting.format_signed(effect.mean),
        formatting.format_interval(effect),
        mde_text,
        verdict,
    )


def _format_columns(
    label: str, effect_text: str, interval_text: str, mde_text: str, verdict: str
) -> str:
    return f"{label[:LABEL_WIDTH]:<{LABEL_WIDTH}} {effect_text:>7}  {interval_text:<17} {mde_text:>6}  {verdict}"


def _format_arm_rows(results: Results) -> list[str]:
    """The reference, the baselines from outside and the best of the other arms, best first: at most
    `ARMS`, the reference among them."""
    plan, best_baseline = results.plan, results.baselines[0].arm if results.baselines else None
    required_arms = {plan.reference, best_baseline} | {
        a.name for a in plan.arms if a.role == "outside"
    }
    required_arms |= {a.name for a in plan.arms if a.levels and not any(a.levels.values())}
    ranked_arms = [(results.compute_mean(a.name), a) for a in plan.arms if a.name in required_arms]
    ranked_arms.sort(key=lambda pair: -(pair[0] if pair[0] is not None else -1.0))
    remaining_arms = ranked_arms[MAX_ARMS - 1 :]
    last_arm = [pair for pair in remaining_arms if pair[1].name == plan.reference] or remaining_arms
    observations = results.observations[results.primary_score]
    rows = []
    for mean, arm in [*ranked_arms[: MAX_ARMS - 1], *last_arm[:1]]:
        values = list(observations.values.get(arm.name, {}).values())
        sd_text = f" +- {stdev(values):.3f}" if len(values) > 1 else ""
        rows.append(
            f"{arm.label[:LABEL_WIDTH]:<{LABEL_WIDTH}} {formatting.format_number(mean) + sd_text:>16}  "
            f"{len(values)} of {len(plan.seeds)}"
        )
    return rows


def _convert_to_ascii(text: str) -> str:
    ascii_text = text.replace(formatting.MINUS, "-").replace(formatting.PLUS_MINUS, "+-")
    return ascii_text.encode("ascii", "replace").decode()
