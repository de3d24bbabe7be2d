"""The methods that a configuration can name; a new one is a new file and a line in `METHODS`."""

from __future__ import annotations

from collections.abc import Callable

from uniclip.config import RunConfig
from uniclip.errors import make_unknown_name_error
from uniclip.methods.base import Method
from uniclip.methods.clip import Clip
from uniclip.methods.declip import Declip
from uniclip.methods.slip import Slip
from uniclip.methods.unicl import Unicl
from uniclip.methods.uniclip import Uniclip

METHODS: dict[str, Callable[[RunConfig], Method]] = {
    "uniclip": Uniclip,
    "unicl": Unicl,
    "clip": Clip,
    "slip": Slip,
    "declip": Declip,
}


def build_method(config: RunConfig) -> Method:
    """The method that `config.method.name` names, still to be attached to an embedder.

    Raises:
        UserError: if there is none of that name.
    """
    if hasattr(config.method, "build"):  # a method in one file brings its own
        custom_method: Method = config.method.build(config)
        return custom_method
    if config.method.name not in METHODS:
        raise make_unknown_name_error("method", config.method.name, METHODS)
    return METHODS[config.method.name](config)
