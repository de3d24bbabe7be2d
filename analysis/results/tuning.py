"""What tuning changed: every arm with default and with tuned hyper-parameters, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from analysis import formatting
from analysis.collect.frame import collect_sweep_data
from analysis.statistics.effects import Effect, Observations, estimate_effect
from analysis.tables.table import Table, TableCell, make_row
from uniclip.store import Contrast, Plan, Store, TunedArm

TUNED, DEFAULT = "tuned", "default"
BOUNDARY_TEXT = "on the {} edge of the space"


@dataclass(frozen=True, kw_only=True)
class TuningComparison:
    """The default arms beside the tuned ones, on the primary score."""

    runs: dict[tuple[str, int], str]
    """(arm, seed) -> run with default values."""
    training_hashes: dict[str, str]
    """Run id -> hash of the code that trained it."""
    observations: Observations
    gains: dict[str, Effect]
    """Tuned minus default, by arm, paired by seed; uncorrected."""
    effects: dict[str, Effect]
    """Every contrast between arms with default values; uncorrected."""


def compare_with_default(
    store: Store, plan: Plan, tuned_observations: Observations
) -> TuningComparison | None:
    """What a tuned plan's arms score with default values; None for a plan that was not tuned.

    Raises `UserError` if the default arms' sweep is not in the store any more.
    """
    if plan.tuning is None:
        return None
    sweep_data = collect_sweep_data(store, plan.tuning.default_sweep)
    default_observations = sweep_data.get_observations(
        plan.primary_metric.dataset, plan.primary_metric.metric
    )
    return TuningComparison(
        runs={(c.arm, c.seed): c.run_id for c in sweep_data.plan.cells},
        training_hashes=sweep_data.training_hashes,
        observations=default_observations,
        gains={
            arm.name: _estimate_gain(arm.name, tuned_observations, default_observations)
            for arm in plan.arms
        },
        effects={c.name: estimate_effect(c.weights, default_observations) for c in plan.contrasts},
    )


def _estimate_gain(
    arm: str, tuned_observations: Observations, default_observations: Observations
) -> Effect:
    observations_by_side = {TUNED: tuned_observations, DEFAULT: default_observations}
    paired_observations = Observations(
        seeds=tuned_observations.seeds,
        values={
            name: observations.values.get(arm, {})
            for name, observations in observations_by_side.items()
        },
        diverged_cells=frozenset(
            (name, seed)
            for name, observations in observations_by_side.items()
            for a, seed in observations.diverged_cells
            if a == arm
        ),
        chance=tuned_observations.chance,
        resolution=max(tuned_observations.resolution, default_observations.resolution),
    )
    return estimate_effect({TUNED: 1.0, DEFAULT: -1.0}, paired_observations)


def build_tuning_table(
    plan: Plan, tuned_observations: Observations, comparison: TuningComparison, heading: str
) -> Table:
    """Arms by what was chosen, and their scores with default and with tuned values."""
    assert plan.tuning is not None
    keys = list(plan.tuning.arms[0].best_trial.params)
    rows, records = [], []
    for tuned_arm in plan.tuning.arms:
        gain = comparison.gains[tuned_arm.arm]
        rows.append(
            make_row(
                plan.get_arm(tuned_arm.arm).label,
                *(_build_value_cell(tuned_arm, key) for key in keys),
                *(
                    formatting.format_number(v)
                    for v in (tuned_arm.default_score, tuned_arm.best_trial.score)
                ),
                *(
                    formatting.format_number(_compute_mean(o, tuned_arm.arm))
                    for o in (comparison.observations, tuned_observations)
                ),
                f"{formatting.format_signed(gain.mean)} {formatting.format_interval(gain)}".strip(),
                f"{tuned_arm.n_trials}{f' ({tuned_arm.n_pruned} stopped)' if tuned_arm.n_pruned else ''}",
                f"{tuned_arm.steps:,}",
            )
        )
        records.append(_build_arm_record(plan, tuned_arm, tuned_observations, comparison))
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
        notes=tuple(_build_notes(plan)),
    )


def build_tuned_effects_table(
    plan: Plan, tuned_effects: Mapping[str, Effect], comparison: TuningComparison, heading: str
) -> Table:
    """What each contrast came to between default arms, and between tuned ones."""
    rows = [
        make_row(
            c.label,
            *(
                text
                for e in (comparison.effects[c.name], tuned_effects[c.name])
                for text in (formatting.format_signed(e.mean), formatting.format_interval(e))
            ),
            formatting.format_verdict(tuned_effects[c.name], c.kind),
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
            _build_contrast_record(c, comparison.effects[c.name], tuned_effects[c.name])
            for c in plan.contrasts
        ),
        notes=(
            f"Effects on {heading}, paired by seed. Verdicts of the tuned arms are those of the "
            "table of effects; the default arms' stand in the report of their own sweep.",
        ),
    )


def _build_value_cell(tuned_arm: TunedArm, key: str) -> TableCell:
    text = str(tuned_arm.best_trial.params[key])
    boundary_side = tuned_arm.at_boundary.get(key)
    return (
        TableCell(text=f"{text} ({boundary_side} edge)", tone="bad")
        if boundary_side
        else TableCell(text=text)
    )


def _build_arm_record(
    plan: Plan, tuned_arm: TunedArm, tuned_observations: Observations, comparison: TuningComparison
) -> dict[str, Any]:
    arm_name, gain = tuned_arm.arm, comparison.gains[tuned_arm.arm]
    runs = {(c.arm, c.seed): c.run_id for c in plan.cells}
    return {
        "arm": arm_name,
        **tuned_arm.best_trial.params,
        "edges": " ".join(
            f"{key}:{boundary_side}" for key, boundary_side in tuned_arm.at_boundary.items()
        ),
        "validation_default": tuned_arm.default_score,
        "validation_tuned": tuned_arm.best_trial.score,
        "default": _compute_mean(comparison.observations, arm_name),
        "tuned": _compute_mean(tuned_observations, arm_name),
        "difference": gain.mean,
        "low": gain.low,
        "high": gain.high,
        "p": gain.p,
        "seeds": len(gain.seeds),
        "best_trial": tuned_arm.best_trial.number + 1,
        "trials": tuned_arm.n_trials,
        "stopped": tuned_arm.n_pruned,
        "diverged": tuned_arm.n_diverged,
        "steps": tuned_arm.steps,
        "runs_default": " ".join(r for (a, _), r in comparison.runs.items() if a == arm_name),
        "runs_tuned": " ".join(r for (a, _), r in runs.items() if a == arm_name),
    }


def _build_contrast_record(
    contrast: Contrast, default_effect: Effect, tuned_effect: Effect
) -> dict[str, Any]:
    effects_by_side = {DEFAULT: default_effect, TUNED: tuned_effect}
    return {
        "contrast": contrast.name,
        "label": contrast.label,
        **{
            f"{side}_{name}": getattr(e, field)
            for side, e in effects_by_side.items()
            for name, field in (("effect", "mean"), ("low", "low"), ("high", "high"), ("p", "p"))
        },
        "verdict_tuned": formatting.format_verdict(tuned_effect, contrast.kind),
    }


def _build_notes(plan: Plan) -> list[str]:
    tuning = plan.tuning
    assert tuning is not None
    seeds = ", ".join(str(s) for s in tuning.seeds)
    shared_seeds = sorted(set(tuning.seeds) & set(plan.seeds))
    step_counts = {t.steps for t in tuning.arms}
    notes = [
        f"Every arm had {tuning.n_trials} trials in the space {tuning.space} "
        f"(pruner: {tuning.pruner}), chosen by the validation score after the last step (mean over "
        f"seeds {seeds}; a diverged run counts as 0); no test score had a say.",
        f"Seeds {', '.join(map(str, shared_seeds))} served the choice too: their tuned scores flatter."
        if shared_seeds
        else "The seeds of the scores had no say in the choice.",
        "Tuned against default: paired by seed, 95 % interval of each arm alone (exploratory).",
        "Every arm spent the same steps."
        if len(step_counts) == 1
        else "Steps spent differ: runs that diverged, were stopped by the median, or are longer by "
        "the arm's declaration.",
    ]
    for t in tuning.arms:
        for key, boundary_side in t.at_boundary.items():
            notes.append(
                f"{plan.get_arm(t.arm).label}: {key} is {BOUNDARY_TEXT.format(boundary_side)}; its optimum may lie beyond."
            )
    return notes


def _compute_mean(observations: Observations, arm: str) -> float | None:
    values = list(observations.values.get(arm, {}).values())
    return sum(values) / len(values) if values else None
