"""Tests of `uniclip.config.override_keys`."""

from __future__ import annotations

from uniclip.config.override_keys import get_key, replace_overrides


def test_a_short_key_is_that_of_the_configuration() -> None:
    assert get_key("protocol=slip2021") == "runtime.protocol"
    assert get_key("train.steps=5") == "train.steps"


def test_words_replace_those_of_their_key_and_the_others_stay() -> None:
    recorded = ["ablation=components", "train.steps=5", "runtime.protocol=slip2021"]
    replaced = replace_overrides(recorded, ["protocol=laion_cb", "train.steps=6"])
    assert replaced == ["ablation=components", "protocol=laion_cb", "train.steps=6"]


def test_another_launcher_replaces_the_settings_of_a_launcher() -> None:
    recorded = ["launcher=slurm", "launcher.partition=gpu", "seeds=3"]
    assert replace_overrides(recorded, ["launcher=local"]) == ["seeds=3", "launcher=local"]
    assert replace_overrides(recorded, ["launcher.partition=cpu"]) == [
        *("launcher=slurm", "seeds=3", "launcher.partition=cpu")
    ]
