"""Arguments of Optuna's samplers and pruners: types, checked before any arm is trained."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import make_dataclass
from typing import Any, Union

from uniclip.config.binding import bind
from uniclip.errors import UserError

PLAIN_TYPES: dict[str, type] = {
    "bool": bool, "int": int, "float": float, "str": str, "None": type(None)
}  # fmt: skip
"""Name in an annotation -> type of values that a command line holds."""
TYPE_NAME = re.compile(r"[A-Za-z_][\w.]*")
UNION_NAMES = ("Optional", "Union")
SEED = "seed"


def check_option_types(key: str, cls: type, options: Mapping[str, Any]) -> None:
    """Check the types of arguments against the signature of a class of Optuna.

    Arguments that the class does not have are left to the class.

    Args:
        key: The key of the configuration that holds the arguments.
        cls: The class.
        options: Argument -> value.

    Raises:
        UserError: an argument is the seed, takes an object of Python, or has a value of the wrong
            type.
    """
    if SEED in options:
        raise UserError(
            f"{key}.{SEED}: each round of a tuning has its own seed: write sampler_seed=<number>"
        )
    parameters = inspect.signature(cls).parameters
    hints = {
        name: _find_hint(key, parameters[name], value)
        for name, value in options.items()
        if name in parameters
    }
    bind(
        make_dataclass("Options", hints.items()),
        {name: options[name] for name in hints},
        f"{key}.",
    )


def _find_hint(key: str, parameter: inspect.Parameter, value: object) -> Any:
    """Return the type of an argument, which is one of plain values.

    Raises:
        UserError: it takes functions or objects.
    """
    annotation = inspect.formatannotation(parameter.annotation)
    names = [name.rpartition(".")[2] for name in TYPE_NAME.findall(annotation)]
    types = [PLAIN_TYPES.get(name) for name in names if name not in UNION_NAMES]
    if value is None and None in types and parameter.default is None:
        return type(None)
    if not types or None in types:
        raise UserError(
            f"{key}.{parameter.name} takes an object of Python, which a command line cannot hold: "
            "leave it out"
        )
    return Union[tuple(types)]
