"""The tables of effects: every contrast on the primary score, the primary ones on every other."""

from __future__ import annotations

from typing import Any

from analysis import formatting
from analysis.results.results import Results, ScoreKey, find_comparability_warnings
from analysis.statistics.effects import Effect
from analysis.tables.table import Table, TableCell, make_row
from uniclip.store import Contrast

VERDICT_TONES = {
    "helps": "good",
    "more together": "good",
    "hurts": "bad",
    "less together": "bad",
    "differs": "bad",
}


def build_effect_table(results: Results) -> Table:
    """Every contrast on the primary score."""
    headings = (
        "contrast",
        "claim",
        "verdict",
        "effect",
        "95 % interval",
        "p",
        "detectable",
        "seeds",
        "variance ratio",
        "item error",
        "image forwards",
    )
    plan = results.plan
    contrast_effects = [(c, results.effects[c.name]) for c in plan.contrasts]
    num_primary = sum(c.primary for c in plan.contrasts)
    crossed_design_note = (
        "Crossed design: a main effect is averaged over the other components; an interaction is "
        "half of how much one component's effect grows when the other is on."
        if plan.design == "crossed"
        else ""
    )
    notes = (
        f"Effects on {results.format_heading(results.primary_score)}; paired by seed; interval: "
        "paired t of this contrast alone.",
        f"Verdict and p: after Holm over the {num_primary} primary contrasts; all "
        "others are exploratory, uncorrected.",
        *([crossed_design_note] if crossed_design_note else []),
        "Detectable: the smallest effect that these seeds find 4 times in 5, at the level "
        "that the verdict needs.",
        "Variance ratio: of the contrast paired by seed to the same contrast unpaired; "
        "below 1, pairing helped.",
        "Item error: standard error that the choice of test pictures alone gives "
        "(paired); in no interval.",
        *find_comparability_warnings(results),
        *(note for c, e in contrast_effects for note in _build_effect_notes(c, e)),
    )
    return Table(
        name="effects",
        title="What each contrast came to",
        headings=headings,
        rows=tuple(_build_effect_row(results, c, e) for c, e in contrast_effects),
        records=tuple(
            _build_effect_record(results, c, e, results.primary_score) for c, e in contrast_effects
        ),
        notes=notes,
        num_text_columns=3,
    )


def build_other_effects_table(results: Results) -> Table:
    """The primary contrasts on every other score: exploratory."""
    primary_contrasts = [c for c in results.plan.contrasts if c.primary]
    rows = []
    for key, effect_by_contrast in results.other_effects.items():
        if not results.sweep_data.is_report_only(*key):
            rows.append(
                make_row(
                    results.format_heading(key),
                    *(_build_brief_cell(effect_by_contrast[c.name]) for c in primary_contrasts),
                )
            )
    return Table(
        name="other_effects",
        title="The primary contrasts on the other scores (exploratory)",
        headings=("score", *(c.label for c in primary_contrasts)),
        rows=tuple(rows),
        records=tuple(
            _build_effect_record(results, c, effect_by_contrast[c.name], key)
            for key, effect_by_contrast in results.other_effects.items()
            for c in results.plan.contrasts
        ),
        notes=("Uncorrected 95 % intervals: of twenty, one misses the truth. Nothing is claimed.",),
    )


def _build_effect_row(
    results: Results, contrast: Contrast, effect: Effect
) -> tuple[TableCell, ...]:
    verdict = formatting.format_verdict(effect, contrast.kind)
    verdict_text = f"{verdict} ({effect.num_diverged} diverged)" if effect.num_diverged else verdict
    test_set_se = results.test_set_se[contrast.name]
    tone = VERDICT_TONES.get(verdict, "quiet")
    return make_row(
        contrast.label,
        "primary" if contrast.primary else "exploratory",
        TableCell(text=verdict_text, bold=contrast.primary and tone != "quiet", tone=tone),
        formatting.format_signed(effect.mean),
        formatting.format_interval(effect),
        formatting.format_p_value(effect.verdict_p),
        formatting.format_number(effect.mde) if effect.mde is not None else "",
        formatting.format_seed_count(effect),
        formatting.format_number(effect.variance_ratio, 2)
        if effect.variance_ratio is not None
        else "",
        formatting.format_number(test_set_se) if test_set_se is not None else "",
        formatting.format_contrast_cost(results.plan, contrast).removesuffix(" image forwards"),
    )


def _build_effect_notes(contrast: Contrast, effect: Effect) -> list[str]:
    if not effect.num_diverged:
        return []
    worst_case_text = (
        "not known (no chance level)"
        if effect.worst_case_mean is None
        else formatting.format_signed(effect.worst_case_mean)
    )
    exclusion_text = (
        f"{effect.num_diverged} seed{'s' * (effect.num_diverged > 1)} left out: a run diverged"
    )
    return [
        f"{contrast.label}: {exclusion_text}; with diverged runs at chance the effect is {worst_case_text}."
    ]


def _build_effect_record(
    results: Results, contrast: Contrast, effect: Effect, key: ScoreKey
) -> dict[str, Any]:
    run_by_cell = results.run_by_cell
    is_primary = contrast.primary and key == results.primary_score
    return {
        "contrast": contrast.name,
        "label": contrast.label,
        "kind": contrast.kind,
        "dataset": key[0],
        "score": key[1],
        "claim": "primary" if is_primary else "exploratory",
        "verdict": formatting.format_verdict(effect, contrast.kind)
        if key == results.primary_score
        else "",
        "effect": effect.mean,
        "low": effect.low,
        "high": effect.high,
        "p": effect.p,
        "p_holm": effect.p_adjusted,
        "detectable": effect.mde,
        "seeds": len(effect.seeds),
        "diverged": effect.num_diverged,
        "missing": effect.num_missing,
        "worst_case": effect.worst_case_mean,
        "variance_ratio": effect.variance_ratio,
        "item_error": results.test_set_se[contrast.name] if key == results.primary_score else None,
        "cost": formatting.format_contrast_cost(results.plan, contrast),
        "per_seed": " ".join(f"{s}:{v:.10g}" for s, v in zip(effect.seeds, effect.values)),
        "runs": " ".join(run_by_cell[a, s] for s in effect.seeds for a in contrast.weights),
    }


def _build_brief_cell(effect: Effect) -> TableCell:
    if effect.is_exactly_zero:
        return TableCell(text="exactly 0", tone="quiet")
    return TableCell(
        text=f"{formatting.format_signed(effect.mean)} {formatting.format_interval(effect)}".strip()
    )
