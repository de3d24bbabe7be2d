"""Designs that add components one after another: cumulative, paths, and Shapley values.

A cumulative design has one order. Paths have several: by default the order of the ablation and its
reverse, in which each component is once early and once late. The Shapley value of a component
(Shapley, "A value for n-person games", 1953) is the mean of its effect over all orders; up to
`MAX_EXACT` components it is computed from all combinations, beyond from a sample of orders (Castro,
Gomez and Tejada, "Polynomial calculation of the Shapley value based on sampling", 2009), in which
each order is followed by its reverse (Mitchell et al., "Sampling permutations for Shapley value
estimation", JMLR 2022). Components that require others are added after them only (Faigle and Kern,
"The Shapley value for cooperative games under precedence constraints", 1992).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, permutations
from math import factorial

from ablations.designs.differences import (
    OffSets,
    build_difference,
    build_whole_difference,
    complement,
)
from ablations.designs.names import format_subset_name
from ablations.designs.rules import check_order, describe_rule, is_valid, refuse_exclusions
from ablations.schema import Ablation
from uniclip.errors import UserError
from uniclip.io.hashing import digest
from uniclip.store import Component, Contrast

MAX_EXACT = 5
"""Most components whose Shapley values are computed from all combinations."""
MAX_DRAWS = 500
"""Draws for each sampled order, of which rules leave a part."""
MAX_SHAPLEY = 20
"""Most components of a Shapley design."""


def list_orders(ablation: Ablation) -> tuple[tuple[str, ...], ...]:
    """Return the orders in which the design adds components; empty if it takes all combinations.

    Raises:
        UserError: an order is not one of the components, or contradicts a rule.
    """
    names = ablation.components
    if ablation.design == "shapley":
        return () if len(names) <= MAX_EXACT else _sample_orders(ablation)
    orders = ablation.orders
    if not orders:
        orders = (names,) if ablation.design == "cumulative" else (names, names[::-1])
    if ablation.design == "cumulative" and len(orders) > 1:
        raise UserError(
            f"ablation {ablation.name}: design: cumulative has one order; use design: paths"
        )
    for order in orders:
        if sorted(order) != sorted(names):
            raise UserError(
                f"ablation {ablation.name}: orders: {', '.join(order)} must be all of "
                f"{', '.join(names)}, each once"
            )
        check_order(order, ablation)
    return tuple(dict.fromkeys(orders))


def _sample_orders(ablation: Ablation) -> tuple[tuple[str, ...], ...]:
    """Return `num_orders` orders, each followed by its reverse; the same ones in every process.

    An order sorts the components by hashes, so it is uniform over all orders, and more orders
    extend the sample. Under rules those that contradict them are dropped, and so is the reverse of
    any: it would contradict a requirement.
    """
    names = ablation.components
    if len(names) > MAX_SHAPLEY:
        raise UserError(
            f"ablation {ablation.name}: at most {MAX_SHAPLEY} components have Shapley values"
        )
    _postpone_dependents(names, ablation)  # raises if there is no order at all
    orders: dict[tuple[str, ...], None] = {}
    for i in range(MAX_DRAWS * ablation.num_orders):
        priority = {n: digest(["order of components", i, n]) for n in names}
        order = tuple(sorted(names, key=priority.__getitem__))
        if describe_rule(ablation) is None:
            orders |= {order: None, order[::-1]: None}
        elif _postpone_dependents(order, ablation) == order:
            orders[order] = None
        if len(orders) >= ablation.num_orders:
            return tuple(orders)[: ablation.num_orders]
    raise UserError(
        f"ablation {ablation.name}: {describe_rule(ablation)}: too few orders of the components "
        f"are left for num_orders: {ablation.num_orders}; use design: cumulative"
    )


def _postpone_dependents(order: Sequence[str], ablation: Ablation) -> tuple[str, ...]:
    """Return the order in which each component waits for those that it requires."""
    placed: list[str] = []
    waiting = list(order)
    while waiting:
        ready = next((n for n in waiting if is_valid([*placed, n], ablation)), None)
        if ready is None:
            raise UserError(
                f"ablation {ablation.name}: {', '.join(waiting)} require one another in a circle"
            )
        waiting.remove(ready)
        placed.append(ready)
    return tuple(placed)


def list_arms_of_orders(ablation: Ablation) -> OffSets:
    """Return the arms of a cumulative, paths or Shapley design, those with all components first."""
    refuse_exclusions(ablation)
    names = ablation.components
    orders = list_orders(ablation)
    if not orders:
        on_sets = [
            subset
            for size in range(len(names), -1, -1)
            for subset in combinations(names, size)
            if is_valid(subset, ablation)
        ]
        return [complement(on, names) for on in on_sets]
    off_sets = {
        complement(order[:size], names): None
        for size in range(len(names), -1, -1)
        for order in orders
    }
    return list(off_sets)


def _name_subset(on: Sequence[str], names: tuple[str, ...]) -> str:
    return format_subset_name(complement(tuple(on), names), names)


def build_steps(ablation: Ablation, components: Mapping[str, Component]) -> list[Contrast]:
    """Return the steps of a cumulative design: what each component adds to those before it."""
    names, (order,) = ablation.components, list_orders(ablation)
    steps = [_build_step(order, i, names, components, primary=True) for i in range(len(order))]
    return [*steps, build_whole_difference()]


def _build_step(
    order: Sequence[str],
    i: int,
    names: tuple[str, ...],
    components: Mapping[str, Component],
    *,
    primary: bool,
) -> Contrast:
    plus, minus = (_name_subset(order[:end], names) for end in (i + 1, i))
    where = "added first" if i == 0 else f"added after {components[order[i - 1]].label}"
    if i == len(order) - 1 and i > 0:
        where = "added last"
    label = f"{components[order[i]].label}, {where}"
    return build_difference(plus, minus, label, order[i], primary=primary)


def build_paths(ablation: Ablation, components: Mapping[str, Component]) -> list[Contrast]:
    """Return each component's effect, averaged over the paths, then every step of every path."""
    names, orders = ablation.components, list_orders(ablation)
    contrasts = [
        Contrast(
            name=f"main:{n}",
            label=f"{components[n].label}, mean of {len(orders)} paths",
            kind="main",
            weights=_average_over_orders(n, orders, names),
            primary=True,
            component=n,
        )
        for n in names
    ]
    steps = [
        _build_step(order, i, names, components, primary=False)
        for order in orders
        for i in range(len(order))
    ]
    return [*contrasts, *{c.name: c for c in steps}.values(), build_whole_difference()]


def build_shapley(ablation: Ablation, components: Mapping[str, Component]) -> list[Contrast]:
    """Return Shapley values, whose sum is the effect of all components, and interactions.

    The interaction of two components is their Shapley interaction index (Grabisch and Roubens,
    1999): the mean, over the orders that add both at once, of what they do together beyond the sum
    of what each does. It needs all combinations, so a sample of orders has none.
    """
    names, orders = ablation.components, list_orders(ablation)
    sample = f" from {len(orders)} orders" if orders else ""
    has_rules = describe_rule(ablation) is not None
    if not orders and has_rules:
        orders = tuple(o for o in permutations(names) if _postpone_dependents(o, ablation) == o)
    values = [
        Contrast(
            name=f"shapley:{n}",
            label=f"{components[n].label}, Shapley value{sample}",
            kind="shapley",
            weights=_average_over_orders(n, orders, names)
            if orders
            else _weigh_combinations((n,), names),
            primary=True,
            component=n,
        )
        for n in names
    ]
    interactions = [
        Contrast(
            name=f"interaction:{'*'.join(pair)}",
            label=" x ".join(components[n].label for n in pair) + ", Shapley interaction",
            kind="interaction",
            weights=_weigh_combinations(pair, names),
            primary=False,
        )
        for pair in ([] if orders else combinations(names, 2))
    ]
    return [*values, *interactions, build_whole_difference()]


def _average_over_orders(
    name: str, orders: Sequence[Sequence[str]], names: tuple[str, ...]
) -> dict[str, float]:
    """Return the weights of the mean, over the orders, of what the component adds."""
    counts: dict[str, int] = {}
    for order in orders:
        before = order[: order.index(name)]
        for on, sign in (((*before, name), 1), (before, -1)):
            arm = _name_subset(on, names)
            counts[arm] = counts.get(arm, 0) + sign
    return {arm: count / len(orders) for arm, count in counts.items() if count}


def _weigh_combinations(group: Sequence[str], names: tuple[str, ...]) -> dict[str, float]:
    """Return the weights of a Shapley value (one component) or interaction index (two).

    A set of s of the other components has the probability s! (k - s - m)! / (k - m + 1)! that, of k
    components, the group of m is added to it in a random order.
    """
    m, k = len(group), len(names)
    others = [n for n in names if n not in group]
    weights = {}
    for size in range(len(others) + 1):
        share = factorial(size) * factorial(k - size - m) / factorial(k - m + 1)
        for before in combinations(others, size):
            for num_added in range(m + 1):
                for added in combinations(group, num_added):
                    sign = (-1) ** (m - num_added)
                    weights[_name_subset((*before, *added), names)] = sign * share
    return weights
