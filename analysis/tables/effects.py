"""Tables of effects: every contrast on the primary score, the primary ones on all other scores."""

from __future__ import annotations

from typing import Any

from analysis import formatting
from analysis.results.results import Results, ScoreKey, find_comparability_warnings
from analysis.statistics.effects import Effect
from analysis.statistics.verdicts import EXACTLY_ZERO
from analysis.tables.table import Table, TableCell, make_row
from uniclip.store import Contrast

CROSSED_DESIGN_NOTE = (
    "Crossed design: a main effect is averaged over the other components; an interaction is half "
    "of the change of one component's effect when the other is switched on."
)


def build_effect_table(results: Results) -> Table:
    """Return every contrast on the primary score."""
    contrasts = results.plan.contrasts
    difference_unit = results.get_score_format().difference_unit
    unit = f" ({difference_unit})" if difference_unit else ""
    interval_heading = f"{formatting.format_confidence_level()} interval"
    return Table(
        name="effects",
        title="Estimated effects",
        headings=(
            "contrast",
            "family",
            "verdict",
            f"effect{unit}",
            interval_heading,
            "p",
            formatting.MDE_LABEL,
            "seeds",
            "variance ratio",
            "test-set SE",
            "image forward passes",
        ),
        essential=("contrast", f"effect{unit}", interval_heading, "p", "verdict"),
        rows=tuple(_build_effect_row(results, c) for c in contrasts),
        records=tuple(
            _build_effect_record(results, c, results.effects[c.name], results.primary_score)
            for c in contrasts
        ),
        notes=(
            f"Effects on {results.format_heading(results.primary_score)}; paired by seed; "
            "interval: paired t of this contrast alone.",
            f"Verdict and p: Holm-corrected over the {len(results.primary_contrasts)} primary "
            "contrasts, the only family that is tested together; all others are exploratory, not "
            "corrected, and their verdicts are marked *.",
            *([formatting.POINTS_NOTE] if unit else []),
            *([CROSSED_DESIGN_NOTE] if results.plan.design == "crossed" else []),
            "MDE: minimum detectable effect, the smallest one that these seeds detect with 80 % "
            "power, at the level that the verdict needs.",
            "Variance ratio: variance of the contrast paired by seed / unpaired; below 1, pairing "
            "helped.",
            "Test-set SE: standard error due to the choice of test samples alone (paired); not "
            "included in any interval.",
            *find_comparability_warnings(results),
            *(note for c in contrasts for note in _build_notes(results, c)),
        ),
        num_text_columns=3,
    )


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
        ),
    )


def _build_effect_row(results: Results, contrast: Contrast) -> tuple[TableCell, ...]:
    effect = results.effects[contrast.name]
    diverged_text = formatting.format_exclusions({"diverged": effect.num_diverged})
    verdict, number_format = results.judge(contrast), results.get_effect_format(effect)
    verdict_text = verdict.text + diverged_text
    test_set_se = results.test_set_se[contrast.name]
    tone = formatting.get_tone(verdict)
    is_bold = contrast.primary and tone != formatting.MUTED
    forward_passes_text = _format_forward_passes(results, contrast)
    return make_row(
        contrast.label,
        _get_family(contrast.primary),
        TableCell(text=verdict_text, bold=is_bold, tone=tone),
        number_format.format_signed(effect.mean),
        number_format.format_interval(effect),
        formatting.format_p_value(effect.verdict_p),
        "" if effect.mde is None else number_format.format(effect.mde),
        formatting.format_seed_count(effect),
        "" if effect.variance_ratio is None else formatting.format_number(effect.variance_ratio, 2),
        "" if test_set_se is None else number_format.format_exact(test_set_se),
        forward_passes_text.removesuffix(" image forward passes"),
    )


def _get_family(is_primary: bool) -> str:
    return "primary" if is_primary else "exploratory"


def _format_forward_passes(results: Results, contrast: Contrast) -> str:
    return formatting.format_forward_passes(results.plan.forward_passes, *contrast.arms_by_sign)


def _build_notes(results: Results, contrast: Contrast) -> list[str]:
    """Return a note on the seeds that were lost to divergence."""
    effect = results.effects[contrast.name]
    if not effect.num_diverged:
        return []
    worst_case_text = (
        "unknown (no chance level)"
        if effect.worst_case_mean is None
        else results.get_effect_format(effect).format_signed(effect.worst_case_mean)
    )
    seeds_text = f"{effect.num_diverged} seed{'s' * (effect.num_diverged > 1)}"
    return [
        f"{contrast.label}: {seeds_text} excluded because a run diverged; with diverged runs at "
        f"chance, the effect is {worst_case_text}."
    ]


def _build_effect_record(
    results: Results, contrast: Contrast, effect: Effect, key: ScoreKey
) -> dict[str, Any]:
    run_by_cell = results.run_by_cell
    is_primary_score = key == results.primary_score
    return {
        "contrast": contrast.name,
        "label": contrast.label,
        "kind": contrast.kind,
        "dataset": key[0],
        "score": key[1],
        "family": _get_family(contrast.primary and is_primary_score),
        "verdict": results.judge(contrast).word if is_primary_score else "",
        "effect": effect.mean,
        "ci_low": effect.low,
        "ci_high": effect.high,
        "p": effect.p,
        "p_adjusted": effect.p_adjusted,
        "mde": effect.mde,
        "num_seeds": len(effect.seeds),
        "num_diverged": effect.num_diverged,
        "num_missing": effect.num_missing,
        "worst_case_mean": effect.worst_case_mean,
        "variance_ratio": effect.variance_ratio,
        "test_set_se": results.test_set_se[contrast.name] if is_primary_score else None,
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
