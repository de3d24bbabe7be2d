"""Unknown keys are answered by their meaning, by their spelling, or by whose key it is."""

from __future__ import annotations

import dataclasses

import pytest

from sweeps.config import request, sweep_keys
from sweeps.config.unknown_keys import (
    NOTES,
    SYNONYMS,
    TUNE_KEYS,
    make_unknown_key_error,
    suggest_keys,
)
from sweeps.tuning.tuner import TuneConfig
from tests.sweeps.cli import OVERRIDES
from uniclip.config.keys import collect_sections
from uniclip.config.override_keys import KEY_ALIASES
from uniclip.errors import UserError

LAUNCHER = ("launcher=slurm",)


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("train.lr", "train.learning_rate"),
        ("lr", "train.learning_rate"),
        ("optimizer.lr", "train.learning_rate"),
        ("bs", "train.batch_size"),
        ("train.batch", "train.batch_size"),
        ("epochs", "train.steps"),
        ("train.epochs", "train.steps"),
        ("max_steps", "train.steps"),
        ("wd", "train.weight_decay"),
        ("train.warmup", "train.warmup_ratio"),
        ("accum_freq", "train.grad_cache_chunks"),
        ("max_grad_norm", "train.grad_clip_norm"),
        ("amp", "train.precision"),
        ("torchcompile", "train.numerics"),
        ("grad_checkpointing", "train.activation_checkpointing"),
        ("workers", "runtime.num_workers"),
        ("launcher.workers", "launcher.max_workers"),
        ("device", "runtime.device"),
        ("output_dir", "store"),
        ("bugdet", "budget"),
        ("recipie", "recipe"),
        ("ablatoin", "ablation"),
        ("dataset", "data"),
        ("model_name", "model.image.name"),
        ("resume", "pretrained"),
        ("train.steps_", "train.steps"),
        ("num_steps", "train.steps"),
        ("val_frequency", "train.validate_every"),
        ("model.text.hidden_size", "model.text.width"),
    ],
)
def test_the_nearest_key_is_suggested(word: str, key: str) -> None:
    with pytest.raises(UserError, match=rf"unknown key '{word}': did you mean .*\b{key}\b") as e:
        request.parse_request([*OVERRIDES, f"{word}=1"])
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["data.path=x.csv"], "data.path is a key of data=csv: add data=csv"),
        (["data.num_train=5", "data=csv"], "data.num_train is a key of data=scenes: add"),
        (["launcher.partition=gpu"], "launcher.partition is a key of launcher=slurm: add"),
        (["launcher.max_workers=2", *LAUNCHER], "is a key of launcher=local: add"),
        (["launcher.mem=8", *LAUNCHER], r"did you mean launcher\.mem_gb\?"),
        (
            ["launcher.gpus_per_node=2"],
            "a key of launcher=slurm: .* on this machine write launcher.tasks_per_node=<GPUs of",
        ),
        (["nproc_per_node=2"], r"did you mean launcher\.tasks_per_node\?"),
        (["launcher.gpus=2"], r"did you mean launcher\.gpus_per_node \(of launcher=slurm\)"),
        (["data.pth=x"], r"did you mean data\.path \(of data=csv\)"),
        (["n_trials=3"], "unknown key 'n_trials': it is a key of tune"),
        (["momentum=0.9"], "train.optimizer=sgd train.optimizer_options="),
        (["model.image.drop_path_rate=0.1"], r"write model\.image\.options="),
        (["model.text.hidden_dropout_prob=0"], r"write model\.text\.options="),
        (["mixup=0.2"], "see list keys views"),
        (["opt=sgd"], r"did you mean train\.optimizer\?"),
        (
            ["train.zzzq=1"],
            r"the keys are train\.activation_check.*, train\.weight_perturbation$",
        ),
        (["data.xyzzy=1"], r"the keys are data\.[a-z_]+, (?!.*data\.name)"),
        (["zzz=1"], "the keys are ablation, .*train.*see list keys"),
    ],
)
def test_a_key_of_another_choice_says_which(words: list[str], match: str) -> None:
    words = [w for w in OVERRIDES if w.partition("=")[0] not in {w.partition("=")[0] for w in words}
             or w.startswith("ablation")] + words  # fmt: skip
    with pytest.raises(UserError, match=match):
        request.parse_request(words)


def test_every_key_of_the_table_exists() -> None:
    existing = {*sweep_keys.GROUP_KEYS, "conf_dir", *KEY_ALIASES}
    roots = [*sweep_keys.list_key_roots(), sweep_keys.KeyRoot(cls=TuneConfig)]
    for root in roots:
        existing |= {k.name for s in collect_sections(root.cls, root.prefix) for k in s.keys}
    assert set(SYNONYMS) <= existing
    assert set(TUNE_KEYS) == {field.name for field in dataclasses.fields(TuneConfig)}
    assert not set(NOTES) & {word for words in SYNONYMS.values() for word in words}


def test_words_are_read_as_users_type_them() -> None:
    assert suggest_keys("--learning-rate", ["train.learning_rate"]) == ["train.learning_rate"]
    assert suggest_keys("LR", ["train.learning_rate"]) == ["train.learning_rate"]
    assert suggest_keys("lr", ["train.steps"]) == []
    assert "the keys are train.*;" in str(make_unknown_key_error("q", ["train.steps"]))
