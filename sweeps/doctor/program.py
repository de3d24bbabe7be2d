"""The program that trains the arms of a sweep: whether it can be started, here or on a node.

Looked at are the first word of the command line, the script or module that it passes to a Python,
the folder in which it is started, and the files that are declared. No module of it is executed but
the packages that contain it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ablations.plan.plan import ResolvedPlan
from sweeps.doctor.context import DoctorContext
from sweeps.doctor.diagnostic import Diagnostic, ok, problem, warning
from uniclip.commands.definition import EXECUTOR
from uniclip.commands.evaluation import find_checkpoint_config
from uniclip.commands.invocation import Invocation, read_invocation
from uniclip.commands.program import build_environment
from uniclip.commands.provenance import find_files
from uniclip.commands.template import render_text, split_words

CHECK = "program"
OUTPUT = Path("/output-of-a-run")
"""Stands for the output folder of a run, which does not exist yet."""
PYTHON_NAME = re.compile(r"python[\d.]*")
VALUE_FLAG = "--check-hash-based-pycs"
VALUE_LETTERS = "mcWX"
"""Flags of Python that have a value: the rest of the word, or the next word."""
IMPORT_SECONDS = 60.0
FIND_MODULE = (
    "import importlib.util, sys\n"
    "sys.path.insert(0, '')\n"
    "sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"
)


@dataclass(frozen=True, kw_only=True)
class ProgramFiles:
    """What the start of a program needs."""

    executable: str
    """The first word of the command line; empty for the Python that executes the sweep, which is
    another one on nodes with `launcher.python`."""
    module: str
    """The module that a Python executes; empty without one."""
    working_folder: str
    """The folder in which it is started; empty for that of the run."""
    files: tuple[str, ...]
    """Its script, and the files that are declared."""
    variables: dict[str, str]
    """Environment variables beside those of the worker."""


def list_program_files(resolved_plan: ResolvedPlan) -> list[ProgramFiles]:
    """Return what the programs of the arms need, each once; nothing for other plans."""
    plan = resolved_plan.plan
    if plan.executor != EXECUTOR:
        return []
    programs = []
    for cell in {cell.arm: cell for cell in reversed(plan.cells)}.values():
        spec, run_only = resolved_plan.specs[cell.run_id], plan.run_only_values(cell.arm)
        program = _list_files(read_invocation(spec, run_only))
        if program not in programs:
            programs.append(program)
    return programs


def _list_files(invocation: Invocation) -> ProgramFiles:
    definition, folder = invocation.definition, invocation.folder
    executable, *words = invocation.build_words(OUTPUT, resumes=False)
    script, module = parse_python_words(words) if _is_python(executable) else ("", "")
    working_folder = invocation.get_working_folder(OUTPUT)
    is_fixed = OUTPUT not in (working_folder, *working_folder.parents)
    files = [str(working_folder / script)] if script and (is_fixed or Path(script).root) else []
    substitutions = {**invocation.values, "here": folder}
    for kind, patterns in (("sources", definition.sources), ("data", definition.data)):
        for pattern in patterns or ():
            files += map(str, find_files(kind, folder, render_text(pattern, substitutions))[0][:1])
    config_path = find_checkpoint_config(definition, folder, invocation.values)
    files += [str(config_path)] if config_path is not None else []
    return ProgramFiles(
        executable="" if split_words(definition.run)[0] == "{python}" else executable,
        module=module,
        working_folder=str(working_folder) if is_fixed else "",
        files=tuple(dict.fromkeys(files)),
        variables=invocation.build_environment(OUTPUT),
    )


def _is_python(executable: str) -> bool:
    return PYTHON_NAME.fullmatch(Path(executable).name) is not None


def parse_python_words(words: Sequence[str]) -> tuple[str, str]:
    """Return the script and the module, one of them empty, that a Python executes.

    Args:
        words: Its command line without the first word.
    """
    iterator = iter(words)
    for word in iterator:
        if not word.startswith("-"):
            return word, ""
        letters = "" if word.startswith("--") else word[1:]
        flag = next((letter for letter in letters if letter in VALUE_LETTERS), "")
        value = letters.partition(flag)[2] if flag else ""
        if (flag and not value) or word == VALUE_FLAG:
            value = next(iterator, "")
        if flag in ("m", "c"):
            return "", value if flag == "m" else ""
    return "", ""


def check_program(context: DoctorContext) -> Iterator[Diagnostic]:
    """Check that the program of a sweep of commands can be started on this machine.

    With Slurm that is not required: the nodes may have what this machine lacks.
    """
    if context.resolved_plan is None:
        return
    for diagnostic in inspect_programs(list_program_files(context.resolved_plan)):
        if diagnostic.level == "problem" and context.slurm_launcher is not None:
            fix = f"{diagnostic.fix}; or do the nodes have it? doctor --submit looks there"
            yield warning(diagnostic.check, f"{diagnostic.message} on this machine", fix)
        else:
            yield diagnostic


def inspect_programs(programs: Iterable[ProgramFiles]) -> list[Diagnostic]:
    """Return the diagnostics of programs on this machine; of equal ones, one."""
    diagnostics = [diagnostic for program in programs for diagnostic in _inspect(program)]
    return list(dict.fromkeys(diagnostics))


def _inspect(program: ProgramFiles) -> Iterator[Diagnostic]:
    environment = {**build_environment(os.environ), **program.variables}
    search_path = environment.get("PATH")
    folder = program.working_folder or None
    if folder is not None and not Path(folder).is_dir():
        yield problem(CHECK, f"there is no folder {folder}", "correct command.working_folder")
        return
    name = program.executable or sys.executable
    # A name without a slash is looked up in PATH alone.
    path = os.path.join(folder or "", name) if os.sep in name else name
    executable = shutil.which(path, path=search_path)
    if executable is None:
        fix = "correct command.run, or load its module in launcher.setup"
        yield problem(CHECK, f"there is no program {name}", fix)
        return
    missing = [path for path in program.files if not Path(path).exists()]
    if missing:
        fix = "put it on a file system that every machine of the sweep sees"
        yield problem(CHECK, f"there is no file {missing[0]}", fix)
        return
    if program.module and not _has_module(executable, program.module, folder, environment):
        fix = "install it there, or name another Python in command.run"
        yield problem(CHECK, f"{name} finds no module {program.module}", fix)
        return
    yield ok(CHECK, f"{executable} and what its command names are there")


def _has_module(
    executable: str, module: str, folder: str | None, environment: dict[str, str]
) -> bool:
    """Return whether a Python finds a module; True if it does not answer in time."""
    try:
        result = subprocess.run(
            [executable, "-c", FIND_MODULE, module],
            cwd=folder,
            env=environment,
            capture_output=True,
            timeout=IMPORT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return True
    return result.returncode == 0
