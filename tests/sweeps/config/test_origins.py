"""Where values come from: every layer is named, and what is called a default is one."""

from __future__ import annotations

import pytest

from sweeps.config.origins import find_choice_origins, find_key_origins
from sweeps.config.request import parse_configs, parse_request
from tests.sweeps.cli import OVERRIDES
from uniclip.config.binding import to_builtins
from uniclip.config.compose import flatten, get_default_choices


def test_every_layer_is_named() -> None:
    words = [*OVERRIDES, "train.learning_rate=3e-4", "recipe=published", "model=vit_b32"]
    request = parse_request([*words, "ablation=reconstruction"][1:])
    origins = find_key_origins(request, "no-mp-nce")
    assert origins["train.learning_rate"] == "user"
    assert origins["model.embed_dim"] == "preset (model=vit_b32)"
    assert origins["views.num_strong"] == "preset (method=uniclip)"
    assert origins["train.batch_size"] == "budget (schedule=scenes_smoke)"
    assert origins["method.loss"] == "ablation (arm no-mp-nce)"
    assert "train.precision" not in origins
    choices = {group: origin for group, _, origin in find_choice_origins(request, "no-mp-nce")}
    assert choices == {
        "data": "user", "model": "user", "method": "ablation", "budget": "user", "recipe": "user"
    }  # fmt: skip


def test_arms_that_choose_groups_take_their_presets() -> None:
    request = parse_request(OVERRIDES)
    assert find_key_origins(request, "clip")["method.name"] == "preset (method=clip)"
    assert ("method", "clip", "ablation (arm clip)") in find_choice_origins(request, "clip")
    origins = find_key_origins(request, "clip-same-views")
    assert origins["views.num_strong"] == "preset (method=uniclip)", "the views are kept"
    listed = parse_request(["train.steps=4,5", "data=scenes", "budget=smoke"])
    assert find_key_origins(listed, "steps-5")["train.steps"] == "ablation (arm steps-5)"


@pytest.mark.parametrize("arm", ["full", "clip", "no-awareness"])
@pytest.mark.parametrize("data", ["scenes", "openmoji"])
def test_a_value_without_an_origin_is_the_default_of_its_class(arm: str, data: str) -> None:
    request = parse_request(["ablation=components", f"data={data}"])
    origins = find_key_origins(request, arm)
    values = flatten(to_builtins(request.build_plan().configs[arm]))
    from uniclip.config import DATA, METHODS, RunConfig

    method = next(c for g, c, _ in find_choice_origins(request, arm) if g == "method")
    defaults = flatten(to_builtins(RunConfig(data=DATA[data](), method=METHODS[method]())))
    defaults["benchmark"] = [data]  # conf/config.yaml
    for key, value in values.items():
        if key not in origins:
            assert value == defaults[key], key


def test_the_defaults_are_those_of_a_run_without_words() -> None:
    assert get_default_choices()["data"] == parse_configs([])[1].data.name
