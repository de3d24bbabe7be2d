"""`list keys`: defaults of the choices, search by word and meaning."""

from __future__ import annotations

import pytest

from sweeps.cli import key_list
from sweeps.config.request import parse_configs
from uniclip.config import DATA
from uniclip.errors import UserError


def find_names(prefix: str, *words: str) -> list[str]:
    return [listed.key.name for listed in key_list.find_keys(prefix, list(words))]


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("train.learning_rate", {"train.learning_rate"}),
        ("train.", {"train.steps", "train.batch_size", "train.adam_betas"}),
        ("train", {"train.steps"}),
        ("data", {"data.path", "data.image_size"}),
        ("launcher.p", {"launcher.partition", "launcher.python", "launcher.poll_seconds"}),
        ("lr", {"train.learning_rate", "train.min_lr"}),
        ("train.lr", {"train.learning_rate", "train.lr_base_batch_size"}),
        ("workers", {"runtime.num_workers", "launcher.max_workers"}),
        ("protocol", {"runtime.protocol"}),
        ("temperature", {"method.temperature"}),
        ("reservation", {"launcher.additional_parameters"}),
        ("n_trials", {"n_trials"}),
        ("budget", {"budget"}),
    ],
)
def test_keys_are_found_by_their_start_by_a_word_or_by_meaning(
    prefix: str, expected: set[str]
) -> None:
    assert expected <= set(find_names(prefix))


def test_an_unknown_word_is_answered() -> None:
    with pytest.raises(UserError, match="unknown key 'tarin': did you mean train"):
        find_names("tarin.stpes"[:5])
    with pytest.raises(UserError, match="list keys takes choices such as data=csv"):
        find_names("train", "train.steps=3")


def test_defaults_are_those_of_the_choices() -> None:
    def get_default(key: str, *words: str) -> str:
        (listed,) = [k for k in key_list.find_keys(key, list(words)) if k.key.name == key]
        return listed.key.default

    for words in ([], ["budget=smoke", "data=scenes"], ["method=clip"]):
        _, config = parse_configs(words)
        assert get_default("train.steps", *words) == str(config.train.steps)
        assert get_default("seeds", *words) == str(parse_configs(words)[0].seeds)
    assert get_default("store") == "store"
    assert get_default("launcher.max_workers") == "null"


def test_every_key_is_listed_once_with_a_meaning() -> None:
    names = find_names("")
    assert len(names) == len(set(names)) > 100
    for listed in key_list.find_keys("", []):
        lines = list(listed.format_lines())
        assert len(lines) == 2
        assert lines[1].strip(), listed.key.name
    by_name = {listed.key.name: listed for listed in key_list.find_keys("", [])}
    assert by_name["data.path"].choices == ("data=csv", "data=webdataset", "data=huggingface")
    assert set(by_name["data.image_size"].choices) == {f"data={name}" for name in DATA}
    assert {"data", "method", "model", "launcher"} <= set(names)
    assert by_name["method.ssl_mlp_dim"].choices == ("method=slip", "method=declip")
    first_line = next(iter(by_name["train.learning_rate"].format_lines()))
    assert first_line.startswith("train.learning_rate=")
    assert "number; > 0" in first_line
