"""Fractional factorial and Plackett-Burman designs: many components in few arms.

A fractional design takes the combinations of some components, its factors, and gives every other
component the level that is the product of several factors (on = 1, off = -1). Its resolution is the
fewest components in a product that is constant over the design: with resolution 3 main effects are
aliased with interactions of two components; with 4, with those of three; with 5, interactions of
two with those of three. The generators are those of Box, Hunter and Hunter, "Statistics for
Experimenters" (1978, p. 410), as in the NIST/SEMATECH e-Handbook of Statistical Methods, 5.3.3.4.7;
with 32 arms and 9 to 15 components they are products of three or five factors. Plackett and Burman,
"The design of optimum multifactorial experiments" (Biometrika, 1946), give designs of 12, 20 and 24
arms for up to 23 components, in which a main effect contains a part of many interactions.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product
from math import prod

from ablations.designs.differences import OffSets
from ablations.designs.rules import refuse_rules
from ablations.schema import Ablation
from uniclip.errors import UserError

LETTERS = "ABCDEFGHJKLMNOP"
"""Letters of components in generators; without I, which stands for the mean."""
GENERATORS: dict[tuple[int, int], str] = {
    (3, 4): "C=AB",
    (4, 8): "D=ABC",
    (5, 8): "D=AB E=AC",
    (5, 16): "E=ABCD",
    (6, 8): "D=AB E=AC F=BC",
    (6, 16): "E=ABC F=BCD",
    (6, 32): "F=ABCDE",
    (7, 8): "D=AB E=AC F=BC G=ABC",
    (7, 16): "E=ABC F=BCD G=ACD",
    (7, 64): "G=ABCDEF",
    (8, 16): "E=BCD F=ACD G=ABC H=ABD",
    (8, 64): "G=ABCD H=ABEF",
    (9, 16): "E=ABC F=BCD G=ACD H=ABD J=ABCD",
    (9, 128): "H=ACDFG J=BCEFG",
    (10, 16): "E=ABC F=BCD G=ACD H=ABD J=ABCD K=AB",
    (10, 128): "H=ABCG J=BCDE K=ACDF",
    (11, 16): "E=ABC F=BCD G=ACD H=ABD J=ABCD K=AB L=AC",
    (11, 128): "H=ABCG J=BCDE K=ACDF L=ABCDEFG",
    (12, 16): "E=ABC F=ABD G=ACD H=BCD J=ABCD K=AB L=AC M=AD",
    (13, 16): "E=ABC F=ABD G=ACD H=BCD J=ABCD K=AB L=AC M=AD N=BC",
    (14, 16): "E=ABC F=ABD G=ACD H=BCD J=ABCD K=AB L=AC M=AD N=BC O=BD",
    (15, 16): "E=ABC F=ABD G=ACD H=BCD J=ABCD K=AB L=AC M=AD N=BC O=BD P=CD",
}
"""(components, arms) -> the product of factors that each further component equals."""
ODD_PRODUCTS = (
    *("ABC", "ABD", "ABE", "ACD", "ACE", "ADE", "BCD", "BCE", "BDE", "CDE"),
    "ABCDE",
)
"""Products of three or five of five factors: any of them as generators give resolution 4."""
ARMS_BY_RESOLUTION: dict[int, dict[int, int]] = {
    3: {**dict.fromkeys(range(5, 8), 8), 3: 4, 4: 8, **dict.fromkeys(range(8, 16), 16)},
    4: {4: 8, **dict.fromkeys(range(5, 9), 16), **dict.fromkeys(range(9, 16), 32)},
    5: {5: 16, 6: 32, 7: 64, 8: 64, **dict.fromkeys(range(9, 12), 128)},
}
"""Resolution -> components -> fewest arms of a table above with at least this resolution."""
FIRST_ROWS = {
    12: "++-+++---+-",
    20: "++--++++-+-+----++-",
    24: "+++++-+-++--++--+-+----",
}
"""Arms -> first row of the design of Plackett and Burman; the others are its cyclic shifts."""
ALL = "all"
"""Fold-over that reverses the levels of every component."""

Levels = tuple[bool, ...]
"""Whether each component is on, in the order of the ablation."""


def list_fractional(ablation: Ablation) -> OffSets:
    """Return the arms of a fractional factorial, the one with all components first.

    Raises:
        UserError: no design of this resolution is known, or rules forbid some of its arms.
    """
    refuse_rules(ablation)
    num_components, arms_by_number = (
        len(ablation.components),
        ARMS_BY_RESOLUTION.get(ablation.resolution, {}),
    )
    if num_components not in arms_by_number:
        known = ", ".join(
            f"resolution {r} for {min(numbers)} to {max(numbers)} components"
            for r, numbers in ARMS_BY_RESOLUTION.items()
        )
        raise UserError(
            f"ablation {ablation.name}: no fractional design of resolution {ablation.resolution} "
            f"for {num_components} components; there are those of {known}"
        )
    rows = build_fraction(num_components, arms_by_number[num_components])
    return _to_off_sets(fold(rows, ablation), ablation.components)


def list_plackett_burman(ablation: Ablation) -> OffSets:
    """Return the arms of a Plackett-Burman design, the one with all components first.

    Raises:
        UserError: there are too many components, or rules forbid some of its arms.
    """
    refuse_rules(ablation)
    names = ablation.components
    num_arms = next((n for n in FIRST_ROWS if n > len(names)), None)
    if num_arms is None:
        raise UserError(
            f"ablation {ablation.name}: {len(names)} components, at most {max(FIRST_ROWS) - 1} "
            "have a Plackett-Burman design"
        )
    return _to_off_sets(fold(build_plackett_burman(len(names), num_arms), ablation), names)


def build_fraction(num_components: int, num_arms: int) -> list[Levels]:
    """Return the rows of a two-level fractional factorial.

    Raises:
        KeyError: there is none of this size.
    """
    num_factors = num_arms.bit_length() - 1
    if (num_components, num_arms) in GENERATORS:
        words = [g.partition("=")[2] for g in GENERATORS[num_components, num_arms].split()]
    elif num_arms == 2 ** len("ABCDE") and num_components <= num_factors + len(ODD_PRODUCTS):
        words = list(ODD_PRODUCTS[: num_components - num_factors])
    else:
        raise KeyError((num_components, num_arms))
    rows = []
    for factors in product((1, -1), repeat=num_factors):
        generated = (prod(factors[LETTERS.index(letter)] for letter in word) for word in words)
        rows.append(tuple(level == 1 for level in (*factors, *generated)))
    return rows


def build_plackett_burman(num_components: int, num_arms: int) -> list[Levels]:
    """Return the rows of a Plackett-Burman design; the first has every component on.

    With four components two rows are one arm. Effects count it twice: without the second row the
    columns would be neither balanced nor orthogonal.

    In the paper the last row has every factor at its low level; here on and off change places, so
    that the full model is an arm.
    """
    first_row = [sign == "-" for sign in FIRST_ROWS[num_arms]]
    size = len(first_row)
    shifts = (tuple(first_row[(j - i) % size] for j in range(num_components)) for i in range(size))
    return [(True,) * num_components, *shifts]


def fold(rows: Sequence[Levels], ablation: Ablation) -> list[Levels]:
    """Return the rows, followed by the fold-overs that the ablation asks for; rows may repeat.

    Raises:
        UserError: a fold-over names no component.
    """
    folded = list(rows)
    for name in ablation.fold_over:
        if name != ALL and name not in ablation.components:
            raise UserError(
                f"ablation {ablation.name}: fold_over: {name} is neither {ALL} nor one of "
                f"{', '.join(ablation.components)}"
            )
        folded += reverse_levels(
            folded, [i for i, n in enumerate(ablation.components) if name in (ALL, n)]
        )
    return folded


def reverse_levels(rows: Sequence[Levels], columns: Sequence[int]) -> list[Levels]:
    """Return the rows with the levels of some columns reversed."""
    return [tuple(on != (i in columns) for i, on in enumerate(row)) for row in rows]


def compute_resolution(rows: Sequence[Levels]) -> int:
    """Return the fewest components whose product is constant over the rows; 0 if there are none."""
    columns = pack_columns(rows)
    full = (1 << len(rows)) - 1
    for size in range(1, len(columns) + 1):
        for subset in combinations(columns, size):
            if multiply_columns(subset, full) in (0, full):
                return size
    return 0


def pack_columns(rows: Sequence[Levels]) -> list[int]:
    """Return a number for each component: bit i is set where it is on in row i."""
    return [sum(1 << i for i, row in enumerate(rows) if row[j]) for j in range(len(rows[0]))]


def multiply_columns(columns: Sequence[int], full: int) -> int:
    """Return the product of columns of levels 1 (bit set) and -1; `full` has every bit set."""
    result = full
    for column in columns:
        result ^= column ^ full
    return result


def _to_off_sets(rows: Sequence[Levels], names: Sequence[str]) -> OffSets:
    off_sets = [tuple(n for n, on in zip(names, row) if not on) for row in rows]
    return sorted(off_sets, key=lambda off: (bool(off), 0))
