"""The doctor's look at the program of a sweep of commands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweeps.config.request import parse_request
from sweeps.doctor import test_job
from sweeps.doctor.context import DoctorContext, find_config
from sweeps.doctor.diagnostic import Diagnostic
from sweeps.doctor.program import (
    ProgramFiles,
    check_program,
    inspect_programs,
    list_program_files,
    parse_python_words,
)
from tests.helpers.command_ablations import write_command_ablation
from tests.helpers.command_line import Driver

RUN = "--seed {seed} --out {output} --steps {steps} --gain {gain} --seconds {seconds} {flags}"


def make_context(folder: Path, run: str, *words: str, **command: Any) -> DoctorContext:
    ablation_words = write_command_ablation(folder, command={"run": f"{run} {RUN}", **command})
    kept = [word for word in ablation_words if not word.startswith("launcher.")]
    request = parse_request([*kept, f"store={folder / 'store'}", *words])
    resolved_plan = request.build_plan()
    config = find_config(resolved_plan)
    assert config is not None
    assert config.runtime.device == "cpu"
    return DoctorContext(
        settings=request.settings, config=config, store=request.store, resolved_plan=resolved_plan
    )


def check(folder: Path, run: str, *words: str, **command: Any) -> Diagnostic:
    (diagnostic,) = check_program(make_context(folder, run, *words, **command))
    return diagnostic


@pytest.mark.parametrize(
    ("run", "command", "message"),
    [
        ("{python} {here}/program.py", {}, ""),
        ("{python} -X utf8 -u -m json.tool", {}, ""),
        ("python3 program.py", {"working_folder": "{here}"}, ""),
        ("{here}/program.py", {}, "there is no program"),
        ("no-such-program", {}, "there is no program no-such-program"),
        ("{python} program.py", {"working_folder": "/no/such"}, "there is no folder /no/such"),
        ("{python} {here}/other.py", {}, "there is no file"),
        ("{python} -m open_klip.main", {}, "finds no module open_klip.main"),
        ("{python} -m program", {"working_folder": "{here}"}, ""),
    ],
)
def test_what_is_there_and_what_is_not(
    tmp_path: Path, run: str, command: dict[str, Any], message: str
) -> None:
    diagnostic = check(tmp_path, run, **command)
    assert diagnostic.level == ("problem" if message else "ok"), diagnostic
    assert message in diagnostic.message


def test_nodes_may_have_what_the_login_node_lacks(tmp_path: Path) -> None:
    diagnostic = check(tmp_path, "no-such-program", "launcher=slurm")
    assert diagnostic.level == "warning"
    assert "doctor --submit" in diagnostic.fix


def test_a_node_is_asked_for_the_same_files(tmp_path: Path) -> None:
    context = make_context(tmp_path, "{python} {here}/program.py")
    assert context.resolved_plan is not None
    programs = list_program_files(context.resolved_plan)
    assert [program.executable for program in programs] == [""], "each node has its Python"
    assert programs[0].files == (str(tmp_path / "ablation" / "program.py"),)
    elsewhere = replace(programs[0], files=("/not/shared/train.py",))
    (diagnostic,) = inspect_programs([elsewhere, elsewhere])
    assert diagnostic.message == "there is no file /not/shared/train.py"
    assert "file system that every machine" in diagnostic.fix


def test_the_report_of_a_node_names_the_program(tmp_path: Path) -> None:
    """The file of the login node, as the job reads it."""
    assert test_job._read_programs(tmp_path) == []
    context = make_context(tmp_path, "{python} {here}/program.py")
    assert context.resolved_plan is not None
    programs = list_program_files(context.resolved_plan)
    test_job.write_programs(tmp_path, programs)
    assert test_job._read_programs(tmp_path) == programs


def test_a_program_beside_others_is_named_by_its_path(tmp_path: Path) -> None:
    """As it is started: a name without a slash is looked up in PATH alone."""
    (tmp_path / "train").write_text("#!/bin/sh\n")
    (tmp_path / "train").chmod(0o755)
    program = ProgramFiles(
        executable="train", module="", working_folder=str(tmp_path), files=(), variables={}
    )
    (diagnostic,) = inspect_programs([program])
    assert diagnostic.message == "there is no program train"
    (diagnostic,) = inspect_programs([replace(program, executable="./train")])
    assert diagnostic.level == "ok"


def test_words_of_python() -> None:
    assert parse_python_words(["-u", "a.py", "-m", "x"]) == ("a.py", "")
    assert parse_python_words(["-W", "ignore", "-m", "x.y"]) == ("", "x.y")
    assert parse_python_words(["-c", "1"]) == ("", "")
    assert parse_python_words(["-um", "x.y", "8"]) == ("", "x.y")
    assert parse_python_words(["-Xutf8", "-mx.y", "--flag", "8"]) == ("", "x.y")
    assert parse_python_words(["--check-hash-based-pycs", "never", "a.py"]) == ("a.py", "")
    assert parse_python_words([]) == ("", "")


def test_a_sweep_whose_program_is_absent_starts_no_worker(tmp_path: Path) -> None:
    driver = Driver(tmp_path / "store")
    words = write_command_ablation(tmp_path, command={"run": f"no-such-program {RUN}"})
    driver.words = (*words, f"store={driver.folder}")
    output = driver.run(status=2)
    assert "program: there is no program no-such-program; fix: correct command.run" in output
    assert not (driver.folder / "sweeps").exists()
