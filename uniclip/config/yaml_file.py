"""The configuration of a run as YAML: printed by `--cfg job`, and in `config.yaml` of each run."""

from __future__ import annotations

from typing import Any

import yaml

from uniclip.config.binding import to_builtins
from uniclip.config.schema import RunConfig


def format_config(config: RunConfig, comment: str) -> str:
    """Return a configuration as YAML with every key, which Hydra and `run_config` read back.

    Args:
        config: The configuration.
        comment: What stands above it, one line.
    """
    return f"# {comment}\n{format_yaml(to_builtins(config))}"


def format_yaml(values: Any) -> str:
    """Return plain values as YAML that OmegaConf reads back."""
    text: str = yaml.safe_dump(
        _escape(values), sort_keys=False, allow_unicode=True, default_flow_style=False
    )
    return text


def _escape(value: Any) -> Any:
    """Return values whose texts OmegaConf reads as they are: `${` begins an interpolation."""
    if isinstance(value, dict):
        return {key: _escape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escape(item) for item in value]
    return value.replace("${", "\\${") if isinstance(value, str) else value
