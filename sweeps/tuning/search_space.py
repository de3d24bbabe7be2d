"""Search spaces: the keys that a tuning varies, and their ranges, the same for every arm.

`sweeps/conf/space/<name>.yaml` maps a key of the configuration to {low, high, step, log} or
{choices}, named as in Optuna's distributions; with `when` the key is conditional.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Union

from ablations.plan.plan import ResolvedPlan
from ablations.plan.tuned_arms import override_config
from ablations.schema import read_yaml
from uniclip.config import compose
from uniclip.config.binding import bind
from uniclip.errors import UserError, make_unknown_name_error

FIXED_KEYS = (
    *("data", "seed", "stream", "runtime", "benchmark"),
    *("train.steps", "train.batch_size", "train.validate_every"),
)
"""Keys and sections that all trials share: otherwise their scores could not be compared."""
BOUNDARY_FRACTION = 0.05
"""A value this near to an end of its range, as a fraction of the range, lies at the boundary."""
SIGNIFICANT_DIGITS = 4
"""Values are rounded to so many digits, so that tables show exactly what was run."""

ParamValue = Any
"""A value that a configuration may hold: a number, a string, a truth value, null, or a list."""
BoundarySide = Literal["lower", "upper"]


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """The values of one key: a range, or several choices."""

    low: Union[int, float, None] = None
    high: Union[int, float, None] = None
    log: bool = False
    """Whether the range is sampled uniformly in the logarithm."""
    choices: tuple[ParamValue, ...] | None = None
    step: Union[int, float, None] = None
    """Distance between the values of the range, counted from `low`; None = 1 for integers."""
    when: dict[str, ParamValue] | None = None
    """Key that stands before in the space -> its value, or a list of values, with which this key is
    tuned; with others it keeps its default. None = always."""

    def __post_init__(self) -> None:
        if self.when is not None and not self.when:
            raise UserError("when must name a key of the space")
        if self.choices is not None:
            if self.low is not None or self.high is not None or self.log or self.step is not None:
                raise UserError("give choices, or low and high")
            if len(self.choices) < 2:
                raise UserError(f"choices must be two or more, got {list(self.choices)}")
            for position, choice in enumerate(self.choices):
                if choice in self.choices[:position]:
                    first = self.choices[self.choices.index(choice)]
                    raise UserError(f"choices must differ, got {first!r} and {choice!r} (equal)")
            return
        if self.low is None or self.high is None or self.low >= self.high:
            raise UserError(f"low must be below high, got low={self.low}, high={self.high}")
        if self.log and self.low <= 0:
            raise UserError(f"low must be above 0 where log is true, got {self.low}")
        if self.step is not None:
            self._check_step(self.step)

    def _check_step(self, step: float) -> None:
        low, high = self.bounds
        if step <= 0 or self.log:
            raise UserError(f"step must be above 0 and log false, got step={step}, log={self.log}")
        if not _is_whole((high - low) / step):
            raise UserError(f"high must be low plus a multiple of step, got {low}, {high}, {step}")

    @property
    def bounds(self) -> tuple[float, float]:
        """Both ends of the range; integers if `is_integer`."""
        assert self.low is not None, "a dimension of choices has no bounds"
        assert self.high is not None, "a dimension of choices has no bounds"
        return self.low, self.high

    @property
    def extreme_values(self) -> tuple[ParamValue, ...]:
        """The values that a configuration must accept: ends and step of the range, or choices."""
        if self.choices is not None:
            return self.choices
        low, high = self.bounds
        return (low, high) if self.step is None else (low, low + self.step, high)

    @property
    def is_integer(self) -> bool:
        """Whether the range is one of integers."""
        return all(isinstance(v, int) for v in (self.low, self.high, self.step or 1))

    def contains(self, value: ParamValue) -> bool:
        """Return whether a value lies in the range or is a choice."""
        if self.choices is not None:
            return value in self.choices
        low, high = self.bounds
        if not low <= value <= high:
            return False
        return self.step is None or _is_whole((value - low) / self.step)

    def is_active(self, params: Mapping[str, ParamValue]) -> bool:
        """Return whether the key is tuned together with these values of the keys before it."""
        return all(
            key in params and params[key] in _list_values(values)
            for key, values in (self.when or {}).items()
        )

    def round_value(self, value: float) -> float:
        """Return the value rounded to `SIGNIFICANT_DIGITS`, within the range.

        Integers are returned as given, and multiples of a step without the error of rounding.
        """
        if self.is_integer:
            return value
        low, high = self.bounds
        if self.step is not None:
            return min(max(float(f"{value:.12g}"), low), high)
        return min(max(float(f"{value:.{SIGNIFICANT_DIGITS}g}"), low), high)

    def boundary_side(self, value: ParamValue) -> BoundarySide | None:
        """Return the end of the range at which a value lies; None if it lies inside.

        Numeric choices have ends if there are three or more.
        """
        if self.choices is None:
            low, high, position = (self._scale(v) for v in (*self.bounds, value))
            fraction = (position - low) / (high - low)
            if fraction <= BOUNDARY_FRACTION:
                return "lower"
            return "upper" if fraction >= 1 - BOUNDARY_FRACTION else None
        are_numbers = all(
            isinstance(c, (int, float)) and not isinstance(c, bool) for c in self.choices
        )
        if not are_numbers or len(self.choices) < 3:
            return None
        if value == min(self.choices):
            return "lower"
        return "upper" if value == max(self.choices) else None

    def _scale(self, value: float) -> float:
        return math.log(value) if self.log else float(value)


SearchSpace = dict[str, Dimension]
"""Key of the configuration -> its values."""


def _is_whole(number: float) -> bool:
    return abs(number - round(number)) < 1e-8


def _list_values(values: ParamValue) -> Sequence[ParamValue]:
    """Return the values of a condition, of which there may be one or a list."""
    return values if isinstance(values, (list, tuple)) else [values]


def is_conditional(space: Mapping[str, Dimension]) -> bool:
    """Return whether some key is tuned only together with some values of other keys."""
    return any(dimension.when is not None for dimension in space.values())


def select_default_values(
    space: Mapping[str, Dimension], base_values: Mapping[str, ParamValue]
) -> dict[str, ParamValue] | None:
    """Return the default values of the keys that are tuned together with them.

    Args:
        space: The search space.
        base_values: Key of the configuration -> default value.

    Returns:
        The values, or None if one lies outside of the space.
    """
    values: dict[str, ParamValue] = {}
    for key, dimension in space.items():
        if dimension.is_active(values):
            values[key] = base_values[key]
    return values if all(space[key].contains(v) for key, v in values.items()) else None


def list_search_spaces(conf_dirs: Sequence[Path]) -> list[str]:
    """Return the names of all search spaces."""
    return compose.list_choices("space", conf_dirs)


def load_search_space(name: str, conf_dirs: Sequence[Path]) -> SearchSpace:
    """Read a search space from its YAML file.

    Raises:
        UserError: there is no space of that name, or its file is invalid.
    """
    names = list_search_spaces(conf_dirs)
    if name not in names:
        raise make_unknown_name_error("space", name, names)
    path = next(p for f in conf_dirs if (p := f / "space" / f"{name}.yaml").exists())
    space: SearchSpace = {}
    for key, values in read_yaml(path).items():
        try:
            _require_dimension(key, values)
            space[key] = bind(Dimension, values, f"{key}.")
        except UserError as error:
            message = str(error) if key in str(error) else f"{key}: {error}"
            raise UserError(f"{path}: {message}") from None
        for parent, parent_values in (space[key].when or {}).items():
            if parent not in space or parent == key:
                raise UserError(
                    f"{path}: {key}.when: {parent} must stand before {key} in the space"
                )
            for value in _list_values(parent_values):
                if not space[parent].contains(value):
                    raise UserError(f"{path}: {key}.when: {parent} never has the value {value!r}")
    if not space:
        raise UserError(f"{path} names no key")
    return space


def _require_dimension(key: str, values: object) -> None:
    """Raise `UserError` unless the values of a key have the form of a dimension."""
    names = [field.name for field in fields(Dimension)]
    if not isinstance(values, Mapping):
        raise UserError(
            f"{key} must be a mapping, such as {{low: 0.1, high: 1}} or {{choices: [a, b]}}, got "
            f"{values!r}"
        )
    unknown = [str(name) for name in values if name not in names]
    if unknown and not get_close_matches(unknown[0], names, n=1, cutoff=0.6):
        raise UserError(f"{key} has no {unknown[0]}: choose from {', '.join(names)}")


def resolve_search_space(
    name: str, space: Mapping[str, Dimension], resolved_plan: ResolvedPlan
) -> SearchSpace:
    """Check a space against every arm, and give its numbers the types of the keys.

    Raises:
        UserError: a key does not exist in some arm, is changed by an arm, or must be the same in
            every trial; or the configuration does not accept a value.
    """
    base_values = compose.flatten(resolved_plan.plan.base_config)
    typed_space = {}
    for key, dimension in space.items():
        if any(_is_inside(key, fixed_key) for fixed_key in FIXED_KEYS):
            raise UserError(f"space {name}: {key} cannot be tuned: every trial must share it")
        typed_space[key] = dimension
        if dimension.is_integer and isinstance(base_values.get(key), float):
            low, high = dimension.bounds
            step = None if dimension.step is None else float(dimension.step)
            typed_space[key] = replace(dimension, low=float(low), high=float(high), step=step)
        for arm in resolved_plan.plan.arms:
            if any(_is_inside(k, key) or _is_inside(key, k) for k in arm.config_diff):
                raise UserError(
                    f"space {name}: {key} is changed by arm {arm.name}, so it cannot be tuned "
                    "alike in all arms: leave it out, or choose arms=[...] without that arm"
                )
            for value in typed_space[key].extreme_values:
                values = {**_find_activating_values(typed_space, key), key: value}
                try:
                    override_config(resolved_plan.configs[arm.name], values)
                except UserError as error:
                    raise UserError(f"space {name}: arm {arm.name}: {error}") from None
    return typed_space


def _find_activating_values(space: SearchSpace, key: str) -> dict[str, ParamValue]:
    """Return the first values of other keys with which a key is tuned."""
    values: dict[str, ParamValue] = {}
    for parent, parent_values in (space[key].when or {}).items():
        values |= {**_find_activating_values(space, parent), parent: _list_values(parent_values)[0]}
    return values


def _is_inside(key: str, section: str) -> bool:
    """Return whether a dotted key is `section` or one of its keys."""
    return f"{key}.".startswith(f"{section}.")
