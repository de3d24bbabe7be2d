"""Command lines of a review: the id of the sweep, or the words that made it with changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from analysis.review.commands import (
    TUNE_KEYS,
    build_command_line,
    format_command_lines,
    list_store_words,
)
from analysis.review.finding import CommandWords, Finding, Remedy
from sweeps.tuning.tuner import TuneConfig
from tests.helpers import fake_sweep, fake_tuned_sweep
from tests.helpers.fake_sweep import Truth
from uniclip.store import Store
from uniclip.store.sweep_records import IMPORTED

PLAN = replace(
    fake_sweep.plan(Truth()), overrides=("ablation=components", "train.steps=200", "n_trials=3")
)


def test_what_extends_a_sweep_takes_its_id() -> None:
    words = CommandWords(changes=("seeds=[0,1]",))
    assert build_command_line(words, PLAN) == ["run", PLAN.sweep_id, "seeds=[0,1]"]
    tuned = replace(fake_tuned_sweep.build_tuned_plan(PLAN), sweep_id="tuned-1")
    assert build_command_line(words, tuned)[:2] == ["tune", "tuned-1"]
    assert build_command_line(CommandWords(command="report"), PLAN) == ["report", PLAN.sweep_id]


def test_another_sweep_takes_the_words_that_made_this_one() -> None:
    words = CommandWords(changes=("train.steps=400",), same_sweep=False)
    assert build_command_line(words, PLAN) == ["run", "ablation=components", "train.steps=400"]
    assert "n_trials=3" in build_command_line(replace(words, command="tune"), PLAN)
    early = build_command_line(words, replace(PLAN, overrides=()))
    assert early[:4] == ["run", "ablation=components", "budget=quick", "data=openmoji"]
    assert early[4:] == ["train.steps=400"]


def test_a_change_replaces_a_short_key_and_a_launcher_its_settings() -> None:
    """As on a command line that names a sweep."""
    recorded = ("ablation=components", "protocol=paper", "launcher=slurm", "launcher.partition=gpu")
    plan = replace(PLAN, overrides=recorded)
    changes = ("runtime.protocol=clip2021", "launcher=local")
    line = build_command_line(CommandWords(changes=changes, same_sweep=False), plan)
    assert line == ["run", "ablation=components", *changes]


def test_lines_are_as_a_shell_reads_them_and_none_runs_imported_runs() -> None:
    commands = (CommandWords(changes=("seeds=[0,1]",)), CommandWords(command="report"))
    remedy = Remedy(description="more seeds", commands=commands, runs={"full": 1})
    finding = Finding(
        check="c", title="t", severity="major", evidence=("e",), reason="r", remedy=remedy
    )
    report = f"report {PLAN.sweep_id} store=x"
    assert format_command_lines(finding, PLAN, ["store=x"]) == (
        f"run {PLAN.sweep_id} 'seeds=[0,1]' store=x",
        report,
    )
    imported = replace(PLAN, executor=IMPORTED)
    assert format_command_lines(finding, imported, ["store=x"]) == (report,)


def test_keys_of_a_tuning_are_those_of_tune() -> None:
    assert set(TUNE_KEYS) == set(TuneConfig.__dataclass_fields__)


def test_a_store_that_is_not_the_default_is_named() -> None:
    assert list_store_words(Store("store")) == []
    assert list_store_words(Store(Path("/data/my store"))) == ["store=/data/my store"]
