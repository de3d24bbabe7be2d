"""Findings on the design: unequal compute, aliased effects, one data set, one scale."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from analysis.results.comparability import (
    FLOPS,
    RELATIVE_TOLERANCE,
    combine_comparison_facts,
    format_count,
)
from analysis.review.finding import (
    CommandWords,
    Finding,
    Remedy,
    ReviewInput,
    format_seeds,
    has_evaluated_models,
    join_names,
)
from uniclip.config.compose import flatten
from uniclip.store import Arm, Contrast, Plan

SAMPLES, IMAGE_FORWARDS = "samples seen", "image forward passes"
COMPUTE = (FLOPS, IMAGE_FORWARDS, SAMPLES)
"""Quantities that stand for compute, the best first; the first that both sides have is compared."""
COMPUTE_KINDS = ("main", "difference", "shapley", "trend")
"""Kinds of contrasts whose two sides are compared."""
DATA_PATH = "data.path"
SCALE_KEYS = (
    *("train.steps", "train.batch_size", "data.num_train", DATA_PATH),
    *("model.image.name", "model.text.width", "model.embed_dim"),
)
STEPS, VALIDATE_EVERY, BATCH_SIZE = "train.steps", "train.validate_every", "train.batch_size"
SMALLER_SCALE = 0.5
"""Steps of the cheapest second scale, relative to those of the sweep."""
NUM_SCALE_SEEDS = 3
OTHER_DATASETS = "bench14"
"""Benchmark that is proposed where a sweep has a single data set."""


def check_compute(review: ReviewInput) -> Iterator[Finding]:
    """Yield a finding if the two sides of a comparison were trained with unequal compute.

    It counts for primary contrasts, and for the reference against arms from outside the design. If
    another contrast compares the reference with an outside arm at equal compute, that is the answer
    for all outside arms.
    """
    plan = review.plan
    facts = combine_comparison_facts(
        plan.comparison_facts, plan.base_config, plan.arms, review.results.sweep_data.probes
    )
    outside = {arm.name for arm in plan.arms if arm.role == "outside"}
    unequal: list[tuple[Contrast, str, float, float]] = []
    has_control = False
    for contrast in plan.contrasts:
        if contrast.kind not in COMPUTE_KINDS:
            continue
        is_baseline = plan.reference in contrast.weights and bool(outside & set(contrast.weights))
        if not contrast.primary and not is_baseline:
            continue
        difference = compare_compute(contrast, facts)
        if difference is None:
            continue
        if _is_unequal(*difference[1:]):
            unequal.append((contrast, *difference))
        elif is_baseline:
            has_control = True
    if has_control:
        unequal = [u for u in unequal if not outside & set(u[0].weights)]
    if unequal:
        yield _make_compute_finding(review, unequal)


def compare_compute(
    contrast: Contrast, facts: Mapping[str, Mapping[str, float | None]]
) -> tuple[str, float, float] | None:
    """Return the compared quantity and its mean on both sides, with the weights of the contrast;
    None if nothing is known."""
    for quantity in COMPUTE:
        values = {arm: facts.get(arm, {}).get(quantity) for arm in contrast.weights}
        if all(contrast.arms_by_sign) and None not in values.values():
            left, right = (
                sum(contrast.weights[arm] * (values[arm] or 0.0) for arm in arms)
                / sum(contrast.weights[arm] for arm in arms)
                for arms in contrast.arms_by_sign
            )
            return quantity, left, right
    return None


def _is_unequal(left: float, right: float) -> bool:
    return abs(left - right) > RELATIVE_TOLERANCE * max(left, right)


def _make_compute_finding(
    review: ReviewInput, unequal: Sequence[tuple[Contrast, str, float, float]]
) -> Finding:
    plan = review.plan
    factors: dict[str, float] = {}
    for contrast, _, left, right in unequal:
        cheaper_side = contrast.arms_by_sign[0 if left < right else 1]
        for arm in cheaper_side:
            factors[arm] = max(
                factors.get(arm, 1.0), max(left, right) / max(min(left, right), 1e-9)
            )
    default_steps = int(flatten(plan.base_config).get(STEPS, 0))
    commands = [
        CommandWords(
            changes=(
                f"arms=[{arm}]",
                f"{STEPS}={round(default_steps * factor)}",
                format_seeds(plan.seeds),
            ),
            same_sweep=False,
        )
        for arm, factor in factors.items()
        if default_steps and STEPS not in plan.get_arm(arm).config_diff
    ]
    by_hand = "" if len(commands) == len(factors) else (
        "; an arm that sets its own steps gets match_budget: compute in the ablation's YAML"
    )  # fmt: skip
    return Finding(
        check="unequal_compute",
        title="Unequal compute",
        severity="major",
        evidence=tuple(
            f"{contrast.label}: {quantity} {format_count(left)} vs. {format_count(right)}"
            for contrast, quantity, left, right in unequal
        ),
        reason="The side that computes more may win for that alone.",
        remedy=Remedy(
            description=f"{join_names(list(factors))} trained until both sides have used as much"
            f"{by_hand}",
            commands=tuple(commands),
            runs={arm: factor * len(plan.seeds) for arm, factor in factors.items()},
        ),
    )


def check_aliases(review: ReviewInput) -> Iterator[Finding]:
    """Yield a finding if the arms cannot tell a primary main effect from another effect.

    Effects of one component or two count, as the plan lists them, or else as they are read off the
    levels of the arms.
    """
    plan = review.plan
    arms = {arm.name: arm for arm in plan.arms}
    evidence = tuple(
        text
        for contrast in plan.contrasts
        if contrast.primary and contrast.kind == "main" and contrast.component
        for text in _describe_aliases(contrast, arms)
    )
    if evidence:
        yield Finding(
            check="aliased_effects",
            title="Effects are aliased",
            severity="major",
            evidence=evidence,
            reason="The effect may be that of its aliases: what these arms estimate contains both.",
            remedy=_propose_fold_over(plan),
        )


def _describe_aliases(contrast: Contrast, arms: Mapping[str, Arm]) -> Iterator[str]:
    """Yield with which effects of one or two components a main effect is aliased."""
    listed = [alias for alias in contrast.aliases if alias.effect.count("*") < 2]
    whole = [alias.effect.replace("*", " x ") for alias in listed if abs(alias.coefficient) == 1]
    if names := whole or ([] if listed else find_aliases(contrast, arms)):
        yield f"{contrast.label} cannot be told from {' or '.join(names)}"
    if num_parts := len(listed) - len(whole):
        yield f"{contrast.label}: it contains a part of each of {num_parts} interactions of two"


def _propose_fold_over(plan: Plan) -> Remedy:
    """Return the fold-over that the plan offers first, else the crossed arms that are left out."""
    if plan.fold_overs:
        offer = plan.fold_overs[0]
        names = ",".join(offer.components)
        return Remedy(
            description=f"{offer.num_arms} further arms, which would separate {offer.separates}",
            commands=(
                CommandWords(
                    changes=(f"fold_over=[{names}]", format_seeds(plan.seeds)), same_sweep=False
                ),
            ),
            runs={plan.reference: float(offer.num_arms * len(plan.seeds))},
        )
    if not any(word.startswith("arms=") for word in plan.overrides):
        return Remedy(
            description="the fold-over: each arm again with the levels of the aliased component "
            "exchanged, listed in the ablation's YAML",
            runs={},
        )
    crossed = [arm for arm in plan.arms if arm.role == "crossed"]
    num_missing = 2 ** len(plan.components) - len(crossed)
    return Remedy(
        description=f"the {num_missing} arms of the crossed design that are left out",
        commands=(CommandWords(changes=("arms=null", format_seeds(plan.seeds)), same_sweep=False),),
        runs={crossed[0].name: float(num_missing * len(plan.seeds))},
    )


def find_aliases(contrast: Contrast, arms: Mapping[str, Arm]) -> list[str]:
    """Return the effects that the arms of a main contrast cannot tell from it."""
    component = contrast.component
    levels = [arms[name].levels for name in contrast.weights]
    if component is None or any(component not in row for row in levels):
        return []
    signs = {
        name: column
        for name in dict.fromkeys(name for row in levels for name in row)
        if (column := _code_levels([row.get(name) for row in levels])) is not None
    }
    others = [name for name in signs if name != component]
    products = {name: signs[name] for name in others}
    products |= {
        f"{a} x {b}": [x * y for x, y in zip(signs[a], signs[b])]
        for a, b in combinations(others, 2)
    }
    if component not in signs:
        return []
    opposite = [-sign for sign in signs[component]]
    return [name for name, column in products.items() if column in (signs[component], opposite)]


def _code_levels(levels: Sequence[object]) -> list[int] | None:
    """Return the levels of a component as 1 and -1; None unless there are two of them."""
    if len(set(levels)) != 2:
        return None
    return [1 if level == levels[0] else -1 for level in levels]


def check_datasets(review: ReviewInput) -> Iterator[Finding]:
    """Yield a finding if a sweep was evaluated on a single data set."""
    plan = review.plan
    names = dict.fromkeys(d for hashes in plan.evaluation_hashes.values() for d in hashes)
    if len(names) != 1:
        return
    name = next(iter(names))
    remedy = Remedy(
        description=f"the finished runs, evaluated on {OTHER_DATASETS} as well: nothing is "
        "trained (list benchmarks names others; data download fetches them)",
        commands=(CommandWords(changes=(f"benchmark=[{name},{OTHER_DATASETS}]",)),),
        runs={},
        num_evaluations=len({cell.run_id for cell in plan.cells}),
    )
    if not has_evaluated_models(plan):
        remedy = Remedy(
            description="scores of the program on other data, beside those that it has, or its "
            "checkpoint, which is then evaluated here (docs/commands.md)",
            runs={},
        )
    yield Finding(
        check="one_dataset",
        title="One data set",
        severity="minor",
        evidence=(f"every score is on {name}",),
        reason="An effect on one data set may be one of this data set.",
        remedy=remedy,
    )


def check_scale(review: ReviewInput) -> Iterator[Finding]:
    """Yield a finding if neither a setting of the plan nor another sweep of the store has these
    arms at another scale."""
    plan = review.plan
    if any(contrast.kind == "scale" for contrast in plan.contrasts):
        return
    scale = _get_scale(plan)
    arms = review.compared_arms
    for other in review.related_plans:
        shares_arms = set(arms) <= {arm.name for arm in other.arms}
        if shares_arms and other.tuning is None and _get_scale(other) != scale:
            return
    values = flatten(plan.base_config)
    seeds = plan.seeds[:NUM_SCALE_SEEDS]
    change, text = _propose_scale(plan, arms)
    commands = (
        CommandWords(
            changes=(*review.select_arms(arms), *change, format_seeds(seeds)), same_sweep=False
        ),
    )
    shown = ", ".join(
        f"{key}={values[key]}" for key in SCALE_KEYS if key in values and key != DATA_PATH
    )
    yield Finding(
        check="one_scale",
        title="One scale",
        severity="minor",
        evidence=(f"all arms at {shown}" if shown else "all arms are of one size and length",),
        reason="Components that help small or short runs often help less, or not at all, in larger "
        "ones.",
        remedy=Remedy(
            description=f"the compared arms at half the {text}: whether the effect grows or "
            "shrinks up to this scale. Twice as many say more, and cost four times as much",
            commands=commands if change else (),
            runs=dict.fromkeys(arms, SMALLER_SCALE * len(seeds)),
        ),
    )


def _propose_scale(plan: Plan, arms: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """Return the words of half the scale, and what they halve: steps, unless arms set theirs."""
    values = flatten(plan.base_config)
    steps, interval, batch_size = (values.get(k) for k in (STEPS, VALIDATE_EVERY, BATCH_SIZE))
    if steps and steps >= 2 and has_free_steps(plan, arms):
        smaller = round(steps * SMALLER_SCALE)
        interval_words = [f"{VALIDATE_EVERY}={smaller}"] if interval and interval > smaller else []
        return (f"{_name_steps(plan)}={smaller}", *interval_words), "steps"
    if batch_size and batch_size >= 4:
        return (f"{BATCH_SIZE}={round(batch_size * SMALLER_SCALE)}",), "batch size"
    return (), "steps (each arm sets its own, so in the ablation's YAML)"


def _name_steps(plan: Plan) -> str:
    """Return the key that sets the steps: of a command, the value on its command line, if any."""
    definition = plan.base_config.get("runtime", {}).get("command", {}).get("definition", {})
    steps = str(definition.get("steps", ""))
    name = steps.removeprefix("{").removesuffix("}")
    is_value = steps == f"{{{name}}}" and steps in str(definition.get("run", ""))
    return name if is_value else STEPS


def has_free_steps(plan: Plan, arms: Sequence[str]) -> bool:
    """Return whether a word may set the steps: no arm sets its own."""
    return not any(STEPS in plan.get_arm(arm).config_diff for arm in arms)


def _get_scale(plan: Plan) -> dict[str, object]:
    values = flatten(plan.base_config)
    return {key: values.get(key) for key in SCALE_KEYS}
