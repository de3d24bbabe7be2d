"""The methods that a configuration can name; a new built-in one is a new file and a line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from uniclip.config import RunConfig, ViewsConfig
from uniclip.errors import make_unknown_name_error
from uniclip.methods.base import Method
from uniclip.methods.clip import Clip
from uniclip.methods.declip import Declip
from uniclip.methods.siglip import Siglip
from uniclip.methods.slip import Slip
from uniclip.methods.unicl import Unicl
from uniclip.methods.uniclip import Uniclip

# Any: each method takes its own class of configuration.
METHODS: dict[str, Callable[[Any, ViewsConfig], Method]] = {
    "uniclip": Uniclip,
    "unicl": Unicl,
    "clip": Clip,
    "siglip": Siglip,
    "slip": Slip,
    "declip": Declip,
}
"""By the value of `method.name`."""


def build_method(config: RunConfig) -> Method:
    """Return the method that `config.method.name` selects, without the heads of `build_heads`.

    Raises:
        UserError: there is no method of that name.
    """
    custom_method = config.method.build(config)
    if custom_method is not None:
        return custom_method
    if config.method.name not in METHODS:
        raise make_unknown_name_error("method", config.method.name, METHODS)
    return METHODS[config.method.name](config.method, config.views)
