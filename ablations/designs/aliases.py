"""Effects of a design with a part of all combinations, each with what it is aliased with.

Two effects are aliased if their columns of signs over the arms are not orthogonal: the estimate of
one contains the other, times their correlation. In a regular fraction it is 1 or -1: both are one
contrast. In a design of Plackett and Burman it lies between. An effect is never named without its
aliases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

from ablations.designs.differences import OffSets, build_whole_difference
from ablations.designs.fractions import ALL, Levels, multiply_columns, pack_columns, reverse_levels
from ablations.designs.names import FULL, NONE, format_subset_name
from ablations.schema import Ablation
from uniclip.store import Alias, Component, Contrast, FoldOver

MAX_ORDER = 3
"""Most components of an interaction that is listed as an alias."""
MAX_LABEL_ALIASES = 2
"""Most aliases that a label names; beyond, it counts them."""
WAYS = {1: "one-way", 2: "two-way", 3: "three-way"}
Effect = tuple[int, ...]
"""Columns whose product is a main effect (one) or an interaction."""


@dataclass(frozen=True)
class SignTable:
    """The columns of signs of a design."""

    rows: tuple[Levels, ...]
    """Rows that are one arm stand there as often as the design has them."""
    columns: tuple[int, ...]
    """The signs of each component, packed (see `pack_columns`)."""

    @property
    def full(self) -> int:
        """A column of signs 1."""
        return (1 << len(self.rows)) - 1

    @cached_property
    def effects(self) -> dict[Effect, int]:
        """The signs of every main effect and interaction of up to `MAX_ORDER` components."""
        return {
            effect: multiply_columns([self.columns[i] for i in effect], self.full)
            for order in range(1, MAX_ORDER + 1)
            for effect in combinations(range(len(self.columns)), order)
        }

    @cached_property
    def has_partial_aliases(self) -> bool:
        """Whether a main effect is aliased with a part of an interaction of two."""
        shares = [s for i in range(len(self.columns)) for s in self.find_aliases((i,), 2).values()]
        return any(abs(share) != 1 for share in shares)

    def compute_correlation(self, column: int, other: int) -> float:
        """Return the mean product of two columns of signs."""
        return 1 - 2 * (column ^ other).bit_count() / len(self.rows)

    def find_aliases(self, effect: Effect, max_order: int) -> dict[Effect, float]:
        """Return the effects of up to `max_order` components that are aliased with an effect."""
        column = self.effects[effect]
        return {
            other: correlation
            for other, other_column in self.effects.items()
            if other != effect
            and len(other) <= max_order
            and (correlation := self.compute_correlation(column, other_column))
        }


def make_sign_table(off_sets: OffSets, names: Sequence[str]) -> SignTable:
    """Return the signs of the arms of a design."""
    rows = tuple(tuple(n not in off for n in names) for off in off_sets)
    return SignTable(rows, tuple(pack_columns(rows)))


def build_aliased_effects(
    ablation: Ablation, components: Mapping[str, Component], off_sets: OffSets
) -> list[Contrast]:
    """Return the main effects, and the interactions of two that no main effect is aliased with.

    Interactions that are one contrast are listed once.
    """
    names = ablation.components
    table = make_sign_table(off_sets, names)
    arms = [format_subset_name(off, names) for off in off_sets]
    effects: list[Effect] = [(i,) for i in range(len(names))]
    covered = {table.effects[e] for e in effects}
    for pair in combinations(range(len(names)), 2):
        column = table.effects[pair]
        if {column, column ^ table.full} & covered:
            continue
        if all(not table.compute_correlation(column, table.columns[i]) for i in range(len(names))):
            effects.append(pair)
            covered.add(column)
    contrasts = [_build_effect(e, table, arms, names, components) for e in effects]
    return [*contrasts, *([build_whole_difference()] if {FULL, NONE} <= set(arms) else [])]


def _build_effect(
    effect: Effect,
    table: SignTable,
    arms: Sequence[str],
    names: Sequence[str],
    components: Mapping[str, Component],
) -> Contrast:
    # a design with partial aliases has too many of three components to be read
    max_order = 2 if table.has_partial_aliases else MAX_ORDER
    column, aliases = table.effects[effect], table.find_aliases(effect, max_order)
    is_main = len(effect) == 1
    label = " x ".join(components[names[i]].label for i in effect)
    weights = dict.fromkeys(arms, 0.0)
    for i, arm in enumerate(arms):
        weights[arm] += (1 if column >> i & 1 else -1) / (len(arms) / 2)
    return Contrast(
        name=("main:" if is_main else "interaction:") + "*".join(names[i] for i in effect),
        label=f"{label} {_describe_aliases(aliases, table, names, components)}".strip(),
        kind="main" if is_main else "interaction",
        weights=weights,
        primary=is_main,
        component=names[effect[0]] if is_main else None,
        aliases=tuple(
            Alias(effect="*".join(names[i] for i in other), coefficient=share)
            for other, share in aliases.items()
        ),
    )


def _describe_aliases(
    aliases: Mapping[Effect, float],
    table: SignTable,
    names: Sequence[str],
    components: Mapping[str, Component],
) -> str:
    """Return the aliases of the lowest order, such as "[+ a x b - c x d]"."""
    if not aliases:
        num_components = len(table.columns)
        is_fraction = num_components > MAX_ORDER and len(set(table.rows)) < 2**num_components
        return "[+ more than three-way]" if is_fraction else ""
    order = min(map(len, aliases))
    lowest = {e: share for e, share in aliases.items() if len(e) == order}
    if len(lowest) > MAX_LABEL_ALIASES or any(abs(share) != 1 for share in lowest.values()):
        part = "" if all(abs(share) == 1 for share in lowest.values()) else "parts of "
        return f"[+ {part}{len(lowest)} {WAYS[order]}]"
    texts = [
        ("+ " if share > 0 else "- ")
        + " x ".join(components[names[i]].short_label or components[names[i]].label for i in e)
        for e, share in lowest.items()
    ]
    return f"[{' '.join(texts)}]"


def list_fold_overs(ablation: Ablation, off_sets: OffSets) -> tuple[FoldOver, ...]:
    """Return the fold-overs that would separate aliased main effects or interactions of two.

    That of all components separates main effects from interactions of two. That of one component
    separates its main effect and its interactions from all others (Box, Hunter and Hunter, 1978).
    An offer keeps the fold-overs that the design has already.
    """
    names = ablation.components
    table = make_sign_table(off_sets, names)
    pairs = list(combinations(range(len(names)), 2))
    num_main = sum(bool(_select_pairs(table.find_aliases((i,), 2))) for i in range(len(names)))
    candidates: list[tuple[str, Sequence[int]]] = [(ALL, range(len(names)))]
    if not num_main:
        candidates = [(n, [i]) for i, n in enumerate(names)]
    offers = []
    for name, columns in candidates:
        rows = [*table.rows, *reverse_levels(table.rows, columns)]
        folded = SignTable(tuple(rows), tuple(pack_columns(rows)))
        if num_main:
            left = sum(bool(_select_pairs(folded.find_aliases((i,), 2))) for i in range(len(names)))
            text = f"{num_main - left} main effects from interactions of two"
            gain = num_main - left
        else:
            before = _count_aliased_pairs(table, pairs)
            gain = before - _count_aliased_pairs(folded, pairs)
            text = f"{gain} of {before} aliased interactions of two (those with {name})"
        if gain:
            num_added = len(set(rows)) - len(set(table.rows))
            fold_over = (*ablation.fold_over, name)
            offers.append(FoldOver(components=fold_over, num_arms=num_added, separates=text))
    return tuple(offers)


def _select_pairs(aliases: Mapping[Effect, float]) -> list[Effect]:
    return [effect for effect in aliases if len(effect) == 2]


def _count_aliased_pairs(table: SignTable, pairs: Sequence[Effect]) -> int:
    """Return how many interactions of two share their contrast with another one."""
    columns = [table.effects[pair] for pair in pairs]
    keys = [min(column, column ^ table.full) for column in columns]
    return sum(keys.count(key) > 1 for key in keys)
