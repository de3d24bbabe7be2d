"""Completion: which words are offered where."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.cli import completion
from sweeps.cli.main import COMMANDS
from tests.helpers import ROOT, fake_sweep


def complete(line: str) -> list[str]:
    """Return the completions of the last word of a line, which may be empty."""
    *words, prefix = line.split(" ")
    return list(completion.complete_word(words, prefix))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("st", ["status", "store="]),
        ("plan ablation=comp", ["ablation=components"]),
        ("ablation=components,los", ["ablation=components,losses"]),
        ("plan method=uni", ["method=unicl", "method=uniclip"]),
        ("plan launcher=", ["launcher=debug", "launcher=local", "launcher=slurm"]),
        ("plan train.optimizer", ["train.optimizer=", "train.optimizer_options="]),
        ("plan method.negatives=a", ["method.negatives=all"]),
        ("plan runtime.evaluation_split=t", ["runtime.evaluation_split=test"]),
        ("tune n_tr", ["n_trials="]),
        ("run n_tr", []),
        ("tune space=opt", ["space=optimizer"]),
        ("report --f", ["--force"]),
        ("export csv --t", ["--to="]),
        ("plan --mul", ["--multirun"]),
        ("export tens", ["tensorboard"]),
        ("list ke", ["keys"]),
        ("data che", ["check"]),
        ("data check dt", ["dtd", "dtd_fewshot", "dtd_finetune"]),
        ("completion ", ["bash", "zsh", "fish"]),
        ("init ", []),
        ("plan train.steps=", []),
        ("plan nothing=", []),
        ("plan conf_dir=", []),
    ],
)
def test_the_words_that_fit_are_offered(line: str, expected: list[str], work_folder: Path) -> None:
    assert complete(line) == expected
    assert not list(work_folder.iterdir()), "nothing is written"


def test_a_new_line_offers_commands_and_keys_without_sections(work_folder: Path) -> None:
    words = complete("")
    assert set(COMMANDS) < set(words)
    assert {"ablation=", "data=", "seeds=", "store="} < set(words)
    assert not [word for word in words if "." in word]


def test_keys_of_another_choice_are_left_out(work_folder: Path) -> None:
    assert "data.num_test=" in complete("plan data=scenes data.")
    assert "data.path=" in complete("plan data=csv data.")
    assert "data.path=" not in complete("plan data=scenes data.")
    assert {"data.path=", "data.num_test="} < set(complete("plan data."))


def test_sweeps_of_the_store_and_files_of_conf_dir_are_offered(work_folder: Path) -> None:
    store, sweep_id = fake_sweep.make(work_folder / "s", fake_sweep.Truth(seeds=(0,)))
    assert complete(f"status store={store.root} comp") == [sweep_id, "components="]
    (work_folder / "conf" / "ablation").mkdir(parents=True)
    (work_folder / "conf" / "ablation" / "rates.yaml").write_text("title: Which rate?\n")
    assert complete("plan conf_dir=conf ablation=ra") == ["ablation=rates"]


def test_help_imports_nothing_for_completion() -> None:
    code = (
        "import sys; from sweeps.cli.main import main; main(['--help'])\n"
        "assert not {'argcomplete', 'sweeps.cli.completion'} & set(sys.modules)\n"
        "import sweeps.cli.completion\n"
        "assert not {'torch', 'optuna', 'pandas'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
