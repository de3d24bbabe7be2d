"""The keys of a sweep: which hold text or paths, and with which choice they exist."""

from __future__ import annotations

from sweeps.config import sweep_keys


def test_text_keys_of_every_section_are_known() -> None:
    forms = sweep_keys.collect_value_forms()
    text_keys = ("store", "data.path", "launcher.account", "ablation", "conf_dir", "data_root")
    assert all("text" in forms[key] for key in text_keys)
    assert forms["arms"] == {"texts"}
    assert forms["launcher.setup"] == {"texts", "shell"}
    assert forms["train.steps"] == frozenset()
    assert forms["seeds"] == {"list"}
    assert forms["plugins"] == forms["runtime.plugins"] == {"text", "texts"}


def test_paths_are_known_by_their_declaration() -> None:
    paths = {"conf_dir", "store", "data.path", "pretrained", "data_root", "runtime.data_root"}
    assert paths <= sweep_keys.list_path_keys()
    assert not {"data.caption_column", "launcher.account"} & sweep_keys.list_path_keys()


def test_keys_of_other_choices_name_the_choice() -> None:
    choices = {"data": "openmoji", "launcher": "local", "method": "clip"}
    by_key = sweep_keys.map_keys_to_choices(choices)
    assert by_key["data.path"] == "data=csv"
    assert by_key["launcher.partition"] == "launcher=slurm"
    assert by_key["method.fusion"] == "method=uniclip"
    assert not {"data.image_size", "method.temperature", "train.steps"} & by_key.keys()


def test_only_keys_that_leave_the_runs_as_they_are_are_run_only() -> None:
    run_only = ("seeds", "store", "launcher", "launcher.account", "runtime.device", "data_root",
                "benchmark", "data.path", "pretrained")  # fmt: skip
    assert all(map(sweep_keys.is_run_only, run_only))
    others = ("arms", "budget", "data", "data.caption_column", "train.steps", "method", "conf_dir")
    assert not any(map(sweep_keys.is_run_only, others))
