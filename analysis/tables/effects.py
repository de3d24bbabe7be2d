"""Tables of effects: every contrast on the primary score, the primary ones on all other scores."""

from __future__ import annotations

import math
from typing import Any

from analysis import formatting
from analysis.results.results import Results, find_comparability_warnings
from analysis.statistics.effects import Effect
from analysis.statistics.looks import estimate_required_seeds
from analysis.statistics.moderated import ModeratedTests, run_moderated_tests
from analysis.statistics.verdicts import EXACTLY_ZERO, ScoreKey
from analysis.tables.table import Table, TableCell, make_row
from uniclip.store import Contrast

CROSSED_DESIGN_NOTE = (
    "Crossed design: a main effect is averaged over the other components; an interaction is half "
    "of the change of one component's effect when the other is switched on."
)
ALIAS_NOTE = (
    "A part of all combinations was trained: brackets hold what an effect cannot be told from; the "
    "estimate is the sum of all of them (table Aliases)."
)
SHAPLEY_NOTE = (
    "Shapley values: interval and verdict are for new seeds; where orders were sampled, for these "
    "orders (the table Shapley values has the interval for new orders too)."
)
DESIGN_NOTES = {
    "crossed": CROSSED_DESIGN_NOTE,
    "fractional": ALIAS_NOTE,
    "plackett_burman": ALIAS_NOTE,
    "shapley": SHAPLEY_NOTE,
}
"""Design -> how its effects are to be read."""

FEW_CLUSTERS = 100
"""With fewer clusters of test samples the report says that their interval is too narrow."""


def build_effect_table(results: Results) -> Table:
    """Return every contrast on each primary score."""
    contrasts, keys = results.plan.contrasts, results.primary_scores
    units = {results.get_score_format(key).difference_unit for key in keys}
    unit = f" ({next(iter(units))})" if len(units) == 1 and units != {""} else ""
    interval_heading = f"{formatting.format_confidence_level()} interval"
    scores_text = " and ".join(results.format_heading(key) for key in keys)
    moderated = _run_moderated_tests(results)
    return Table(
        name="effects",
        title=f"Estimated effects on {scores_text}",
        headings=(
            "contrast",
            *(["score"] if len(keys) > 1 else []),
            "family",
            "verdict",
            f"effect{unit}",
            interval_heading,
            "p (corrected)",
            formatting.MDE_LABEL,
            "seeds",
            "variance ratio",
            "test-set SE",
            "seeds and test set",
            "image forward passes",
        ),
        essential=("contrast", f"effect{unit}", interval_heading, "p (corrected)", "verdict"),
        rows=tuple(_build_effect_row(results, c, key) for c in contrasts for key in keys),
        records=tuple(
            _build_effect_record(results, c, results.get_effects(key)[c.name], key)
            | {"p_moderated": moderated.get(key, {}).get(c.name)}
            for c in contrasts
            for key in keys
        ),
        notes=(
            f"Effects on {scores_text}; paired by seed, over all seeds that are complete; "
            "interval: paired t of this contrast alone.",
            *results.describe_directions(keys),
            *_build_verdict_notes(results),
            *([formatting.POINTS_NOTE] if "pp" in units else []),
            *filter(None, [DESIGN_NOTES.get(results.plan.design)]),
            "MDE: minimum detectable effect, the smallest one that the look detects with 80 % "
            "power, after all corrections; in brackets its 95 % interval, because the spread over "
            "seeds is itself estimated.",
            "Variance ratio: variance of the contrast paired by seed / unpaired; below 1, pairing "
            "helped.",
            "Test-set SE: standard error due to the choice of test samples alone (paired); not "
            "included in the interval. Seeds and test set: interval for new seeds and new test "
            "samples (two-way random effects).",
            *_describe_test_samples(results),
            *_build_moderated_notes(results),
            *find_comparability_warnings(results),
            *(note for c in contrasts for note in _build_notes(results, c)),
        ),
        num_text_columns=4 if len(keys) > 1 else 3,
    )


def _build_verdict_notes(results: Results) -> list[str]:
    """Return how verdicts were made: their looks, their family and their margins."""
    num_contrasts, num_scores = len(results.primary_contrasts), len(results.primary_effects)
    contrasts_text = "primary contrast"
    if num_contrasts != 1:
        contrasts_text = f"{num_contrasts} primary contrasts"
    scores_text = f" on {num_scores} scores" if num_scores > 1 else ""
    return [
        f"Verdicts are made at {results.plan.looks_text}, and stand until the "
        "next look; more seeds between looks change estimates alone. p: corrected for the looks.",
        f"Holm-corrected over the {contrasts_text}{scores_text}, the only family that is "
        "tested together; all others are exploratory, not corrected for one another, and their "
        "verdicts are marked *.",
        *(describe_margin(results, key) for key in results.primary_scores),
        *_describe_adaptive_rule(results),
    ]


def _describe_adaptive_rule(results: Results) -> list[str]:
    """Return how the cells of an adaptive sweep were bought."""
    rule = results.plan.adaptive
    if rule is None:
        return []
    hours = "" if rule.max_gpu_hours is None else f" or {rule.max_gpu_hours:g} GPU-hours"
    return [
        "Seeds are adaptive: arms of undecided primary contrasts got one more seed at a time, up "
        f"to {rule.max_seeds} seeds{hours}; the rule was fixed in the plan (hash {rule.digest})."
    ]


def describe_margin(results: Results, key: ScoreKey) -> str:
    """Return the margin of a primary score with its reason, or that there is none."""
    margin, label = results.plan.get_margin(*key), results.format_heading(key)
    if margin is None:
        return (
            f"No margin is declared for {label}, so no effect on it can be called practically "
            "nothing."
        )
    number_format = results.get_score_format(key)
    value = number_format.format_exact(margin.value)
    return (
        f"Practically nothing: shown to be smaller than "
        f"{formatting.append_unit(value, number_format.difference_unit)} on {label}, either way "
        f"(two one-sided tests). Reason of this margin: {margin.reason.rstrip('.')}."
    )


def _select_moderated_effects(
    results: Results, key: ScoreKey
) -> tuple[list[Contrast], list[Effect]]:
    """Return the primary contrasts that have the same seeds as the first one, and their effects."""
    effects = results.get_effects(key)
    contrasts = results.primary_contrasts
    seeds = effects[contrasts[0].name].seeds if contrasts else ()
    selected = [c for c in contrasts if effects[c.name].seeds == seeds]
    return selected, [effects[c.name] for c in selected]


def _test_moderated(results: Results, key: ScoreKey) -> ModeratedTests | None:
    contrasts, effects = _select_moderated_effects(results, key)
    norms = [math.sqrt(sum(w * w for w in c.weights.values())) for c in contrasts]
    return run_moderated_tests([e.values for e in effects], norms)


def _run_moderated_tests(results: Results) -> dict[ScoreKey, dict[str, float]]:
    """Return score -> primary contrast -> p-value of the moderated test, where it can be run."""
    p_values = {}
    for key in results.primary_scores:
        tests, (contrasts, _) = (
            _test_moderated(results, key),
            _select_moderated_effects(results, key),
        )
        names = [c.name for c in contrasts]
        p_values[key] = dict(zip(names, tests.p_values)) if tests is not None else {}
    return p_values


def _build_moderated_notes(results: Results) -> list[str]:
    """Return the moderated tests in one line a score, with the check of equal variances."""
    notes = []
    for key in results.primary_scores:
        tests = _test_moderated(results, key)
        if tests is None:
            continue
        contrasts, _ = _select_moderated_effects(results, key)
        tests_text = ", ".join(
            f"{c.label} p = {formatting.format_p_value(p)}".replace("= <", "<")
            for c, p in zip(contrasts, tests.p_values)
        )
        on_score = f" on {results.format_heading(key)}" if len(results.primary_scores) > 1 else ""
        notes.append(
            f"Moderated t test (limma){on_score}, no verdict, uncorrected, "
            f"{tests.num_seeds} seeds: {tests_text}. It pools the variances of these contrasts, "
            f"which is sound only if they are equal (Bartlett's test: p = "
            f"{formatting.format_p_value(tests.homogeneity_p)}).".replace("= <", "<")
        )
    return notes


def build_other_effects_table(results: Results) -> Table:
    """Return the primary contrasts on all other scores: exploratory."""
    primary_contrasts = results.primary_contrasts
    rows = [
        make_row(
            results.format_heading(key, "difference"),
            *(_build_brief_cell(results, effects[c.name], key) for c in primary_contrasts),
        )
        for key, effects in results.other_effects.items()
        if not results.sweep_data.is_report_only(*key)
    ]
    return Table(
        name="other_effects",
        title="The primary contrasts on the other scores (exploratory)",
        headings=("score", *(c.label for c in primary_contrasts)),
        rows=tuple(rows),
        records=tuple(
            _build_effect_record(results, c, effects[c.name], key)
            for key, effects in results.other_effects.items()
            for c in results.plan.contrasts
        ),
        notes=(
            f"Uncorrected {formatting.format_confidence_level()} intervals: one in twenty is "
            "expected to miss the true value. No verdict is given.",
            *results.describe_directions(results.other_effects),
        ),
    )


def _build_effect_row(results: Results, contrast: Contrast, key: ScoreKey) -> tuple[TableCell, ...]:
    effect = results.get_effects(key)[contrast.name]
    diverged_text = formatting.format_exclusions({"diverged": effect.num_diverged})
    verdict, number_format = results.judge(contrast, key), results.get_effect_format(effect, key)
    verdict_text = verdict.text + diverged_text
    uncertainty = results.item_uncertainties.get(key, {}).get(contrast.name)
    bounds = (uncertainty.low, uncertainty.high) if uncertainty else (None, None)
    tone = formatting.get_tone(verdict)
    is_bold = contrast.primary and tone != formatting.MUTED
    forward_passes_text = _format_forward_passes(results, contrast)
    return make_row(
        contrast.label,
        *([_format_score_cell(results, key)] if len(results.primary_effects) > 1 else []),
        _get_family(contrast.primary),
        TableCell(text=verdict_text, bold=is_bold, tone=tone),
        number_format.format_signed(effect.mean),
        number_format.format_interval(effect),
        formatting.format_p_value(effect.verdict_p),
        number_format.format_mde(effect.mde),
        formatting.format_seed_count(effect),
        "" if effect.variance_ratio is None else formatting.format_number(effect.variance_ratio, 2),
        "" if uncertainty is None else number_format.format_exact(uncertainty.item_se),
        number_format.format_bounds(*bounds),
        forward_passes_text.removesuffix(" image forward passes"),
    )


def _describe_test_samples(results: Results) -> list[str]:
    """Return how test samples depend on each other, and on training images."""
    uncertainties = [
        u for by_contrast in results.item_uncertainties.values() for u in by_contrast.values() if u
    ]
    notes = []
    if uncertainties and uncertainties[0].num_clusters < uncertainties[0].num_samples:
        notes.append(
            f"The {uncertainties[0].num_samples:,} test samples come in "
            f"{uncertainties[0].num_clusters:,} clusters of variants, which are the units that "
            "these two count as independent."
        )
    if uncertainties and uncertainties[0].num_clusters < FEW_CLUSTERS:
        notes.append(
            f"With fewer than {FEW_CLUSTERS} independent test samples or clusters of them, "
            '"seeds and test set" covers less than 95 % (91 to 92 % with 40 in simulations).'
        )
    split_by = results.plan.base_config.get("data", {}).get("split_by")
    if split_by == "image":
        notes.append(
            "data.split_by=image: variants of a test image may be among the training images."
        )
    if split_by == "family":
        notes.append("data.split_by=family: no variant of a test image is a training image.")
    return notes


def _get_family(is_primary: bool) -> str:
    return "primary" if is_primary else "exploratory"


def _format_forward_passes(results: Results, contrast: Contrast) -> str:
    return formatting.format_forward_passes(results.plan.forward_passes, *contrast.arms_by_sign)


def _build_notes(results: Results, contrast: Contrast) -> list[str]:
    """Return a note on the seeds that were lost to divergence."""
    effect = results.effects[contrast.name]
    if not effect.num_diverged:
        return []
    worst_case_text = " and ".join(
        _format_worst_case(results, results.get_effects(key)[contrast.name], key)
        for key in results.primary_scores
    )
    seeds_text = f"{effect.num_diverged} seed{'s' * (effect.num_diverged > 1)}"
    return [
        f"{contrast.label}: {seeds_text} excluded because a run diverged; with diverged runs at "
        f"chance, the effect is {worst_case_text}."
    ]


def _format_worst_case(results: Results, effect: Effect, key: ScoreKey) -> str:
    on_score = f" on {results.format_heading(key)}" if len(results.primary_scores) > 1 else ""
    if effect.worst_case_mean is None:
        return f"unknown (no chance level){on_score}"
    number_format = results.get_effect_format(effect, key)
    text = number_format.format_signed(effect.worst_case_mean)
    return formatting.append_unit(text, number_format.difference_unit) + on_score


def _format_score_cell(results: Results, key: ScoreKey) -> str:
    """Return the label of a row's score; with its unit where the heading of effects has none."""
    units = {results.get_score_format(k).difference_unit for k in results.primary_scores}
    return results.format_heading(key, "difference" if len(units) > 1 else "")


def _build_effect_record(
    results: Results, contrast: Contrast, effect: Effect, key: ScoreKey
) -> dict[str, Any]:
    run_by_cell, look, mde = results.run_by_cell, effect.look, effect.mde
    is_primary_score = key in results.primary_effects
    verdict = results.judge(contrast, key) if is_primary_score else None
    uncertainty = results.item_uncertainties.get(key, {}).get(contrast.name)
    return {
        "contrast": contrast.name,
        "label": contrast.label,
        "kind": contrast.kind,
        "dataset": key[0],
        "score": key[1],
        "family": _get_family(contrast.primary and is_primary_score),
        "verdict": verdict.word if verdict else "",
        "verdict_seeds": verdict.num_seeds if verdict else None,
        "effect": effect.mean,
        "ci_low": effect.low,
        "ci_high": effect.high,
        "p": effect.p,
        "p_adjusted": effect.p_adjusted,
        "p_look": look.p if look else None,
        "p_equivalence": look.p_equivalence if look else None,
        "margin": look.margin if look else None,
        "mde": mde.value if mde else None,
        "mde_low": mde.low if mde else None,
        "mde_high": mde.high if mde else None,
        "mde_seeds": mde.num_seeds if mde else None,
        "required_seeds": estimate_required_seeds(effect),
        "num_seeds": len(effect.seeds),
        "num_diverged": effect.num_diverged,
        "num_missing": effect.num_missing,
        "worst_case_mean": effect.worst_case_mean,
        "variance_ratio": effect.variance_ratio,
        "test_set_se": uncertainty.item_se if uncertainty else None,
        "test_clusters": uncertainty.num_clusters if uncertainty else None,
        "seeds_and_test_set_low": uncertainty.low if uncertainty else None,
        "seeds_and_test_set_high": uncertainty.high if uncertainty else None,
        "forward_passes": _format_forward_passes(results, contrast),
        "per_seed": " ".join(f"{s}:{v:.10g}" for s, v in zip(effect.seeds, effect.values)),
        "runs": " ".join(run_by_cell[a, s] for s in effect.seeds for a in contrast.weights),
    }


def _build_brief_cell(results: Results, effect: Effect, key: ScoreKey) -> TableCell:
    if effect.is_exactly_zero:
        return TableCell(text=EXACTLY_ZERO, tone=formatting.MUTED)
    number_format = results.get_effect_format(effect, key)
    interval = number_format.format_interval(effect)
    return TableCell(text=f"{number_format.format_signed(effect.mean)} {interval}".strip())
