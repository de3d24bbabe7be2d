"""The design of a plan as text: which arms it has, what is aliased, and what would separate it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import factorial

from analysis.collect.run_time import format_duration
from sweeps.costs.estimate import CostEstimate
from uniclip.store import Contrast, FoldOver, Plan

FRACTIONS = {"fractional": "fractional factorial", "plackett_burman": "Plackett-Burman design"}
"""Design with aliased effects -> its name in the field."""

NUMBERS = {2: "two", 3: "three"}
"""Components of an interaction, as a word."""


def describe_design(
    plan: Plan,
    cost_estimates: Mapping[str, CostEstimate],
    gpus_per_run: int,
    *,
    whole: bool,
) -> list[str]:
    """Return what is to be known of the design before it is run, a sentence each.

    Args:
        plan: the plan.
        cost_estimates: arm -> estimated cost of one of its runs.
        gpus_per_run: GPUs of one run; 0 for runs on CPUs.
        whole: list every alias and fold-over.
    """
    texts = []
    num_components = len(_list_varied(plan))
    num_arms = sum(arm.role == "crossed" for arm in plan.arms)
    if plan.design in FRACTIONS:
        texts.append(
            f"{FRACTIONS[plan.design]}: {num_arms} of {2**num_components:,} combinations of "
            f"{num_components} components; {describe_aliases(plan.contrasts)}"
        )
        texts += list_aliases(plan.contrasts) if whole else []
        texts += _describe_fold_overs(plan, cost_estimates, gpus_per_run, whole=whole)
    if plan.design == "shapley" and plan.orders:
        texts.append(
            f"Shapley values from {len(plan.orders)} of {factorial(num_components):,} orders "
            "(num_orders); the report states the error of this sample apart from that of seeds"
        )
    if plan.predictions:
        dated = f" of {plan.predictions_date}" if plan.predictions_date else ""
        declared = "; ".join(p.description for p in plan.predictions) if whole else ""
        listed = f": {declared}" if declared else ""
        plural = "s" * (len(plan.predictions) > 1)
        texts.append(
            f"{len(plan.predictions)} prediction{plural}{dated}, hash "
            f"{plan.predictions_digest}{listed}"
        )
    return texts


def _list_varied(plan: Plan) -> set[str]:
    """Return the components that the arms of the design set."""
    return {name for arm in plan.arms if arm.role == "crossed" for name in arm.levels}


def describe_aliases(contrasts: Sequence[Contrast]) -> str:
    """Return with interactions of how many components main effects are aliased, in one phrase."""
    lowest = [
        min(alias.effect.count("*") + 1 for alias in contrast.aliases)
        for contrast in contrasts
        if contrast.kind == "main" and contrast.aliases
    ]
    num_main = sum(contrast.kind == "main" for contrast in contrasts)
    if not lowest:
        return "no main effect is aliased with interactions of two or three"
    order = min(lowest)
    is_partial = any(
        abs(alias.coefficient) != 1
        for contrast in contrasts
        for alias in contrast.aliases
        if contrast.kind == "main"
    )
    part = "parts of " if is_partial else ""
    clear = ", none with those of two" if order > 2 else ""
    return (
        f"{lowest.count(order)} of {num_main} main effects are aliased with {part}interactions of "
        f"{NUMBERS[order]}{clear}"
    )


def list_aliases(contrasts: Sequence[Contrast]) -> list[str]:
    """Return a line for each aliased effect, such as "a = a + b*c - d*e"."""
    lines = []
    for contrast in contrasts:
        if contrast.aliases:
            effect = contrast.name.partition(":")[2]
            terms = [_format_term(a.coefficient, a.effect) for a in contrast.aliases]
            lines.append(f"{effect} = {effect} {' '.join(terms)}")
    return lines


def _format_term(coefficient: float, effect: str) -> str:
    size = "" if abs(coefficient) == 1 else f"{abs(coefficient):.2g} "
    return f"{'+' if coefficient > 0 else '-'} {size}{effect}"


def _describe_fold_overs(
    plan: Plan,
    cost_estimates: Mapping[str, CostEstimate],
    gpus_per_run: int,
    *,
    whole: bool,
) -> list[str]:
    offers = plan.fold_overs if whole else plan.fold_overs[:1]
    texts = []
    for offer in offers:
        price = price_fold_over(offer, len(plan.seeds), cost_estimates, gpus_per_run)
        names = ",".join(offer.components)
        texts.append(f"fold_over=[{names}] would separate {offer.separates}: {price}")
    if num_others := len(plan.fold_overs) - len(offers):
        texts[-1] += f"; that of another component is possible too ({num_others} of them)"
    return texts


def price_fold_over(
    offer: FoldOver,
    num_seeds: int,
    cost_estimates: Mapping[str, CostEstimate],
    gpus_per_run: int,
) -> str:
    """Return the cells that a fold-over adds, and their price if arms were measured.

    An arm of the fold-over is priced as the mean of the measured arms.
    """
    num_cells = offer.num_arms * num_seeds
    text = f"{offer.num_arms} more arms, {num_cells} cells"
    if not cost_estimates:
        return f"{text}, not measured"
    measured = [estimate.seconds for estimate in cost_estimates.values()]
    seconds = num_cells * sum(measured) / len(measured)
    if gpus_per_run:
        return f"{text}, about {seconds * gpus_per_run / 3600:.2g} GPU-hours"
    return f"{text}, about {format_duration(seconds)} of runs"
