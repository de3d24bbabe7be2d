"""Findings on seeds and cells: too few, chosen, missing, diverged, or of different code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analysis.formatting import append_unit
from analysis.results.results import Results, find_mixed_numerics, find_mixed_training
from analysis.review.finding import (
    CommandWords,
    Finding,
    Remedy,
    ReviewInput,
    format_seeds,
    join_names,
    list_new_seeds,
)
from analysis.statistics.looks import estimate_required_seeds
from analysis.statistics.verdicts import NO_VERDICT, UNRESOLVED, ScoreKey
from uniclip.config.compose import flatten
from uniclip.store import Contrast, RunStatus

MAX_SKIPPED_SEEDS = 20
FINISHED = (RunStatus.COMPLETE, RunStatus.DIVERGED)


def check_power(review: ReviewInput) -> Iterator[Finding]:
    """Yield a finding if a primary contrast is neither shown nor shown to be small."""
    results = review.results
    undecided = [
        (contrast, key)
        for key in results.primary_scores
        for contrast in results.primary_contrasts
        if results.judge(contrast, key).word in (UNRESOLVED, NO_VERDICT)
    ]
    if not undecided:
        return
    used_arms = {arm for contrast, _ in undecided for arm in contrast.weights}
    arms = [arm for arm in review.compared_arms if arm in used_arms]
    num_seeds, target_text = _choose_num_seeds(review, undecided)
    seeds = range(review.plan.first_seed, review.plan.first_seed + num_seeds)
    runs = {arm: len(_list_open_seeds(results, arm, seeds)) for arm in arms}
    yield Finding(
        check="too_few_seeds",
        title="Too few seeds for a null result",
        severity="major",
        evidence=tuple(_describe_undecided(results, *pair) for pair in undecided),
        reason="Absence of evidence: an effect below the MDE would not have been seen, so 'no "
        "difference' is not shown.",
        remedy=Remedy(
            description=f"{num_seeds} seeds of {join_names(arms)}{target_text}",
            commands=(_request_seeds(review, arms, seeds),),
            runs={arm: n for arm, n in runs.items() if n},
        ),
    )


def _describe_undecided(results: Results, contrast: Contrast, key: ScoreKey) -> str:
    effect = results.get_effects(key)[contrast.name]
    number_format = results.get_effect_format(effect, key)
    unit = number_format.difference_unit
    mean = append_unit(number_format.format_signed(effect.mean), unit)
    mde = append_unit(number_format.format_mde(effect.mde), unit) or "unknown"
    margin = results.plan.get_margin(*key)
    margin_text = (
        f"margin {append_unit(number_format.format_exact(margin.value), unit)}"
        if margin
        else "no margin is declared"
    )
    return (
        f"{contrast.label} on {results.format_heading(key)}: "
        f"{results.judge(contrast, key).text}, {mean} with {len(effect.values)} seeds; MDE {mde}; "
        f"{margin_text}"
    )


def _choose_num_seeds(
    review: ReviewInput, undecided: Sequence[tuple[Contrast, ScoreKey]]
) -> tuple[int, str]:
    """Return the seeds that the next look of some contrasts needs, or that would resolve them."""
    effects = [review.results.get_effects(key)[contrast.name] for contrast, key in undecided]
    next_looks = [e.look.next_look for e in effects if e.look is not None]
    reachable = [look.num_seeds for look in next_looks if look is not None]
    required = [n for e in effects if (n := estimate_required_seeds(e)) is not None]
    required_text = f", about {max(required)} would resolve it" if required else ""
    if reachable:
        return min(reachable), f": the next look{required_text}"
    num_finished = max((len(e.seeds) for e in effects), default=len(review.plan.seeds))
    wanted = max([*required, num_finished + 1])
    return wanted, ", beyond the last look: the schedule has to be declared anew"


def _request_seeds(review: ReviewInput, arms: Sequence[str], seeds: Sequence[int]) -> CommandWords:
    """Return the command that runs these seeds by the rule of the sweep, which is not changed
    unless it allows fewer seeds."""
    rule, arm_words = review.plan.adaptive, review.select_arms(arms)
    if rule is None:
        return CommandWords(changes=(*arm_words, format_seeds(seeds)), same_sweep=not arm_words)
    if len(seeds) <= rule.max_seeds:
        return CommandWords()
    hours = () if rule.max_gpu_hours is None else (f"max_gpu_hours={rule.max_gpu_hours!r}",)
    return CommandWords(changes=("seeds=adaptive", f"max_seeds={len(seeds)}", *hours))


def _list_open_seeds(results: Results, arm: str, seeds: Sequence[int]) -> list[int]:
    """Return the seeds with which an arm has not finished."""
    cells = results.sweep_data.cells
    rows = cells[(cells["arm"] == arm) & cells["status"].isin(FINISHED)]
    return [seed for seed in seeds if seed not in set(rows["seed"])]


def check_chosen_seeds(review: ReviewInput) -> Iterator[Finding]:
    """Yield a finding if seeds are left out between others, or finished ones are not reported."""
    plan = review.plan
    skipped = sorted(set(range(min(plan.seeds), max(plan.seeds) + 1)) - set(plan.seeds))
    if len(skipped) > MAX_SKIPPED_SEEDS:  # numbers without an order, such as 7, 42 and 1337
        skipped = []
    further = sorted({seed for seeds in review.further_seeds.values() for seed in seeds})
    if not skipped and not further:
        return
    evidence = [f"seeds in the report: {', '.join(map(str, plan.seeds))}"]
    if skipped:
        evidence.append(f"left out between them: {', '.join(map(str, skipped))}")
    evidence += [
        f"{arm} has finished with seeds {', '.join(map(str, sorted(seeds)))} too: they are in the "
        "store, and not in this report"
        for arm, seeds in review.further_seeds.items()
    ]
    seeds = sorted({*plan.seeds, *skipped, *further})
    new_seeds = [seed for seed in seeds if seed not in plan.seeds]
    runs = {
        arm.name: sum(s not in review.further_seeds.get(arm.name, ()) for s in new_seeds)
        for arm in plan.arms
    }
    yield Finding(
        check="best_of_seeds",
        title="Seeds may have been chosen",
        severity="major",
        evidence=tuple(evidence),
        reason="The best of several seeds is better than their mean: seeds that are chosen after "
        "their results bias every comparison.",
        remedy=Remedy(
            description=f"all seeds, {', '.join(map(str, new_seeds))} with the others",
            commands=(CommandWords(changes=(format_seeds(seeds),)),),
            runs={arm: n for arm, n in runs.items() if n},
        ),
    )


def check_unfinished_cells(review: ReviewInput) -> Iterator[Finding]:
    """Yield a finding if cells have no result, so that contrasts lose seeds."""
    cells = review.results.sweep_data.cells
    rows = cells[~cells["status"].isin(FINISHED)]
    if rows.empty:
        return
    names = [
        f"{arm}/{seed} ({status})" for arm, seed, status in zip(rows.arm, rows.seed, rows.status)
    ]
    lost = [
        f"{c.label}: {len(effect.seeds)} of {len(review.plan.seeds)} seeds are paired"
        for c in review.results.primary_contrasts
        if (effect := review.results.effects[c.name]).num_missing
    ]
    needs_evaluation = int((rows["status"] == RunStatus.NEEDS_EVALUATION).sum())
    trained = rows[rows["status"] != RunStatus.NEEDS_EVALUATION]
    yield Finding(
        check="unfinished_cells",
        title="Cells without a result",
        severity="major",
        evidence=(f"{len(rows)} of {len(cells)} cells: {join_names(names)}", *lost),
        reason="Cells that are missing are rarely missing at random, and a seed without a partner "
        "is in no paired comparison.",
        remedy=Remedy(
            description="the cells that are missing",
            commands=(CommandWords(changes=("retry=failed",)),),
            runs={str(arm): int(n) for arm, n in trained.groupby("arm", sort=False).size().items()},
            num_evaluations=needs_evaluation,
        ),
    )


def check_divergence(review: ReviewInput) -> Iterator[Finding]:
    """Yield a finding if arms that are compared diverged unequally often."""
    plan, results = review.plan, review.results
    observations = results.observations[results.primary_score]
    counts = {arm: observations.count_diverged(arm) for arm in review.compared_arms}
    if len(set(counts.values())) < 2:
        return
    seeds = sorted({s for arm, s in observations.diverged_cells if arm in review.compared_arms})
    rate = flatten(plan.base_config).get("train.learning_rate")
    changes: tuple[str, ...] = ()
    if rate:
        arm_words = review.select_arms(review.compared_arms)
        changes = (*arm_words, f"train.learning_rate={rate / 2:.4g}", format_seeds(seeds))
    counts_text = ", ".join(f"{arm} {n}" for arm, n in counts.items() if n)
    yield Finding(
        check="unequal_divergence",
        title="Arms diverged unequally often",
        severity="major",
        evidence=(
            f"diverged seeds of {len(plan.seeds)}: {counts_text}; the other compared arms none",
            *_describe_worst_cases(results),
        ),
        reason="Means over the surviving seeds favour the arm that fails more often, and the "
        "learning rate may suit one arm only.",
        remedy=Remedy(
            description="the seeds that diverged, all compared arms at half the learning rate",
            commands=(CommandWords(changes=changes, same_sweep=False),) if changes else (),
            runs=dict.fromkeys(review.compared_arms, float(len(seeds))),
        ),
    )


def _describe_worst_cases(results: Results) -> Iterator[str]:
    """Yield each primary effect with diverged runs at chance."""
    for contrast in results.primary_contrasts:
        effect = results.effects[contrast.name]
        if effect.worst_case_mean is not None:
            number_format = results.get_effect_format(effect)
            yield (
                f"{contrast.label} on {results.format_heading(results.primary_score)}: "
                f"{number_format.format_signed(effect.mean)}, with diverged runs at chance "
                f"{number_format.format_signed(effect.worst_case_mean)}"
            )


def check_versions(review: ReviewInput) -> Iterator[Finding]:
    """Yield a finding if compared runs are of different code or numerics."""
    results = review.results
    mixed_cells, mixed_contrasts = find_mixed_training(results), find_mixed_numerics(results)
    if not mixed_cells and not mixed_contrasts:
        return
    arms = [name.partition("/")[0] for name in mixed_cells]
    evidence = []
    if mixed_cells:
        evidence.append(f"trained by another version of the code: {join_names(mixed_cells)}")
    if mixed_contrasts:
        evidence.append(f"numerics classes differ within: {join_names(mixed_contrasts)}")
    yield Finding(
        check="mixed_versions",
        title="Compared runs are of different code or numerics",
        severity="major" if mixed_cells else "minor",
        evidence=tuple(evidence),
        reason="A difference between arms may be one between versions.",
        remedy=Remedy(
            description="the cells of another version, trained again; with them all others that "
            "the installed code did not train (status shows them)"
            if mixed_cells
            else "the same cells on machines of one kind; the table of runs says what differs",
            commands=(CommandWords(changes=("outdated=rerun",)),) if mixed_cells else (),
            runs={arm: float(arms.count(arm)) for arm in dict.fromkeys(arms)},
        ),
    )


def check_rule_changes(review: ReviewInput) -> Iterator[Finding]:
    """Yield a finding if looks, margins or scores were changed after runs had started."""
    plan = review.plan
    if not plan.rule_changes:
        return
    further = {seed for seeds in review.further_seeds.values() for seed in seeds}
    seeds = list_new_seeds(plan, plan.looks[0].num_seeds, further)
    yield Finding(
        check="changed_rules",
        title="Rules were changed after runs had started",
        severity="major",
        evidence=plan.rule_changes,
        reason="A rule that is chosen after results were seen makes its verdicts exploratory.",
        remedy=Remedy(
            description=f"{len(seeds)} seeds that nobody has seen, judged by the new rule alone: "
            f"write first_seed: {seeds[0]} in the ablation's YAML, from which looks count, then",
            commands=(CommandWords(changes=(format_seeds(seeds),)),),
            runs={arm.name: float(len(seeds)) for arm in plan.arms},
        ),
    )


def check_provenance(review: ReviewInput) -> Iterator[Finding]:
    """Yield a finding if the plan says that results were not audited, or not covered by ids."""
    if not review.plan.provenance_notes:
        return
    yield Finding(
        check="unverified_provenance",
        title="Provenance is not verified",
        severity="minor",
        evidence=review.plan.provenance_notes,
        reason="Nobody can tell from the records which program and data gave these numbers.",
        remedy=Remedy(
            description="no cells: declare the sources and data of the command in the ablation's "
            "YAML, or run imported arms as a command (docs/commands.md)",
            runs={},
        ),
    )
