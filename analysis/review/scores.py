"""Findings on scores: at chance, at the top, from leaked images, or not of the test split."""

from __future__ import annotations

import math
from collections.abc import Iterator

from analysis.results.alarms import DataCheck
from analysis.review.finding import CommandWords, Finding, Remedy, ReviewInput, format_seeds
from analysis.statistics.verdicts import ScoreKey
from uniclip.config.compose import flatten
from uniclip.evaluate.checks.near_duplicates import DUPLICATE
from uniclip.store import get_score_kind_traits

FLOOR_SE = 3.0
"""A score is at its floor below this distance from chance, in standard errors of the test set."""
CEILING = 0.98
"""A share is at its ceiling above this value."""
ROOM = (0.15, 0.9)
"""Range in which a share has room on both sides."""
LEAKED_SHARE = 0.005
"""Share of the test images with a near-duplicate in training from which it is reported."""
STEPS, LONGER = "train.steps", 4.0


def check_floor(review: ReviewInput) -> Iterator[Finding]:
    """Yield a finding if no compared arm is above chance on a primary score."""
    plan, results = review.plan, review.results
    for key in results.primary_scores:
        observations = results.observations[key]
        chance, resolution = observations.chance, observations.resolution
        means = _collect_means(review, key)
        if chance is None or not resolution or not means:
            continue
        error = math.sqrt(chance * (1 - chance) * resolution)
        if max(means.values()) - chance >= FLOOR_SE * error:
            continue
        score_format, label = results.get_score_format(key), results.format_heading(key)
        steps = flatten(plan.base_config).get(STEPS)
        is_free = STEPS not in plan.get_arm(plan.reference).config_diff
        words = (
            *review.select_arms([plan.reference]),
            f"{STEPS}={round((steps or 0) * LONGER)}",
            f"seeds=[{plan.seeds[0]}]",
        )
        yield Finding(
            check="floor",
            title="A score is at chance",
            severity="major",
            evidence=(
                f"{label}: the best compared arm has "
                f"{score_format.format_with_unit(max(means.values()))}, chance is "
                f"{score_format.format_exact(chance)} ({1 / resolution:,.0f} test samples)",
            ),
            reason="Where no arm has learned the task, no component can show an effect.",
            remedy=Remedy(
                description=f"one seed of {plan.reference} for four times the steps: whether the "
                "score leaves chance",
                commands=(CommandWords(changes=words, same_sweep=False),)
                if steps and is_free
                else (),
                runs={plan.reference: LONGER},
            ),
        )


def check_ceiling(review: ReviewInput) -> Iterator[Finding]:
    """Yield a finding if every compared arm is at the top of a primary score."""
    plan, results = review.plan, review.results
    for key in results.primary_scores:
        traits = get_score_kind_traits(results.sweep_data.get_score_kind(*key))
        means = _collect_means(review, key)
        if not traits.has_steps or not means or min(means.values()) <= CEILING:
            continue
        score_format, label = results.get_score_format(key), results.format_heading(key)
        alternatives = _list_scores_with_room(review)
        more = f" such as {alternatives[0]}" if alternatives else ""
        benchmark = ",".join(dict.fromkeys([key[0], "bench14"]))
        yield Finding(
            check="ceiling",
            title="A score is at its top",
            severity="major",
            evidence=(
                f"{label}: {score_format.format_with_unit(min(means.values()))} to "
                f"{score_format.format_with_unit(max(means.values()))} in the compared arms",
            ),
            reason="Where every arm is nearly perfect, differences cannot show.",
            remedy=Remedy(
                description=f"a score with room{more}: it is in the report already, exploratory"
                if alternatives
                else "the finished runs, evaluated on harder data sets: nothing is trained",
                commands=(
                    CommandWords(command="report")
                    if alternatives
                    else CommandWords(changes=(f"benchmark=[{benchmark}]",)),
                ),
                runs={},
                num_evaluations=0 if alternatives else len({c.run_id for c in plan.cells}),
            ),
        )


def _collect_means(review: ReviewInput, key: ScoreKey) -> dict[str, float]:
    """Return compared arm -> its mean of a score, for those that have one."""
    means = {arm: review.results.compute_mean(arm, key) for arm in review.compared_arms}
    return {arm: mean for arm, mean in means.items() if mean is not None}


def _list_scores_with_room(review: ReviewInput) -> list[str]:
    results, low, high = review.results, *ROOM
    names = []
    for key in results.observations:
        kind = results.sweep_data.get_score_kind(*key)
        means = _collect_means(review, key).values()
        is_usable = get_score_kind_traits(kind).has_steps and get_score_kind_traits(kind).is_ranked
        if is_usable and means and not results.sweep_data.is_report_only(*key):
            if low <= min(means) and max(means) <= high:
                names.append(results.format_heading(key))
    return names


def check_leakage(review: ReviewInput) -> Iterator[Finding]:
    """Yield a finding if test images have near-duplicates among the training images.

    Of the search by hash and that by embedding, the one that has more is stated.
    """
    worst: dict[str, DataCheck] = {}
    for check in review.results.data_checks:
        count = check.num_near_duplicates or 0
        if check.num_images and count > LEAKED_SHARE * check.num_images:
            best = worst.get(check.dataset)
            if best is None or count > (best.num_near_duplicates or 0):
                worst[check.dataset] = check
    evidence = {dataset: _describe_leak(check) for dataset, check in worst.items()}
    for dataset, copies in review.results.contamination.by_embedding.items():
        num_copies, num_images = int((copies.verdicts == DUPLICATE).sum()), len(copies.verdicts)
        num_by_hash = worst[dataset].num_near_duplicates or 0 if dataset in worst else 0
        if num_copies > max(LEAKED_SHARE * num_images, num_by_hash):
            evidence[dataset] = (
                f"{dataset}: {num_copies} of {num_images:,} test images are copies of training "
                f"images, searched by embedding ({copies.model})"
            )
    if evidence:
        yield Finding(
            check="leakage",
            title="Test images are in the training data",
            severity="major",
            evidence=tuple(evidence.values()),
            reason="A model is tested on what it has seen; memory may differ between arms.",
            remedy=Remedy(
                description="no cells: the report has the scores without these images; state them, "
                "and take the images out of the training data of the next sweep",
                commands=(CommandWords(command="report"),),
                runs={},
            ),
        )


def _describe_leak(check: DataCheck) -> str:
    text = (
        f"{check.dataset}: {check.num_near_duplicates} of {check.num_images:,} test images are "
        f"near-duplicates of training images ({check.arm}/{check.seed})"
    )
    if check.value is None or check.value_without_duplicates is None:
        return text
    return (
        f"{text}; {check.score} {100 * check.value:.1f} %, without them "
        f"{100 * check.value_without_duplicates:.1f} %"
    )


def check_split(review: ReviewInput) -> Iterator[Finding]:
    """Yield a finding if scores are of the validation split."""
    plan = review.plan
    if not plan.split_caveats:
        return
    yield Finding(
        check="validation_split",
        title="Scores are not of the test split",
        severity="major",
        evidence=plan.split_caveats,
        reason="Steps, and perhaps values, were chosen by the validation split.",
        remedy=Remedy(
            description="the finished runs, evaluated on the test split: nothing is trained",
            commands=(
                CommandWords(
                    command="tune" if plan.tuning is not None else "run",
                    changes=("runtime.evaluation_split=test", format_seeds(plan.seeds)),
                    same_sweep=False,  # scores of another split are of another sweep
                ),
            ),
            runs={},
            num_evaluations=len({cell.run_id for cell in plan.cells}),
        ),
    )
