"""Configurations as YAML are read back as they were."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from sweeps.config.request import parse_configs
from uniclip.config import build_run_config
from uniclip.config.binding import to_builtins
from uniclip.config.yaml_file import format_config, format_yaml


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["method=clip", "train.adam_eps=1e-12", "seeds=3"],
        ["model=vit_b32", "data=scenes", "data.redraw_prob.hue=0.1"],
        ["recipe=published", "method=slip", "runtime.pretraining_data=a: b #c"],
        ["runtime.pretraining_data='${oc.env:HOME} é'"],
    ],
)
def test_a_configuration_is_read_back(words: list[str]) -> None:
    config = parse_configs(words)[1]
    text = format_config(config, "a comment")
    assert text.startswith("# a comment\ndata:\n  name: ")
    values: Any = OmegaConf.to_container(OmegaConf.create(text), resolve=True)
    assert build_run_config(values) == config


def test_texts_with_interpolations_stay_texts() -> None:
    values = {"a": ["${b}", {"c": "$d"}], "e": 1e-5, "f": None}
    read = OmegaConf.to_container(OmegaConf.create(format_yaml(values)), resolve=True)
    assert read == values == to_builtins(values)
