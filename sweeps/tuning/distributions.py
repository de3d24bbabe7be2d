"""Search spaces as Optuna's distributions: of its samplers, and of the studies that users see.

Samplers see a choice as its position, since a choice may be a list, which Optuna does not accept.
Studies in a storage hold the choices themselves, lists as JSON.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sweeps.tuning.definition import ParamValues
from sweeps.tuning.search_space import Dimension, ParamValue, SearchSpace

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution, CategoricalChoiceType
    from optuna.trial import Trial


def suggest_params(trial: Trial, space: SearchSpace) -> ParamValues:
    """Let the sampler of a trial suggest the value of every active key."""
    params: ParamValues = {}
    for key, dimension in space.items():
        if not dimension.is_active(params):
            continue
        if dimension.choices is not None:
            positions = tuple(range(len(dimension.choices)))
            params[key] = dimension.choices[trial.suggest_categorical(key, positions)]
            continue
        low, high = dimension.bounds
        if dimension.is_integer:
            params[key] = trial.suggest_int(
                key, int(low), int(high), step=int(dimension.step or 1), log=dimension.log
            )
        else:
            value = trial.suggest_float(key, low, high, step=dimension.step, log=dimension.log)
            params[key] = dimension.round_value(value)
    return params


def build_distributions(
    space: SearchSpace, params: ParamValues, *, readable: bool = False
) -> dict[str, BaseDistribution]:
    """Return the distributions of the keys that a trial has.

    Args:
        space: The search space.
        params: The values of the trial.
        readable: Whether choices are what users see; else they are positions.
    """
    return {key: _build_distribution(space[key], readable) for key in params}


def encode_params(
    space: SearchSpace, params: ParamValues, *, readable: bool = False
) -> ParamValues:
    """Return the values of a trial as its distributions hold them; arguments as above."""
    return {key: _encode_value(space[key], value, readable) for key, value in params.items()}


def _build_distribution(dimension: Dimension, readable: bool) -> BaseDistribution:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if dimension.choices is not None:
        choices = [_encode_value(dimension, choice, readable) for choice in dimension.choices]
        return CategoricalDistribution(tuple(choices))
    low, high = dimension.bounds
    if dimension.is_integer:
        return IntDistribution(
            int(low), int(high), log=dimension.log, step=int(dimension.step or 1)
        )
    return FloatDistribution(low, high, log=dimension.log, step=dimension.step)


def _encode_value(dimension: Dimension, value: ParamValue, readable: bool) -> ParamValue:
    if dimension.choices is None:
        return value
    return _format_choice(value) if readable else dimension.choices.index(value)


def _format_choice(value: ParamValue) -> CategoricalChoiceType:
    is_plain = value is None or isinstance(value, (bool, int, float, str))
    return value if is_plain else json.dumps(value)
