"""What tuning changed: every arm with default and with tuned hyper-parameters, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from analysis import formatting
from analysis.collect.frame import gather
from analysis.statistics.effects import Effect, Observed, effect
from analysis.tables.table import Entry, Table, entries
from uniclip.store import Contrast, Plan, Store, TunedArm

TUNED, DEFAULT = "tuned", "default"
EDGE = "on the {} edge of the space"


@dataclass(frozen=True, kw_only=True)
class Beside:
    """The default arms beside the tuned ones, on the primary score."""

    runs: dict[tuple[str, int], str]
    """(arm, seed) -> run with default values."""
    training: dict[str, str]
    """Run id -> hash of the code that trained it."""
    observed: Observed
    gains: dict[str, Effect]
    """Tuned minus default, by arm, paired by seed; uncorrected."""
    effects: dict[str, Effect]
    """Every contrast between arms with default values; uncorrected."""


def beside(store: Store, plan: Plan, tuned: Observed) -> Beside | None:
    """What a tuned plan's arms score with default values; None for a plan that was not tuned.

    Raises `UserError` if the default arms' sweep is not in the store any more.
    """
    if plan.tuning is None:
        return None
    gathered = gather(store, plan.tuning.default)
    default = gathered.observed(plan.primary.dataset, plan.primary.score)
    return Beside(
        runs={(c.arm, c.seed): c.run for c in gathered.plan.cells},
        training=gathered.training,
        observed=default,
        gains={arm.name: _gain(arm.name, tuned, default) for arm in plan.arms},
        effects={c.name: effect(c.weights, default) for c in plan.contrasts},
    )


def _gain(arm: str, tuned: Observed, default: Observed) -> Effect:
    both = {TUNED: tuned, DEFAULT: default}
    pair = Observed(
        seeds=tuned.seeds,
        values={name: of.values.get(arm, {}) for name, of in both.items()},
        diverged=frozenset(
            (name, seed) for name, of in both.items() for a, seed in of.diverged if a == arm
        ),
        chance=tuned.chance,
        grain=max(tuned.grain, default.grain),
    )
    return effect({TUNED: 1.0, DEFAULT: -1.0}, pair)


def arms(plan: Plan, tuned: Observed, found: Beside, heading: str) -> Table:
    """Arms by what was chosen, and their scores with default and with tuned values."""
    assert plan.tuning is not None
    keys = list(plan.tuning.arms[0].best.values)
    rows, records = [], []
    for of_arm in plan.tuning.arms:
        gain = found.gains[of_arm.arm]
        rows.append(
            entries(
                plan.arm(of_arm.arm).label,
                *(_chosen(of_arm, key) for key in keys),
                *(formatting.number(v) for v in (of_arm.default, of_arm.best.score)),
                *(formatting.number(_mean(o, of_arm.arm)) for o in (found.observed, tuned)),
                f"{formatting.signed(gain.mean)} {formatting.interval(gain)}".strip(),
                f"{of_arm.trials}{f' ({of_arm.stopped} stopped)' if of_arm.stopped else ''}",
                f"{of_arm.steps:,}",
            )
        )
        records.append(_record(plan, of_arm, tuned, found))
    return Table(
        name="tuning",
        title="Default and tuned hyper-parameters, side by side",
        headings=(
            "arm",
            *keys,
            "validation, default",
            "validation, tuned",
            f"{heading}, default",
            f"{heading}, tuned",
            "tuned against default",
            "trials",
            "steps spent",
        ),
        rows=tuple(rows),
        records=tuple(records),
        notes=tuple(_notes(plan)),
    )


def effects(plan: Plan, tuned: Mapping[str, Effect], found: Beside, heading: str) -> Table:
    """What each contrast came to between default arms, and between tuned ones."""
    rows = [
        entries(
            c.label,
            *(
                text
                for e in (found.effects[c.name], tuned[c.name])
                for text in (formatting.signed(e.mean), formatting.interval(e))
            ),
            formatting.verdict(tuned[c.name], c.kind),
        )
        for c in plan.contrasts
    ]
    return Table(
        name="tuned_effects",
        title="What each contrast came to, before and after tuning",
        headings=(
            "contrast",
            *("default", "95 % interval", "tuned", "95 % interval"),
            "verdict, tuned",
        ),
        rows=tuple(rows),
        records=tuple(
            _contrast_record(c, found.effects[c.name], tuned[c.name]) for c in plan.contrasts
        ),
        notes=(
            f"Effects on {heading}, paired by seed. Verdicts of the tuned arms are those of the "
            "table of effects; the default arms' stand in the report of their own sweep.",
        ),
    )


def _chosen(of_arm: TunedArm, key: str) -> Entry:
    text = str(of_arm.best.values[key])
    end = of_arm.edges.get(key)
    return Entry(text=f"{text} ({end} edge)", tone="bad") if end else Entry(text=text)


def _record(plan: Plan, of_arm: TunedArm, tuned: Observed, found: Beside) -> dict[str, Any]:
    name, gain = of_arm.arm, found.gains[of_arm.arm]
    runs = {(c.arm, c.seed): c.run for c in plan.cells}
    return {
        "arm": name,
        **of_arm.best.values,
        "edges": " ".join(f"{key}:{end}" for key, end in of_arm.edges.items()),
        "validation_default": of_arm.default,
        "validation_tuned": of_arm.best.score,
        "default": _mean(found.observed, name),
        "tuned": _mean(tuned, name),
        "difference": gain.mean,
        "low": gain.low,
        "high": gain.high,
        "p": gain.p,
        "seeds": len(gain.seeds),
        "best_trial": of_arm.best.number + 1,
        "trials": of_arm.trials,
        "stopped": of_arm.stopped,
        "diverged": of_arm.diverged,
        "steps": of_arm.steps,
        "runs_default": " ".join(r for (a, _), r in found.runs.items() if a == name),
        "runs_tuned": " ".join(r for (a, _), r in runs.items() if a == name),
    }


def _contrast_record(contrast: Contrast, default: Effect, tuned: Effect) -> dict[str, Any]:
    sides = {DEFAULT: default, TUNED: tuned}
    return {
        "contrast": contrast.name,
        "label": contrast.label,
        **{
            f"{side}_{name}": getattr(e, field)
            for side, e in sides.items()
            for name, field in (("effect", "mean"), ("low", "low"), ("high", "high"), ("p", "p"))
        },
        "verdict_tuned": formatting.verdict(tuned, contrast.kind),
    }


def _notes(plan: Plan) -> list[str]:
    tuning = plan.tuning
    assert tuning is not None
    seeds = ", ".join(str(s) for s in tuning.seeds)
    shared = sorted(set(tuning.seeds) & set(plan.seeds))
    spent = {t.steps for t in tuning.arms}
    said = [
        f"Every arm had {tuning.trials} trials in the space {tuning.space} "
        f"(pruner: {tuning.pruner}), chosen by the validation score after the last step (mean over "
        f"seeds {seeds}; a diverged run counts as 0); no test score had a say.",
        f"Seeds {', '.join(map(str, shared))} served the choice too: their tuned scores flatter."
        if shared
        else "The seeds of the scores had no say in the choice.",
        "Tuned against default: paired by seed, 95 % interval of each arm alone (exploratory).",
        "Every arm spent the same steps."
        if len(spent) == 1
        else "Steps spent differ: runs that diverged, were stopped by the median, or are longer by "
        "the arm's declaration.",
    ]
    for t in tuning.arms:
        for key, end in t.edges.items():
            said.append(
                f"{plan.arm(t.arm).label}: {key} is {EDGE.format(end)}; its optimum may lie beyond."
            )
    return said


def _mean(observed: Observed, arm: str) -> float | None:
    values = list(observed.values.get(arm, {}).values())
    return sum(values) / len(values) if values else None
