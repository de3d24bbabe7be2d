"""Tables of tuning: default and tuned hyper-parameters, and the effects with either."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from analysis import formatting
from analysis.results.tuning import DEFAULT, TUNED, TuningComparison
from analysis.statistics.effects import Effect, Observations
from analysis.statistics.verdicts import judge
from analysis.tables.table import Table, TableCell, make_row
from uniclip.store import Contrast, Plan, TunedArm, Tuning

VALIDATION_LABEL = "validation R@1"
"""The score by which trials are selected, whatever the primary score is."""
VALIDATION_FORMAT = formatting.make_number_format("recall", None)


def build_tuning_table(
    plan: Plan,
    tuning: Tuning,
    tuned_observations: Observations,
    comparison: TuningComparison,
    heading: str,
    kind: str,
) -> Table:
    """Return arms by tuned values, and their scores with default and with tuned values.

    Args:
        plan: the tuned plan.
        tuning: its record of the tuning.
        tuned_observations: primary score of the tuned arms.
        comparison: primary score of the default arms, and the gains.
        heading: label of the primary score.
        kind: kind of the primary score.
    """
    score_format = formatting.choose_score_format(
        kind, tuned_observations, [a.name for a in plan.arms]
    )
    keys = list(dict.fromkeys(key for arm in tuning.arms for key in arm.best_trial.params))
    rows, records = [], []
    for tuned_arm in tuning.arms:
        gain = comparison.gains[tuned_arm.arm]
        validation_scores = (tuned_arm.default_score, tuned_arm.best_trial.score)
        scores = (
            comparison.observations.compute_mean(tuned_arm.arm),
            tuned_observations.compute_mean(tuned_arm.arm),
        )
        pruned_text = formatting.format_exclusions({"pruned": tuned_arm.n_pruned})
        rows.append(
            make_row(
                plan.get_arm(tuned_arm.arm).label,
                *(_build_value_cell(tuned_arm, key) for key in keys),
                *(VALIDATION_FORMAT.format(score) for score in validation_scores),
                *(score_format.format(score) for score in scores),
                _format_effect(gain, kind),
                f"{tuned_arm.n_trials}{pruned_text}",
                f"{tuned_arm.steps:,}",
            )
        )
        records.append(_build_arm_record(plan, tuned_arm, tuned_observations, comparison))
    return Table(
        name="tuning",
        title="Default and tuned hyper-parameters",
        headings=("arm", *keys, *_build_score_headings(heading, score_format)),
        rows=tuple(rows),
        records=tuple(records),
        notes=tuple(_build_notes(tuning, plan.seeds, {a.name: a.label for a in plan.arms})),
    )


def _build_score_headings(heading: str, score_format: formatting.NumberFormat) -> tuple[str, ...]:
    unit = f" ({score_format.unit})" if score_format.unit else ""
    difference_unit = f" ({score_format.difference_unit})" if score_format.difference_unit else ""
    return (
        f"{VALIDATION_LABEL}, default ({VALIDATION_FORMAT.unit})",
        f"{VALIDATION_LABEL}, tuned ({VALIDATION_FORMAT.unit})",
        f"{heading}, default{unit}",
        f"{heading}, tuned{unit}",
        f"tuned minus default{difference_unit}",
        "trials",
        "training steps",
    )


def build_tuned_effects_table(
    contrasts: Sequence[Contrast],
    tuned_effects: Mapping[str, Effect],
    comparison: TuningComparison,
    heading: str,
    kind: str,
) -> Table:
    """Return every contrast between the default arms and between the tuned arms."""
    difference_unit = formatting.make_number_format(kind, None).difference_unit
    unit = f" ({difference_unit})" if difference_unit else ""
    rows = [
        make_row(
            c.label,
            *(
                text
                for e in (comparison.effects[c.name], tuned_effects[c.name])
                for text in _format_mean_and_interval(e, kind)
            ),
            judge(tuned_effects[c.name], c).text,
        )
        for c in contrasts
    ]
    interval_heading = f"{formatting.format_confidence_level()} interval"
    return Table(
        name="tuned_effects",
        title="Estimated effects with default and tuned hyper-parameters",
        headings=(
            "contrast",
            *(f"{DEFAULT}{unit}", interval_heading, f"{TUNED}{unit}", interval_heading),
            "verdict, tuned",
        ),
        rows=tuple(rows),
        records=tuple(
            _build_contrast_record(c, comparison.effects[c.name], tuned_effects[c.name])
            for c in contrasts
        ),
        notes=(
            f"Effects on {heading}, paired by seed.",
            *([formatting.POINTS_NOTE] if difference_unit == "pp" else []),
            "The verdicts are those of the tuned arms, as in the table of effects; the verdicts of "
            "the default arms are in the report of their sweep.",
        ),
    )


def _format_mean_and_interval(effect: Effect, kind: str) -> tuple[str, str]:
    number_format = formatting.make_number_format(kind, effect.standard_error)
    return number_format.format_signed(effect.mean), number_format.format_interval(effect)


def _format_effect(effect: Effect, kind: str) -> str:
    return " ".join(_format_mean_and_interval(effect, kind)).strip()


def _build_value_cell(tuned_arm: TunedArm, key: str) -> TableCell:
    if key not in tuned_arm.best_trial.params:  # conditional
        return TableCell(text="default")
    text = str(tuned_arm.best_trial.params[key])
    boundary_side = tuned_arm.at_boundary.get(key)
    if boundary_side is None:
        return TableCell(text=text)
    return TableCell(text=f"{text} ({boundary_side} boundary)", tone=formatting.BAD)


def _build_arm_record(
    plan: Plan, tuned_arm: TunedArm, tuned_observations: Observations, comparison: TuningComparison
) -> dict[str, Any]:
    name, gain = tuned_arm.arm, comparison.gains[tuned_arm.arm]
    return {
        "arm": name,
        **tuned_arm.best_trial.params,
        "at_boundary": " ".join(f"{key}:{side}" for key, side in tuned_arm.at_boundary.items()),
        "validation_default": tuned_arm.default_score,
        "validation_tuned": tuned_arm.best_trial.score,
        "score_default": comparison.observations.compute_mean(name),
        "score_tuned": tuned_observations.compute_mean(name),
        "difference": gain.mean,
        "ci_low": gain.low,
        "ci_high": gain.high,
        "p": gain.p,
        "num_seeds": len(gain.seeds),
        "best_trial": tuned_arm.best_trial.number + 1,
        "n_trials": tuned_arm.n_trials,
        "n_pruned": tuned_arm.n_pruned,
        "num_diverged": tuned_arm.n_diverged,
        "total_steps": tuned_arm.steps,
        "runs_default": " ".join(run for (arm, _), run in comparison.runs.items() if arm == name),
        "runs_tuned": " ".join(c.run_id for c in plan.cells if c.arm == name),
    }


def _build_contrast_record(
    contrast: Contrast, default_effect: Effect, tuned_effect: Effect
) -> dict[str, Any]:
    record: dict[str, Any] = {"contrast": contrast.name, "label": contrast.label}
    for side, effect in ((DEFAULT, default_effect), (TUNED, tuned_effect)):
        record |= {
            f"{side}_effect": effect.mean,
            f"{side}_ci_low": effect.low,
            f"{side}_ci_high": effect.high,
            f"{side}_p": effect.p,
        }
    return record | {"verdict_tuned": judge(tuned_effect, contrast).word}


def _build_notes(
    tuning: Tuning, seeds: Sequence[int], arm_labels: Mapping[str, str]
) -> Iterator[str]:
    tuning_seeds = ", ".join(str(s) for s in tuning.seeds)
    yield (
        f"Every arm had {tuning.n_trials} trials in the search space {tuning.space} "
        f"(sampler: {tuning.sampler}, pruner: {tuning.pruner}), selected by the validation score "
        "after the last step (mean "
        f"over seeds {tuning_seeds}; a diverged run counts as 0). No test score was used."
    )
    shared_seeds = sorted(set(tuning.seeds) & set(seeds))
    if shared_seeds:
        yield (
            f"Seeds {', '.join(map(str, shared_seeds))} were used for the selection too: their "
            "tuned scores are optimistic."
        )
    else:
        yield "The seeds of the scores were not used for the selection."
    yield (
        "Tuned minus default: paired by seed, "
        f"{formatting.format_confidence_level()} interval of each arm alone (exploratory)."
    )
    if len({t.steps for t in tuning.arms}) == 1:
        yield "Every arm used the same number of training steps."
    else:
        yield (
            "Training steps differ: some runs diverged, were pruned, or are longer by the "
            "declaration of their arm."
        )
    for tuned_arm in tuning.arms:
        for key, boundary_side in tuned_arm.at_boundary.items():
            yield (
                f"{arm_labels[tuned_arm.arm]}: {key} is at the {boundary_side} boundary of the "
                "search space; the optimum may be outside."
            )
