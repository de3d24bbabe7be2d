"""Findings on hyper-parameters: arms that were not tuned, optima at a bound, seeds used twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from analysis.results.comparability import RELATIVE_TOLERANCE
from analysis.review.finding import (
    CommandWords,
    Finding,
    Remedy,
    ReviewInput,
    format_seeds,
    format_word,
    join_names,
    list_new_seeds,
)
from uniclip.config.compose import flatten
from uniclip.store import TunedArm, Tuning

NUM_TRIALS = 8
"""Trials of each arm in a small tuning."""
TUNED_KEYS = ("train.learning_rate", "train.weight_decay")
BEYOND = 2.0
"""Factor by which a value beyond a bound exceeds the best one."""


def check_untuned_arms(review: ReviewInput) -> Iterator[Finding]:
    """Yield a finding if arms have hyper-parameters that were never tuned, or tuned unequally."""
    plan = review.plan
    if plan.tuning is not None:
        yield from _check_equal_tuning(review, plan.tuning)
        return
    if any(p.tuning and p.tuning.default_sweep == plan.sweep_id for p in review.related_plans):
        return
    values = flatten(plan.base_config)
    shared = "".join(f", {key}={values[key]:g}" for key in TUNED_KEYS if key in values)
    arms = review.compared_arms
    trials_text = f"{NUM_TRIALS} trials of each compared arm, alike"
    remedy = Remedy(
        description=f"{trials_text}, then the tuned arms at the {len(plan.seeds)} seeds of the "
        "report",
        commands=(
            CommandWords(
                command="tune",
                changes=(
                    *review.select_arms(arms),
                    format_seeds(plan.seeds),
                    f"n_trials={NUM_TRIALS}",
                ),
                same_sweep=False,
            ),
        ),
        runs=dict.fromkeys(arms, float(NUM_TRIALS + len(plan.seeds))),
    )
    if plan.is_scored_by_program:
        remedy = Remedy(
            description=f"{trials_text}, by the program that trains them; write the values that "
            "they choose as arms (docs/commands.md)",
            runs={},
        )
    yield Finding(
        check="untuned_arms",
        title="No arm was tuned",
        severity="major",
        evidence=(f"{len(plan.arms)} arms share the declared values{shared}",),
        reason="The shared values may suit one arm better than the other; the difference may "
        "vanish once each arm has its own.",
        remedy=remedy,
    )


def _check_equal_tuning(review: ReviewInput, tuning: Tuning) -> Iterator[Finding]:
    by_arm = {arm.arm: arm for arm in tuning.arms}
    untuned = [arm for arm in review.compared_arms if arm not in by_arm]
    trials = {arm: by_arm[arm].n_trials for arm in review.compared_arms if arm in by_arm}
    is_unequal = bool(trials) and min(trials.values()) < (1 - RELATIVE_TOLERANCE) * max(
        trials.values()
    )
    if not untuned and not is_unequal:
        return
    most = max(trials.values(), default=NUM_TRIALS)
    missing = {arm: float(most - trials.get(arm, 0)) for arm in review.compared_arms}
    evidence = [f"not tuned: {join_names(untuned)}"] if untuned else []
    if is_unequal:
        evidence.append(f"trials: {', '.join(f'{arm} {n}' for arm, n in trials.items())}")
    yield Finding(
        check="untuned_arms",
        title="Arms were tuned unequally",
        severity="major",
        evidence=tuple(evidence),
        reason="More trials find better values: the arm that was tuned more has an advantage.",
        remedy=Remedy(
            description=f"{most} trials of every arm",
            commands=(CommandWords(command="tune", changes=(f"n_trials={most}",)),),
            runs={arm: n for arm, n in missing.items() if n},
        ),
    )


def check_boundaries(review: ReviewInput) -> Iterator[Finding]:
    """Yield a finding if the best value of an arm is at a bound of its search space."""
    tuning = review.plan.tuning
    if tuning is None:
        return
    arms = [a for a in tuning.arms if list_open_bounds(a) and a.arm in review.compared_arms]
    if not arms:
        return
    default_plan = next(
        (p for p in review.related_plans if p.sweep_id == tuning.default_sweep), None
    )
    commands = [
        CommandWords(
            changes=(
                f"arms=[{arm.arm}]",
                *move_beyond_bounds(arm, tuning),
                format_seeds(tuning.seeds),
            ),
            same_sweep=False,
            plan=default_plan,
        )
        for arm in arms
    ]
    yield Finding(
        check="optimum_at_boundary",
        title="The best value is at the edge of the search space",
        severity="major",
        evidence=tuple(
            f"{arm.arm}: {key}={arm.best_trial.params[key]:g} is at the {side} bound"
            f"{_describe_range(tuning, key)}"
            for arm in arms
            for key, side in list_open_bounds(arm).items()
        ),
        reason="The optimum may lie outside, so the arm may be better than reported.",
        remedy=Remedy(
            description="one run beyond the bound for each of these arms, on the tuning seeds; its "
            "validation score is compared with that of the best trial. If it is higher, widen the "
            "space and tune again",
            commands=tuple(commands) if default_plan is not None else (),
            runs={arm.arm: float(len(tuning.seeds)) for arm in arms},
        ),
    )


def list_open_bounds(arm: TunedArm) -> dict[str, str]:
    """Return key -> side of the bound at which the best value of an arm is; 0 as a lower bound is
    the end of what a key can be, not of a search."""
    return {
        key: side
        for key, side in arm.at_boundary.items()
        if side == "upper" or arm.best_trial.params[key] != 0
    }


def move_beyond_bounds(arm: TunedArm, tuning: Tuning) -> list[str]:
    """Return the words that set the best values of an arm, with those at a bound moved beyond."""
    values: dict[str, Any] = dict(arm.best_trial.params)
    for key, side in arm.at_boundary.items():
        value, dimension = values[key], tuning.dimensions.get(key, {})
        is_away_from_zero = (side == "upper") == (value > 0)
        factor = BEYOND if is_away_from_zero else 1 / BEYOND
        moved = value * factor
        if isinstance(value, int) or dimension.get("step"):
            step = dimension.get("step") or 1
            moved = value + step if side == "upper" else max(value - step, 0)
        values[key] = float(f"{moved:.4g}") if isinstance(moved, float) else moved
    return [format_word(key, value) for key, value in values.items()]


def _describe_range(tuning: Tuning, key: str) -> str:
    dimension = tuning.dimensions.get(key, {})
    low, high = dimension.get("low"), dimension.get("high")
    return "" if low is None or high is None else f" of {low:g} to {high:g}"


def check_tuning_seeds(review: ReviewInput) -> Iterator[Finding]:
    """Yield a finding if seeds on which values were chosen are in the table."""
    plan, tuning = review.plan, review.plan.tuning
    reused = sorted(set(plan.seeds) & set(tuning.seeds)) if tuning is not None else []
    if not reused:
        return
    seeds = [seed for seed in plan.seeds if seed not in reused]
    seeds += list_new_seeds(plan, len(reused))
    yield Finding(
        check="reused_tuning_seeds",
        title="Seeds of the tuning are in the table",
        severity="major",
        evidence=(f"seeds {', '.join(map(str, reused))} of the table chose the values",),
        reason="The values were chosen because they were good on these seeds: their scores are too "
        "high, and more so for the arm that was tuned more.",
        remedy=Remedy(
            description=f"{len(reused)} new seeds of the tuned arms in their place; a look counts "
            f"seeds without a gap, from first_seed in the ablation's YAML (here {plan.first_seed})",
            commands=(CommandWords(command="tune", changes=(format_seeds(seeds),)),),
            runs={arm.name: 2.0 * len(reused) for arm in plan.arms},
        ),
    )
