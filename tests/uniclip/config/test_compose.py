"""Composition: groups, the grammar of values, and errors that do not speak of the machinery."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.helpers.refusals import refused
from uniclip.config import METHODS, ViewsConfig, build_run_config, compose
from uniclip.config.methods import ImageTextMethod

FOLDERS = [compose.CONF]


# ---- groups --------------------------------------------------------------------------------------


def test_groups_and_options_are_what_the_folder_holds() -> None:
    assert {"data", "model", "method", "budget"} <= set(compose.list_groups(FOLDERS))
    sources = {"openmoji", "scenes", "csv", "mix", "webdataset", "huggingface"}
    assert sources == set(compose.list_choices("data", FOLDERS))
    assert compose.list_choices("no-such-group", FOLDERS) == []


@pytest.mark.parametrize("data", ["openmoji", "scenes", "csv", "webdataset", "huggingface"])
@pytest.mark.parametrize("budget", ["smoke", "quick", "study"])
@pytest.mark.parametrize("method", ["uniclip", "clip"])
def test_every_choice_makes_a_run(data: str, budget: str, method: str) -> None:
    choices = {"data": data, "budget": budget, "method": method}
    values = compose.compose("config", choices, FOLDERS)
    seeds = values.pop("seeds")
    config = build_run_config(values)
    assert seeds == {"smoke": 2, "quick": 5, "study": 5}[budget]
    assert (config.data.name, config.method.name) == (data, method)
    assert config.benchmark == (data,)


def test_every_pair_of_data_and_budget_has_a_schedule_of_its_own() -> None:
    schedules = set(compose.list_choices("schedule", FOLDERS))
    for data in compose.list_choices("data", FOLDERS):
        for budget in compose.list_choices("budget", FOLDERS):
            assert f"{data}_{budget}" in schedules


def test_a_longer_budget_takes_more_steps() -> None:
    for data in compose.list_choices("data", FOLDERS):
        steps = [
            compose.compose("config", {"data": data, "budget": b}, FOLDERS)["train"]["steps"]
            for b in ("smoke", "quick", "study")
        ]
        assert steps == sorted(steps)


def test_compositions_do_not_leak_into_one_another() -> None:
    first = compose.compose("config", {"data": "scenes"}, FOLDERS)
    compose.set_key(first, "benchmark", ["mine"])
    assert compose.compose("config", {"data": "scenes"}, FOLDERS)["benchmark"] == ["scenes"]
    assert compose.compose("config", {"data": "openmoji"}, FOLDERS)["benchmark"] == ["openmoji"]


@pytest.mark.parametrize(
    ("choices", "match"),
    [
        ({"data": "openmojis"}, r"unknown data 'openmojis': did you mean openmoji\?"),
        ({"budget": "quik"}, r"unknown budget 'quik': did you mean quick\?"),
        ({"method": "zzz"}, r"unknown method 'zzz': choose from clip, .*uniclip"),
        ({"data": "../budget/quick"}, r"unknown data"),
        ({"model": ""}, r"unknown model ''"),
    ],
)
def test_an_unknown_choice_is_answered_with_the_nearest(
    choices: dict[str, str], match: str
) -> None:
    refused(match, compose.compose, "config", choices, FOLDERS)


def test_the_choice_of_each_group_where_nobody_chooses_is_the_one_that_is_composed() -> None:
    composed = compose.compose("config", {}, FOLDERS)
    assert compose.compose("config", compose.get_default_choices(), FOLDERS) == composed
    assert set(compose.get_default_choices()) == {"data", "model", "method", "budget", "recipe"}


@dataclass(frozen=True, kw_only=True)
class Bare(ImageTextMethod):
    """A method that no YAML names."""

    name: Literal["bare"] = "bare"
    share: float = 0.5


def test_a_registered_method_needs_no_preset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused("unknown method 'bare'", compose.compose, "config", {"method": "bare"}, FOLDERS)
    monkeypatch.setitem(METHODS, "bare", Bare)
    assert "bare" in compose.list_choices("method", FOLDERS)
    choices = {"method": "bare", "recipe": "published", "data": "scenes"}
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "bare.yaml").write_text(
        "# @package _global_\nmethod: {name: bare, share: 0.25}\n"
    )
    preset = compose.compose("config", choices, [*FOLDERS, tmp_path])
    assert preset["method"] == {"name": "bare", "share": 0.25}
    (tmp_path / "recipe" / "method").mkdir(parents=True)
    (tmp_path / "recipe" / "method" / "published_bare.yaml").write_text(
        "# @package _global_\ntrain: {weight_decay: 0.7}\n"
    )
    stated = compose.compose("config", choices, [*FOLDERS, tmp_path])
    assert stated["train"]["weight_decay"] == 0.7
    (tmp_path / "method" / "bare.yaml").unlink()
    values = compose.compose("config", choices, [*FOLDERS, tmp_path])
    values.pop("seeds")
    config = build_run_config(values)
    assert (config.method, config.views) == (Bare(), ViewsConfig())
    assert config.train.weight_decay == 0.7


# ---- a user's own folder -------------------------------------------------------------------------


def test_a_users_folder_adds_choices(tmp_path: Path) -> None:
    own = tmp_path / "my conf"
    (own / "model").mkdir(parents=True)
    (own / "model" / "wide.yaml").write_text("embed_dim: 256\n")
    folders = [*FOLDERS, own]
    assert {"tiny", "wide"} <= set(compose.list_choices("model", folders))
    values = compose.compose("config", {"model": "wide"}, folders)
    assert values["model"]["embed_dim"] == 256
    assert compose.compose("config", {"model": "tiny"}, folders)["model"]["embed_dim"] == 128


@pytest.mark.parametrize("text", ["a: [1\n", "a: b: c\n", "\tx: 1\n", "a: ${nowhere}\n"])
def test_a_broken_file_of_hers_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text(text)
    refused(".", compose.compose, "config", {"model": "mine"}, [*FOLDERS, tmp_path])


# ---- putting values in place ---------------------------------------------------------------------


@pytest.fixture
def values() -> dict[str, Any]:
    return compose.compose("config", {}, FOLDERS) | {"train": {"steps": 3, "batch_size": 8}}


def test_put_sets_a_leaf_and_nothing_else(values: dict[str, Any]) -> None:
    before = compose.flatten(values)
    compose.set_key(values, "train.steps", 5)
    after = compose.flatten(values)
    assert after.pop("train.steps") == 5
    assert before.pop("train.steps") == 3
    assert before == after


@pytest.mark.parametrize(
    ("key", "match"),
    [
        ("train.step", r"unknown key 'train\.step': did you mean train\.steps"),
        ("steps", r"unknown key 'steps': did you mean train\.steps"),
        ("trian.steps", r"did you mean train\.steps"),
        ("train.steps.more", r"unknown key 'train\.steps\.more'"),
        ("zzz", r"unknown key 'zzz': the keys are .*train"),
        ("hydra.run.dir", r"unknown key 'hydra\.run\.dir'"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest(
    values: dict[str, Any], key: str, match: str
) -> None:
    before = compose.flatten(values)
    refused(match, compose.set_key, values, key, 1)
    assert compose.flatten(values) == before


@pytest.mark.parametrize("value", [3, "x", None, {"steps": 5}])
def test_a_section_is_not_overwritten(values: dict[str, Any], value: Any) -> None:
    """Putting {steps: 5} in its place would silently forget the rest of the preset."""
    refused(
        r"train is a section, set its keys: .*train\.steps", compose.set_key, values, "train", value
    )
    assert values["train"] == {"steps": 3, "batch_size": 8}


def test_options_of_an_encoder_are_free(values: dict[str, Any]) -> None:
    compose.set_key(values, "model.image.options.drop_path_rate", 0.1)
    assert values["model"]["image"]["options"]["drop_path_rate"] == 0.1
    compose.set_key(values, "model.image.options", {"depths": [1]})
    assert values["model"]["image"]["options"] == {"depths": [1]}


def test_a_mapping_that_starts_empty_is_no_section(values: dict[str, Any]) -> None:
    values["train"]["of_a_plugin"] = {}
    compose.set_key(values, "train.of_a_plugin", {"a": 1})
    assert values["train"]["of_a_plugin"] == {"a": 1}


def test_flat_names_every_leaf() -> None:
    assert compose.flatten({"a": {"b": 1, "c": {"d": [2]}}, "e": {}}) == {
        "a.b": 1,
        "a.c.d": [2],
        "e": {},
    }


def test_a_changed_file_is_composed_again_and_a_damaged_memory_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNICLIP_CACHE", str(tmp_path / "cache"))
    own = tmp_path / "conf" / "budget"
    own.mkdir(parents=True)
    folders = [*FOLDERS, own.parent]
    for seeds in (7, 8):
        (own / "mine.yaml").write_text(f"# @package _global_\nseeds: {seeds}\n")
        choices = {"budget": "mine"}
        for _ in range(2):
            assert compose.compose("config", choices, folders)["seeds"] == seeds
        for kept in (tmp_path / "cache").rglob("*.json"):
            kept.write_text("{torn")
        assert compose.compose("config", choices, folders)["seeds"] == seeds
