"""Ablations made of lists of values: `train.learning_rate=1e-3,2e-3` has an arm for each value."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from ablations.schema import Ablation, ArmDefinition, ContrastDefinition
from uniclip.config.keys import format_value
from uniclip.errors import UserError

COMPARISON_WORDS = {"<=": "le", ">=": "ge", "==": "eq", "!=": "ne", "<": "lt", ">": "gt"}
"""Comparison of a condition (`data.where`) -> what stands for it in the name of an arm."""
COMPARISON = re.compile("|".join(COMPARISON_WORDS))
MAX_LISTED_ARMS = 64
"""Most combinations of listed values."""


def build_listed_ablation(
    key_values: Mapping[str, Sequence[Any]], group_choices: Mapping[str, Sequence[str]]
) -> Ablation:
    """Return the ablation whose arms are all combinations of listed values.

    The arm of the first values is the reference; every other arm is compared with it.

    Args:
        key_values: Key -> its values.
        group_choices: Group -> its choices.

    Raises:
        UserError: there are too many combinations, or two have one name.
    """
    values = {**group_choices, **key_values}
    num_arms = 1
    for listed in values.values():
        num_arms *= len(listed)
    if num_arms > MAX_LISTED_ARMS:
        raise UserError(
            f"{' x '.join(values)} are {num_arms} arms, at most {MAX_LISTED_ARMS} are run: list "
            "fewer values, or tune the keys"
        )
    arms: dict[str, ArmDefinition] = {}
    for combination in product(*values.values()):
        chosen = dict(zip(values, combination))
        name = "-".join(_format_part(key, value) for key, value in chosen.items())
        if name in arms:
            raise UserError(f"two arms are called {name}: list values that differ in their letters")
        arms[name] = ArmDefinition(
            label=", ".join(f"{key}={format_value(value)}" for key, value in chosen.items()),
            groups={key: str(value) for key, value in chosen.items() if key in group_choices},
            overrides={key: value for key, value in chosen.items() if key in key_values},
        )
    reference, *others = arms
    return Ablation(
        name="-".join(key.rpartition(".")[2] for key in values),
        title=f"What does {' and '.join(values)} change?",
        design="listed",
        reference=reference,
        arms=arms,
        contrasts={
            other: ContrastDefinition(
                label=f"{arms[other].label} vs. {arms[reference].label}",
                plus=other,
                minus=reference,
                primary=True,
            )
            for other in others
        },
    )


def _format_part(key: str, value: Any) -> str:
    """Return the part of an arm's name that states one value, such as learning_rate-0.001."""
    words = COMPARISON.sub(lambda match: f" {COMPARISON_WORDS[match[0]]} ", format_value(value))
    text = re.sub(r"[^\w.+-]+", "-", words).strip("-")
    return f"{key.rpartition('.')[2]}-{text}"
