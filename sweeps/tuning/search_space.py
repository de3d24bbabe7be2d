"""A search space: the keys that tuning varies and how far, the same for every arm.

`sweeps/conf/space/<name>.yaml` maps a key of the configuration to {low, high, log} or {choices}.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Union

from ablations import schema
from ablations.plan.plan import ResolvedPlan
from ablations.plan.tuned_arms import override_config
from uniclip.config import compose
from uniclip.config.binding import bind
from uniclip.errors import UserError, make_unknown_name_error

FIXED_KEYS = (
    *("data", "seed", "stream", "runtime", "benchmark"),
    *("train.steps", "train.batch_size", "train.validate_every"),
)
"""What every trial shares, or the scores of two trials could not be compared."""
BOUNDARY_FRACTION = 0.05
"""So near to an end of its range, in shares of the range, a value lies on the edge."""
SIGNIFICANT_DIGITS = 4
"""To so many digits values are rounded: what a table shows is what was run."""


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """What one key may be: a range, or one of several choices."""

    low: Union[int, float, None] = None
    high: Union[int, float, None] = None
    log: bool = False
    """Whether the range is even in the logarithm."""
    choices: tuple[Any, ...] | None = None

    def __post_init__(self) -> None:
        if self.choices is not None:
            if self.low is not None or self.high is not None or self.log:
                raise UserError("give choices, or low and high")
            if len(self.choices) < 2:
                raise UserError(f"choices must be two or more, got {list(self.choices)}")
            return
        if self.low is None or self.high is None or self.low >= self.high:
            raise UserError(f"low must be below high, got low={self.low}, high={self.high}")
        if self.log and self.low <= 0:
            raise UserError(f"low must be above 0 where log is true, got {self.low}")

    @property
    def bounds(self) -> tuple[Any, ...]:
        """The values that a configuration must be able to take: both ends, or every choice."""
        return (self.low, self.high) if self.choices is None else self.choices

    @property
    def is_integer(self) -> bool:
        """Whether the range is of whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def contains(self, value: Any) -> bool:
        """Whether `value` lies in it."""
        if self.choices is not None:
            return value in self.choices
        assert self.low is not None
        assert self.high is not None
        return bool(self.low <= value <= self.high)

    def round_value(self, value: float) -> float:
        """`value` to a few digits, still within the range."""
        assert self.low is not None
        assert self.high is not None
        return (
            value
            if self.is_integer
            else min(max(float(f"{value:.{SIGNIFICANT_DIGITS}g}"), self.low), self.high)
        )

    def boundary_side(self, value: Any) -> Literal["lower", "upper"] | None:
        """The end of the range, or of three ordered choices or more, on which `value` lies."""
        if self.choices is None:
            low, high, scaled_value = (self._scale(v) for v in (self.low, self.high, value))
            fraction = (scaled_value - low) / (high - low)
            return (
                "lower"
                if fraction <= BOUNDARY_FRACTION
                else "upper"
                if fraction >= 1 - BOUNDARY_FRACTION
                else None
            )
        is_ordered = all(
            isinstance(c, (int, float)) and not isinstance(c, bool) for c in self.choices
        )
        if not is_ordered or len(self.choices) < 3:
            return None
        boundary_choices: dict[Any, Literal["lower", "upper"]]
        boundary_choices = {min(self.choices): "lower", max(self.choices): "upper"}
        return boundary_choices.get(value)

    def _scale(self, value: Any) -> float:
        return math.log(value) if self.log else float(value)


SearchSpace = dict[str, Dimension]
"""Key of the configuration -> what it may be."""


def list_search_spaces(conf_dirs: Sequence[Path]) -> list[str]:
    """Every search space there is."""
    return compose.list_choices("space", conf_dirs)


def load_search_space(name: str, conf_dirs: Sequence[Path]) -> SearchSpace:
    """The search space of that name; `UserError` if there is none or its file is wrong."""
    available_names = list_search_spaces(conf_dirs)
    if name not in available_names:
        raise make_unknown_name_error("space", name, available_names)
    path = next(p for f in conf_dirs if (p := f / "space" / f"{name}.yaml").exists())
    space = {}
    for key, values in schema.read_yaml(path).items():
        try:
            space[key] = bind(Dimension, values, f"{key}.")
        except UserError as error:
            message = str(error)
            raise UserError(
                f"{path}: {message if key in message else f'{key}: {message}'}"
            ) from None
    if not space:
        raise UserError(f"{path} names no key")
    return space


def resolve_search_space(
    name: str, space: Mapping[str, Dimension], resolved_plan: ResolvedPlan
) -> SearchSpace:
    """The space with numbers of the type that the keys have.

    Raises `UserError` for a key that does not exist in some arm, that an arm changes or every trial
    must share, and for a value that the configuration refuses.
    """
    typed_space = {}
    base = compose.flatten(resolved_plan.plan.base_config)
    for key, dimension in space.items():
        if any(key == f or key.startswith(f"{f}.") for f in FIXED_KEYS):
            raise UserError(f"space {name}: {key} cannot be tuned: every trial must share it")
        typed_space[key] = dimension
        if isinstance(base.get(key), float) and dimension.is_integer:
            low, high = dimension.bounds
            typed_space[key] = replace(dimension, low=float(low), high=float(high))
        for arm in resolved_plan.plan.arms:
            if any(
                f"{d}.".startswith(f"{key}.") or key.startswith(f"{d}.") for d in arm.config_diff
            ):
                raise UserError(
                    f"space {name}: {key} is changed by arm {arm.name}, so it cannot be tuned "
                    "alike in all arms: leave it out, or choose arms=[...] without that arm"
                )
            for value in typed_space[key].bounds:
                try:
                    override_config(resolved_plan.configs[arm.name], {key: value})
                except UserError as error:
                    raise UserError(f"space {name}: arm {arm.name}: {error}") from None
    return typed_space
