"""The tables of effects: every contrast on the primary score, the primary ones on every other."""

from __future__ import annotations

from typing import Any

from analysis import formatting
from analysis.results.results import Findings, ScoreKey, unlike
from analysis.statistics.effects import Effect
from analysis.tables.table import Entry, Table, entries
from uniclip.store import Contrast

TONES = {
    "helps": "good",
    "more together": "good",
    "hurts": "bad",
    "less together": "bad",
    "differs": "bad",
}


def effects(findings: Findings) -> Table:
    """Every contrast on the primary score."""
    heads = (
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
    plan = findings.plan
    drawn = [(c, findings.effects[c.name]) for c in plan.contrasts]
    declared = sum(c.primary for c in plan.contrasts)
    crossed = (
        "Crossed design: a main effect is averaged over the other components; an interaction is "
        "half of how much one component's effect grows when the other is on."
        if plan.design == "crossed"
        else ""
    )
    notes = (
        f"Effects on {findings.heading(findings.primary)}; paired by seed; interval: "
        "paired t of this contrast alone.",
        f"Verdict and p: after Holm over the {declared} primary contrasts; all "
        "others are exploratory, uncorrected.",
        *([crossed] if crossed else []),
        "Detectable: the smallest effect that these seeds find 4 times in 5, at the level "
        "that the verdict needs.",
        "Variance ratio: of the contrast paired by seed to the same contrast unpaired; "
        "below 1, pairing helped.",
        "Item error: standard error that the choice of test pictures alone gives "
        "(paired); in no interval.",
        *unlike(findings),
        *(note for c, e in drawn for note in _effect_notes(c, e)),
    )
    return Table(
        name="effects",
        title="What each contrast came to",
        headings=heads,
        rows=tuple(_effect_row(findings, c, e) for c, e in drawn),
        records=tuple(_effect_record(findings, c, e, findings.primary) for c, e in drawn),
        notes=notes,
        texts=3,
    )


def other_effects(findings: Findings) -> Table:
    """The primary contrasts on every other score: exploratory."""
    declared = [c for c in findings.plan.contrasts if c.primary]
    rows = []
    for key, found in findings.others.items():
        if not findings.gathered.shown_only(*key):
            rows.append(entries(findings.heading(key), *(_brief(found[c.name]) for c in declared)))
    return Table(
        name="other_effects",
        title="The primary contrasts on the other scores (exploratory)",
        headings=("score", *(c.label for c in declared)),
        rows=tuple(rows),
        records=tuple(
            _effect_record(findings, c, found[c.name], key)
            for key, found in findings.others.items()
            for c in findings.plan.contrasts
        ),
        notes=("Uncorrected 95 % intervals: of twenty, one misses the truth. Nothing is claimed.",),
    )


def _effect_row(findings: Findings, contrast: Contrast, effect: Effect) -> tuple[Entry, ...]:
    verdict = formatting.verdict(effect, contrast.kind)
    marked = f"{verdict} ({effect.diverged} diverged)" if effect.diverged else verdict
    item = findings.items[contrast.name]
    tone = TONES.get(verdict, "quiet")
    return entries(
        contrast.label,
        "primary" if contrast.primary else "exploratory",
        Entry(text=marked, bold=contrast.primary and tone != "quiet", tone=tone),
        formatting.signed(effect.mean),
        formatting.interval(effect),
        formatting.probability(effect.significance),
        formatting.number(effect.detectable) if effect.detectable is not None else "",
        formatting.seeds(effect),
        formatting.number(effect.ratio, 2) if effect.ratio is not None else "",
        formatting.number(item) if item is not None else "",
        formatting.cost(findings.plan, contrast).removesuffix(" image forwards"),
    )


def _effect_notes(contrast: Contrast, effect: Effect) -> list[str]:
    if not effect.diverged:
        return []
    worst = (
        "not known (no chance level)" if effect.worst is None else formatting.signed(effect.worst)
    )
    lost = f"{effect.diverged} seed{'s' * (effect.diverged > 1)} left out: a run diverged"
    return [f"{contrast.label}: {lost}; with diverged runs at chance the effect is {worst}."]


def _effect_record(
    findings: Findings, contrast: Contrast, effect: Effect, key: ScoreKey
) -> dict[str, Any]:
    run_of = findings.run_of
    is_primary = contrast.primary and key == findings.primary
    return {
        "contrast": contrast.name,
        "label": contrast.label,
        "kind": contrast.kind,
        "dataset": key[0],
        "score": key[1],
        "claim": "primary" if is_primary else "exploratory",
        "verdict": formatting.verdict(effect, contrast.kind) if key == findings.primary else "",
        "effect": effect.mean,
        "low": effect.low,
        "high": effect.high,
        "p": effect.p,
        "p_holm": effect.holm,
        "detectable": effect.detectable,
        "seeds": len(effect.seeds),
        "diverged": effect.diverged,
        "missing": effect.missing,
        "worst_case": effect.worst,
        "variance_ratio": effect.ratio,
        "item_error": findings.items[contrast.name] if key == findings.primary else None,
        "cost": formatting.cost(findings.plan, contrast),
        "per_seed": " ".join(f"{s}:{v:.10g}" for s, v in zip(effect.seeds, effect.values)),
        "runs": " ".join(run_of[a, s] for s in effect.seeds for a in contrast.weights),
    }


def _brief(effect: Effect) -> Entry:
    if effect.exact:
        return Entry(text="exactly 0", tone="quiet")
    return Entry(text=f"{formatting.signed(effect.mean)} {formatting.interval(effect)}".strip())
