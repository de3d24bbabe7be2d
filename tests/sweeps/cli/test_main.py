"""The command line: bad input gives one line and status 2; reading is light and writes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sweeps.cli import main
from tests.helpers import ROOT
from tests.helpers.command_line import execute, read_files, write_finished_cell
from tests.sweeps.cli import OVERRIDES
from uniclip.store import Plan, Store

CSV = ["ablation=components", "data=csv"]
BAD_INPUT: list[tuple[list[str], str]] = [
    (["pln"], "unknown command 'pln': did you mean plan"),
    (["full/0"], "unknown command"),
    (["plan", *OVERRIDES, "--fast"], "plan has no flag --fast"),
    (["plan", *OVERRIDES, "--cfg", "job"], "leave plan out: python sweep.py --cfg job ..."),
    (["run", *OVERRIDES, "--watch"], "run has no flag --watch"),
    (["--watch", *OVERRIDES], "run has no flag --watch"),
    (["status", *OVERRIDES, "--watch=3"], "--watch"),
    (["status", *OVERRIDES, "--watch", "--json"], "choose one"),
    (["status", *OVERRIDES, "--js"], "status has no flag --js"),
    (["cancel", *OVERRIDES], "was submitted to Slurm; stop a sweep with Ctrl-C"),
    (["plan", "components"], "no sweep of ablation components is in store="),
    (["components"], "to run the ablation write ablation=components"),
    (["components-smoke-d3006a28"], "write run components-smoke-d3006a28"),
    (["status", "components-smoke-d3006a28"], "it holds no sweep"),
    (["report", "nothing"], "has no sweep, cell or run 'nothing'"),
    (["retry", "full/0"], "has no cell 'full/0'"),
    (["run", *OVERRIDES, "--lr", "1e-3"], "write train.learning_rate=<value>"),
    (["plan", *OVERRIDES, "--batch-size=64"], "write train.batch_size=64"),
    (["plan", *OVERRIDES, "train.lr=3"], "did you mean train.learning_rate?"),
    (["plan", "ablation=components", "bugdet=smoke"], "did you mean budget?"),
    (["plan", *OVERRIDES, "data.path=x.csv"], "data.path is a key of data=csv: add data=csv"),
    (["plan", *OVERRIDES, "store=${HOME}/st"], "let the shell fill in variables"),
    (["plan", *OVERRIDES, "store=${oc.env:NO_SUCH}/st"], "NO_SUCH is not set"),
    (["plan"], "ablation= is missing: choose from"),
    (["train.steps=3"], "ablation= is missing"),
    (["plan", "ablation=component"], "did you mean components"),
    (["plan", *OVERRIDES, "arms=[no-awarenes]"], "did you mean no-awareness"),
    (["plan", *OVERRIDES, "arms=[]"], "no arm"),
    (["plan", "ablation=components", "data=scene"], "did you mean scenes"),
    (["plan", "ablation=components", "budget=smok"], "did you mean smoke"),
    (["plan", *OVERRIDES, "model=big"], "unknown model 'big'"),
    (["plan", *OVERRIDES, "benchmark=[imagenett]"], "unknown benchmark 'imagenett'"),
    (["plan", *OVERRIDES, "train.step=3"], "did you mean train.steps"),
    (["plan", *OVERRIDES, "train.steps=many"], "train.steps must be a whole number"),
    (["plan", *OVERRIDES, "train.steps=0"], "train.steps must be at least 1"),
    (["plan", *OVERRIDES, "train.learning_rate=nan"], "train.learning_rate must be a finite"),
    (["plan", *OVERRIDES, "train.learning_rate=inf"], "train.learning_rate must be a finite"),
    (["plan", *OVERRIDES, "train.adam_betas=[0.9,1]"], "train.adam_betas"),
    (
        ["plan", *OVERRIDES, "method.positive_weights=[1,nan,1]"],
        "method.positive_weights[1] must be a finite number",
    ),
    (["plan", *OVERRIDES, "model.image.options.x=nan"], "model.image.options.x must be a finite"),
    (["plan", *OVERRIDES, "train.steps=3", "train.steps=4"], "train.steps is given twice"),
    (["plan", *OVERRIDES, "seeds=0"], "seeds=0"),
    (["plan", *OVERRIDES, "seeds=[1,1]"], "seeds="),
    (
        ["plan", *OVERRIDES, "launcher.max_workers=0"],
        "launcher.max_workers must be at least 1",
    ),
    (["plan", *OVERRIDES, "+train.steps=3"], "cannot read '+train.steps=3'"),
    (["plan", *OVERRIDES, "++train.steps=3"], "no key is added here, since every key exists"),
    (["plan", *OVERRIDES, "~train.steps"], "no key is removed here, since every run has a value"),
    (["~train.steps", *OVERRIDES], "leave train.steps out for its default, or write train.steps="),
    (["plan", *OVERRIDES, "data@x=csv"], "a group has one place here: write data=csv"),
    (["plan", *OVERRIDES, "seeds=1,2"], "write seeds=[1,2]"),
    (["plan", *OVERRIDES, "launcher.max_workers=1,2"], "does not change what a run is"),
    (["plan", *OVERRIDES, "train.steps=1,2", "train.steps=3"], "train.steps is given twice"),
    (["logs", *OVERRIDES, "train.steps=1,2", "full/0"], "train.steps=1,2 names 2 sweeps: write"),
    (
        ["tune", *OVERRIDES, "sampler=tpe,gp"],
        "'sampler=tpe,gp' has several values: write one value",
    ),
    (["tune", *OVERRIDES, "tuning_seeds=1,2"], "write one value, or a list as [a,b]"),
    (["list", "arms", "train.learning_rate=1e-3,2e-3"], "has several values: write one value"),
    (["list", "arms", "ablation=views,losses"], "ablation=views,losses names 2 sweeps: write"),
    (["list", "keys", "data=scenes,csv"], "data=scenes,csv names 2 sweeps: write the command"),
    (["plan", "train.lr=1,2"], "did you mean train.learning_rate"),
    (["plan", *OVERRIDES, "train={steps: 3}"], "train is a section"),
    (
        ["plan", *OVERRIDES, "method.augmentation_input=none"],
        "method.augmentation_input is given by you and changed by arm no-",
    ),
    (["plan", *OVERRIDES, "data.name=openmoji"], "data.name is chosen with data="),
    (["plan", *OVERRIDES, "conf_dir=nowhere"], "conf_dir=nowhere is not a folder"),
    (["plan", *OVERRIDES, "plugins=3"], "plugins: 3 cannot be imported (ModuleNotFoundError"),
    (["plan", *OVERRIDES, "plugins=null"], "plugins must be a list such as [my_module], got None"),
    (["plan", *CSV], "data.path"),
    (["plan", *CSV, "data.path=none.csv"], "none.csv"),
    (["run", *OVERRIDES, "store=/dev/null/store"], "/dev/null/store"),
    (["status", *OVERRIDES, "store=/etc/passwd"], "/etc/passwd"),
    (["plan", *OVERRIDES, "store=/etc/passwd/x"], "/etc/passwd/x"),
    (["logs", *OVERRIDES, "ful/0"], "did you mean full/0"),
    (["logs", *OVERRIDES, "full/0"], "full/0 has not been run"),
    (["logs", *OVERRIDES], "logs takes one cell"),
    (["diff", *OVERRIDES], "diff takes one cell or two"),
    (["diff", *OVERRIDES, "full/0", "full/9"], "unknown cell 'full/9'"),
    (["retry", *OVERRIDES], "nothing to retry"),
    (["retry", *OVERRIDES, "full/9"], "unknown cell 'full/9'"),
    (["report", *OVERRIDES], "has not been run"),
    (["list", "nothing"], "unknown list 'nothing'"),
    (["tune"], "ablation= is missing: choose from"),
    (
        ["tune", *OVERRIDES, "full"],
        "tune takes one sweep, its id or words with ablation=: leave out full",
    ),
    (["tune", *OVERRIDES, "n_trials=0"], "n_trials must be at least 1, got 0"),
    (["tune", *OVERRIDES, "n_trials=many"], "n_trials must be a whole number"),
    (["tune", *OVERRIDES, "n_trials=2", "n_trials=3"], "n_trials is given twice"),
    (["tune", *OVERRIDES, "n_trails=3"], "unknown key 'n_trails': did you mean n_trials"),
    (["tune", *OVERRIDES, "parallel_trials=0"], "parallel_trials must be at least 1"),
    (["tune", *OVERRIDES, "pruner=medain"], "did you mean median"),
    (["tune", *OVERRIDES, "pruner=median"], "set train.validate_every lower"),
    (["tune", *OVERRIDES, "space=optimiser"], "did you mean optimizer"),
    (["tune", *OVERRIDES, "tuning_seeds=0"], "tuning_seeds=0: give a number of at least 1"),
    (["tune", *OVERRIDES, "tuning_seeds=[1,1]"], "tuning_seeds="),
    (["tune", *OVERRIDES, "runtime.stop_fraction=0"], "runtime.stop_fraction must be above 0"),
    (["run", *OVERRIDES, "n_trials=3"], "unknown key 'n_trials'"),
    (["run", *OVERRIDES, "space=optimizer"], "unknown key 'space'"),
    (["list", "ablations", "models"], "list takes one name"),
    (["list", "models", "train.steps=3"], "list takes no train.steps="),
    (["list", "sweeps", "ablation=components"], "list takes no ablation="),
    (["list", "runs", "nothing"], "unknown sweep 'nothing'"),
    (["list", "keys", "tarin"], "did you mean"),
    (["diff"], "ablation= is missing"),
    (["diff", "nothing", "full/0"], "has no sweep, cell or run 'nothing'"),
    (["logs"], "logs takes one cell"),
    (["list", "arms"], "list arms needs ablation="),
    (["gc"], "is not a store"),
    (["gc", "store=.", "--yes"], "is not a store"),
    (["gc", "ablation=components"], "leave out ablation="),
]


@pytest.mark.parametrize("words", [["run", *OVERRIDES], ["plan", *OVERRIDES, "--probe"]])
def test_nothing_is_written_if_there_is_no_slurm(
    words: list[str],
    work_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", str(work_folder))
    assert execute(*words, "launcher=slurm") == main.EXIT_USER_ERROR
    assert capsys.readouterr().err == (
        "sweep.py: launcher=slurm: sbatch is not installed here; use launcher=local\n"
    )
    assert not (work_folder / "store").exists()


@pytest.mark.parametrize(("words", "match"), BAD_INPUT, ids=[" ".join(w) for w, _ in BAD_INPUT])
def test_bad_input_is_one_line_status_two_and_nothing_written(
    words: list[str], match: str, work_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(*words) == main.EXIT_USER_ERROR
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1, printed.err
    assert printed.err.startswith("sweep.py: ")
    assert match in printed.err
    assert "hydra" not in printed.err.lower()
    assert printed.out == ""
    assert read_files(work_folder) == {}
    assert not (work_folder / "store").exists()


# ---- parsing -------------------------------------------------------------------------------------


class RecordedCommand:
    """A command that records its arguments."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.calls: list[Namespace] = []
        self.error = error

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("names", nargs="*")
        parser.add_argument("--force", action="store_true")

    def run(self, arguments: Namespace) -> int:
        self.calls.append(arguments)
        if self.error is not None:
            raise self.error
        return 0


def replace_commands(monkeypatch: pytest.MonkeyPatch, command: RecordedCommand) -> None:
    monkeypatch.setattr(main, "load_command", lambda name: command)


@pytest.mark.parametrize(
    "words",
    [
        ["retry", "full/0", "clip/1", "--force", "seeds=2", "store=s"],
        ["retry", "seeds=2", "--force", "full/0", "store=s", "clip/1"],
        ["retry", "--force", "full/0", "seeds=2", "clip/1", "store=s"],
    ],
)
def test_flags_names_and_overrides_come_in_any_order(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = RecordedCommand()
    replace_commands(monkeypatch, command)
    assert execute(*words) == 0
    (arguments,) = command.calls
    assert arguments.names == ["full/0", "clip/1"]
    assert arguments.overrides == ["seeds=2", "store=s"]
    assert arguments.force


def test_without_a_command_the_sweep_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    command = RecordedCommand()
    replace_commands(monkeypatch, command)
    assert execute("ablation=components") == 0
    (arguments,) = command.calls
    assert (arguments.command, arguments.overrides) == ("run", ["ablation=components"])


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_is_a_module_with_a_help(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = main.load_command(name)
    assert callable(command.run)
    assert execute(name, "--help") == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: python sweep.py {name} ")
    assert "[key=value ...]" in " ".join(text.split())


def test_every_module_of_the_commands_is_listed() -> None:
    folder = ROOT / "sweeps" / "cli" / "commands"
    assert {path.stem for path in folder.glob("*.py")} - {"__init__"} == set(main.COMMANDS)


def test_without_arguments_the_help_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute() == main.EXIT_USER_ERROR
    text = capsys.readouterr().out
    assert all(name in text for name in main.COMMANDS)
    assert execute("--help") == 0
    assert capsys.readouterr().out == text


def test_the_version_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from importlib import metadata

    monkeypatch.setattr(metadata, "version", lambda name: f"1.2.3 of {name}")
    assert execute("--version") == 0
    assert capsys.readouterr().out == "uniclip-ablations 1.2.3 of uniclip-ablations\n"

    def raise_not_found(name: str) -> str:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "version", raise_not_found)
    assert execute("--version") == 0
    assert capsys.readouterr().out == "uniclip-ablations unknown\n"


def test_messages_name_the_console_command_if_it_was_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(main, "sys", SimpleNamespace(**{**vars(sys), "argv": ["/b/uniclip-sweep"]}))
    assert execute("plan", "--fast") == main.EXIT_USER_ERROR
    assert capsys.readouterr().err == (
        "uniclip-sweep: plan has no flag --fast: see uniclip-sweep plan --help\n"
    )


# ---- errors --------------------------------------------------------------------------------------


def test_ctrl_c_has_its_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replace_commands(monkeypatch, RecordedCommand(KeyboardInterrupt()))
    assert execute("plan", *OVERRIDES) == main.EXIT_INTERRUPTED
    assert "the same command continues" in capsys.readouterr().err


def test_a_full_disk_is_one_line_and_errors_of_the_program_are_not_hidden(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = OSError(28, "No space left on device", "store/x")
    replace_commands(monkeypatch, RecordedCommand(error))
    assert execute("plan", *OVERRIDES) == main.EXIT_USER_ERROR
    assert capsys.readouterr().err == "sweep.py: store/x: No space left on device\n"
    replace_commands(monkeypatch, RecordedCommand(FileNotFoundError(2, "gone", "x")))
    with pytest.raises(FileNotFoundError):
        execute("plan", *OVERRIDES)


# ---- the process as a whole ----------------------------------------------------------------------

HEAVY_LIBRARIES = {"torch", "timm", "transformers", "matplotlib", "pandas"}


def run_with_import_times(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run `python sweep.py <words>`, with a list of its imports on standard error."""
    command = [sys.executable, "-X", "importtime", str(ROOT / "sweep.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


@pytest.mark.parametrize(
    ("words", "excluded"),
    [
        (["--help"], {"numpy", "rich", "ablations"}),
        (["plan", "--help"], {"numpy"}),
        (["list", "models"], {"numpy"}),
        (["list", "keys", "lr"], set[str]()),
        (["list", "sweeps"], {"numpy"}),
        (["status", "components"], set[str]()),
        (["plan", *OVERRIDES], {"numpy"}),
        (["status", *OVERRIDES], set[str]()),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_reading_imports_no_heavy_library(
    words: list[str], excluded: set[str], work_folder: Path, plan: Plan
) -> None:
    write_finished_cell(Store(work_folder / "store"), plan)
    done = run_with_import_times(*words, cwd=work_folder)
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout.strip()
    imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "sweeps" in imported
    assert not imported & (HEAVY_LIBRARIES | excluded)


@pytest.mark.parametrize(
    "words", [["--help"], ["list"], ["plan", *OVERRIDES], ["plan", *OVERRIDES, "--json"]]
)
def test_a_closed_pipe_is_no_traceback(words: list[str], work_folder: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    command: list[Any] = [sys.executable, str(ROOT / "sweep.py"), *words]
    with os.fdopen(write, "w") as closed_pipe:
        done = subprocess.run(
            command, cwd=work_folder, stdout=closed_pipe, stderr=subprocess.PIPE, text=True
        )
    assert done.stderr == ""
    assert done.returncode in (0, 1)


@pytest.mark.parametrize("command", ["run", "plan", "retry", "tune", "verify"])
def test_a_command_that_torchrun_starts_several_times_names_the_key(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert main.main([command, *OVERRIDES]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "torchrun starts this command 8 times" in line
    assert "write launcher.tasks_per_node=8" in line
    monkeypatch.setenv("WORLD_SIZE", "1")
    main._refuse_torchrun()
