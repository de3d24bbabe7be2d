"""Text summary of the results: sentences for the report, and a short table for the terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from statistics import stdev

from analysis import formatting
from analysis.collect.frame import UNFINISHED_STATUSES
from analysis.formatting import append_unit
from analysis.report.baselines import describe_baselines
from analysis.results.resolution import describe_next_look, describe_resolutions
from analysis.results.results import Results, find_comparability_warnings
from analysis.results.sign_flips import SignFlip
from analysis.statistics.effects import Effect
from analysis.statistics.verdicts import MIXED, ScoreKey, combine_verdicts
from analysis.tables.alarms import format_data_check_warnings
from analysis.tables.designs import describe_sign_changes
from analysis.tables.predictions import describe_predictions
from uniclip.store import Arm, Contrast, RunStatus

MAX_WIDTH, MAX_LINES = 80, 22
"""Columns and lines of the terminal summary."""
MAX_CONTRASTS, MAX_ARMS = 8, 6
"""Contrasts and arms in the terminal summary."""
LABEL_WIDTH = 28
"""Columns of its first column."""
VERDICT_WIDTH = 16
"""Columns of a verdict."""
EFFECT_HEADING = "effect on "
"""How the heading of the effects begins, after which the score is named."""
LEGEND = "MDE: minimum detectable effect at the look (80 %); *: not corrected"
STATUS_LABELS = {
    RunStatus.PENDING: "pending",
    **dict.fromkeys(UNFINISHED_STATUSES, "unfinished"),
    RunStatus.FAILED: "failed (`status` shows the error, `logs` the output)",
    RunStatus.UNREADABLE: "unreadable (the folder belongs to another user)",
    RunStatus.NEEDS_EVALUATION: "trained but not evaluated",
    RunStatus.DIVERGED: "diverged",
}
"""Status of an incomplete cell -> its label."""


def build_summary_sentences(results: Results) -> list[str]:
    """Return the plan's caveats, primary contrasts, baselines, noise floor and missing cells."""
    return [
        *results.plan.caveats,
        *(describe_contrast(results, c) for c in results.primary_contrasts),
        *describe_sign_flips(results),
        *describe_sign_changes(results),
        *describe_predictions(results),
        *_describe_looks(results),
        *describe_baselines(results),
        *_describe_noise_floor(results),
        *_describe_missing_cells(results),
    ]


def build_terminal_summary(results: Results) -> list[str]:
    """Return contrasts, arms and warnings in at most 22 lines of at most 80 ASCII columns."""
    plan, score_format = results.plan, results.get_score_format()
    score_label = formatting.format_score_label(plan.primary_metric.metric)
    contrasts = _select_contrasts(results)
    contrast_rows = [_format_contrast_row(results, c) for c in contrasts[:MAX_CONTRASTS]]
    if len(contrasts) > MAX_CONTRASTS:
        num_more = len(contrasts) - MAX_CONTRASTS
        contrast_rows.append(f"... and {num_more} more contrasts: see the report")
    interval_heading = f"{formatting.format_confidence_level()} interval"
    effect_heading = append_unit("effect", score_format.difference_unit)
    header_row = _format_columns(
        f"{EFFECT_HEADING}{score_label}", effect_heading, interval_heading, "MDE", "verdict"
    )
    lines = _wrap_lines([plan.title, *plan.caveats])
    if contrast_rows:
        lines += [header_row, *contrast_rows, LEGEND]
        lines += _wrap_lines([*_describe_co_primary_claims(results), *_describe_looks(results)])
    score_heading = append_unit(score_label, score_format.unit)
    lines += [f"{'arm':<{LABEL_WIDTH}} {score_heading:>16}  seeds", *_format_arm_rows(results)]
    resolutions = [(c.label, describe_resolutions(results, c)) for c in results.primary_contrasts]
    optional_warnings = [
        *describe_sign_flips(results),
        *describe_baselines(results),
        *(f"{label}: {'; '.join(texts)}." for label, texts in resolutions if texts),
        *format_data_check_warnings(
            results.data_checks, plan.get_arm(plan.reference), results.contamination.by_embedding
        ),
    ]
    required_warnings = _wrap_lines(
        [*_describe_missing_cells(results), *find_comparability_warnings(results)]
    )
    max_optional_lines = MAX_LINES - len(lines) - len(required_warnings)
    lines += _truncate_lines(_wrap_lines(optional_warnings), max_optional_lines)
    lines += required_warnings
    return [_convert_to_ascii(line)[:MAX_WIDTH].rstrip() for line in lines[:MAX_LINES]]


def _describe_co_primary_claims(results: Results) -> list[str]:
    """Return one sentence on each further primary score on which something is claimed."""
    sentences = []
    for key in results.primary_scores[1:]:
        verdicts = {c.label: results.judge(c, key) for c in results.primary_contrasts}
        claims = [f"{label} {v.text}" for label, v in verdicts.items() if v.is_claim]
        if claims:
            score_label = formatting.format_score_label(key[1])
            sentences.append(f"On {score_label}: {'; '.join(claims)}.")
    return sentences


def format_for_terminal(sentences: Sequence[str]) -> list[str]:
    """Return sentences as lines of at most 80 ASCII columns."""
    return _wrap_lines([_convert_to_ascii(sentence) for sentence in sentences])


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
    return [*lines[:num_visible], f"... and {len(lines) - num_visible} more lines: see the report"]


def describe_contrast(results: Results, contrast: Contrast) -> str:
    """Return the verdict on a contrast with its numbers, as a sentence."""
    label = f"{contrast.label[:1].upper()}{contrast.label[1:]}"
    texts = [_describe_effect(results, contrast, key) for key in results.primary_scores]
    if combine_verdicts(results.judge_all(contrast)) == MIXED:
        label += f": {MIXED}"
    return f"{label}: {'; '.join([*texts, *describe_resolutions(results, contrast)])}."


def _describe_effect(results: Results, contrast: Contrast, key: ScoreKey) -> str:
    """Return the verdict on a contrast on one score, with its numbers."""
    effect = results.get_effects(key)[contrast.name]
    verdict_text = results.judge(contrast, key).name_score(results.format_heading(key))
    if effect.mean is None or effect.is_exactly_zero:
        return verdict_text
    number_format = results.get_effect_format(effect, key)
    unit = number_format.difference_unit
    value = append_unit(number_format.format_signed(effect.mean), unit)
    parts = [f"{verdict_text}, {value}"]
    if effect.low is not None:
        level, interval = (
            formatting.format_confidence_level(),
            number_format.format_interval(effect),
        )
        parts.append(f"{level} interval {interval}")
    parts.append(f"{formatting.format_seed_count(effect)} seeds")
    if effect.mde is not None:
        mde_text = append_unit(number_format.format_mde(effect.mde), unit)
        parts.append(f"{formatting.MDE_LABEL} at {effect.mde.num_seeds} seeds {mde_text}")
    text = ", ".join(parts)
    if effect.worst_case_mean is not None:
        worst_case_text = number_format.format_signed(effect.worst_case_mean)
        text += f"; with diverged runs at chance {worst_case_text}"
    return text


def _describe_looks(results: Results) -> list[str]:
    """Return at how many seeds verdicts were made, and when the next ones will be."""
    looks = [e.look for e in results.effects.values() if e.look is not None]
    if not looks:
        return []
    least = min(looks, key=lambda look: look.num_finished)
    if results.plan.adaptive is not None and least.reached is not None:
        counts = sorted(look.reached.num_seeds for look in looks if look.reached is not None)
        to_text = f" to {counts[-1]}" if counts[-1] > counts[0] else ""
        return [f"Adaptive seeds: verdicts of looks at {counts[0]}{to_text} seeds."]
    next_text = describe_next_look(results.sweep_data, least)
    if all(look.reached is None for look in looks):
        first, first_seed = least.looks[0].num_seeds, results.plan.first_seed
        from_text = f" from seed {first_seed} on" * (min(results.plan.seeds) != 0)
        return [
            f"No verdict before {first} seeds{from_text}, {least.num_finished} finished; "
            f"{next_text}."
        ]
    if least.reached is None:
        num_waiting = sum(look.reached is None for look in looks)
        return [
            f"{num_waiting} of {len(looks)} contrasts have no verdict yet: of the first "
            f"{least.looks[0].num_seeds} seeds, runs of their arms have not finished."
        ]
    at_text = f"Verdicts of the look at {least.reached.num_seeds} seeds"
    return [f"{at_text}; {next_text}." if next_text else f"{at_text}, the last one."]


def describe_sign_flips(results: Results) -> list[str]:
    """Return a sentence for each effect of a component whose sign depends on a setting."""
    return [
        _describe_sign_flip(results, flip, key)
        for key, flips in results.sign_flips.items()
        for flip in flips
    ]


def _describe_sign_flip(results: Results, flip: SignFlip, key: ScoreKey) -> str:
    texts = []
    for contrast in (flip.default, flip.in_setting):
        effect = results.get_effects(key)[contrast.name]
        number_format = results.get_effect_format(effect, key)
        value = number_format.format_signed(effect.mean)
        unit_text = append_unit(value, number_format.difference_unit)
        texts.append(f"{results.judge(contrast, key).text} ({unit_text})")
    verb = "depends" if flip.is_significant else "may depend"
    on_score = f" on {results.format_heading(key)}" if len(results.primary_scores) > 1 else ""
    return (
        f"The sign of an effect{on_score} {verb} on a setting: "
        f"{flip.default.label}: {texts[0]}; {flip.in_setting.label}: {texts[1]}."
    )


def _describe_noise_floor(results: Results) -> list[str]:
    sentences = []
    for contrast in results.select_contrasts("noise"):
        texts = [
            _format_largest_difference(results, effect, key)
            for key in results.primary_scores
            if (effect := results.get_effects(key)[contrast.name]).values
        ]
        if texts:
            label = contrast.label.partition(": ")[2]
            sentences.append(
                f"Noise floor: {label} differs by up to {' and '.join(texts)} in one seed."
            )
    return sentences


def _format_largest_difference(results: Results, effect: Effect, key: ScoreKey) -> str:
    number_format = results.get_effect_format(effect, key)
    text = number_format.format(max(abs(v) for v in effect.values))
    on_score = f" on {results.format_heading(key)}" if len(results.primary_scores) > 1 else ""
    return append_unit(text, number_format.difference_unit) + on_score


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


def _format_contrast_row(results: Results, contrast: Contrast) -> str:
    effect = results.effects[contrast.name]
    number_format = results.get_effect_format(effect)
    verdict = results.judge(contrast).short_text
    diverged_texts = [f", {effect.num_diverged} {word}" for word in ("diverged", "div.")]
    if effect.num_diverged:
        fitting = [t for t in diverged_texts if len(verdict + t) <= VERDICT_WIDTH]
        verdict += fitting[0] if fitting else ""
    return _format_columns(
        contrast.label.split(":")[0] if contrast.kind == "noise" else contrast.label,
        number_format.format_signed(effect.mean),
        number_format.format_interval(effect),
        "" if effect.mde is None else number_format.format(effect.mde.value),
        verdict,
    )


def _format_columns(
    label: str, effect_text: str, interval_text: str, mde_text: str, verdict: str
) -> str:
    label_text = f"{_shorten(label):<{LABEL_WIDTH}}"
    return f"{label_text} {effect_text:>9}  {interval_text:<16} {mde_text:>5}  {verdict}"


def _shorten(label: str) -> str:
    return label if len(label) <= LABEL_WIDTH else f"{label[: LABEL_WIDTH - 3]}..."


def _format_arm_rows(results: Results) -> list[str]:
    """Return rows of at most `MAX_ARMS` arms, best first, the reference among them.

    Candidates are the reference, the best baseline, outside arms, and the arm without components.
    """
    ranked_arms = _rank_arms(results)
    remaining_arms = ranked_arms[MAX_ARMS - 1 :]
    last_arm = [a for a in remaining_arms if a.name == results.plan.reference] or remaining_arms
    observations, num_seeds = results.observations[results.primary_score], len(results.plan.seeds)
    score_format = results.get_score_format()
    rows = []
    for arm in [*ranked_arms[: MAX_ARMS - 1], *last_arm[:1]]:
        values = list(observations.values.get(arm.name, {}).values())
        sd_text = f" +- {score_format.format(stdev(values))}" if len(values) > 1 else ""
        mean_text = score_format.format(observations.compute_mean(arm.name)) + sd_text
        label_text = f"{_shorten(arm.label):<{LABEL_WIDTH}}"
        rows.append(f"{label_text} {mean_text:>16}  {len(values)} of {num_seeds}")
    return rows


def _rank_arms(results: Results) -> list[Arm]:
    baselines = results.baselines[results.primary_score]
    best_baseline = baselines[0].arm if baselines else None
    candidates = [
        a
        for a in results.plan.arms
        if a.name in (results.plan.reference, best_baseline)
        or a.role == "outside"
        or (a.role == "crossed" and a.levels and not any(a.levels.values()))
    ]

    def sort_key(arm: Arm) -> float:
        mean = results.compute_mean(arm.name)
        if mean is None:
            return math.inf
        observations = results.observations[results.primary_score]
        return -mean if observations.higher_is_better else mean

    return sorted(candidates, key=sort_key)


def _convert_to_ascii(text: str) -> str:
    ascii_text = text.replace(formatting.MINUS, "-").replace(formatting.PLUS_MINUS, "+-")
    return ascii_text.encode("ascii", "replace").decode()
