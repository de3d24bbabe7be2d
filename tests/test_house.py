"""Rules of the code base: layers, a light front door, documentation, sizes, names, test files."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.helpers.source_tree import MODULES, PACKAGES, import_graph, parse_module, resolve_import

LAYERS = {"uniclip": 1, "ablations": 2, "analysis": 2, "sweeps": 3, "sweep": 4}
HEAVY_LIBRARIES = {
    "torch",
    "torchvision",
    "timm",
    "transformers",
    "tokenizers",
    "matplotlib",
    "nbclient",
    "optuna",
}
MAX_FUNCTION_LINES, MAX_MODULE_LINES, MAX_COLUMNS = 60, 400, 100

FRONT_DOOR = (
    "uniclip",
    "uniclip.config",
    "uniclip.config.compose",
    "uniclip.identity",
    "uniclip.store",
    "uniclip.data",
    "uniclip.data.batch",
    "uniclip.evaluate",
    "uniclip.evaluate.datasets",
    "uniclip.augmentation.transform",
    "uniclip.models.profile",
    "uniclip.checkpoints.warm_start",
    "ablations",
    "analysis.report.build",
    "analysis.review",
    "sweeps",
)
"""Modules, or packages with all that is in them, that never import a heavy library."""

HEAVY_MODULES = {
    "ablations.audit": "runs in a worker",
    "sweeps.costs.audit_run": "runs in a worker",
}
"""Modules and packages of the front door's packages that may, each with its reason."""

PRIVATE_WORDS = {
    "found", "said", "told", "own", "place", "asked", "ours", "theirs", "mine", "kept", "made",
    "given", "spoken", "seen",
}  # fmt: skip
"""Words that do not say what a variable holds."""


def public_definitions(name: str) -> Iterator[tuple[str, ast.AST]]:
    """Yield public functions and classes, and public methods of classes without a base class.

    (A method that overrides another is documented where it is declared first.)
    """
    for node in parse_module(name).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            yield f"{name}.{node.name}", node
            declares = isinstance(node, ast.ClassDef) and not node.bases
            for inner in node.body if declares else ():
                if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                    yield f"{name}.{node.name}.{inner.name}", inner


def bound_names(name: str) -> Iterator[str]:
    """Yield every name that a module binds: variables, parameters, functions, classes, fields."""
    for node in ast.walk(parse_module(name)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name


def count_lines(function: ast.FunctionDef) -> int:
    """Return the number of lines of a function without its docstring."""
    assert function.end_lineno is not None
    length = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) and first.end_lineno is not None:
        length -= first.end_lineno - first.lineno + 1
    return length


def test_modules_of_every_package_are_read() -> None:
    assert len(MODULES) > 150
    assert {name.split(".")[0] for name in MODULES} == set(LAYERS)


@pytest.mark.parametrize("name", MODULES)
def test_imports_only_point_to_lower_layers(name: str) -> None:
    """Also those inside functions and for type checkers alone."""
    package = name.split(".")[0]
    for node in ast.walk(parse_module(name)):
        for target in resolve_import(name, node):
            imported = target.split(".")[0]
            assert imported == package or LAYERS[imported] < LAYERS[package], (
                f"{name} imports {target}"
            )


def test_training_does_not_depend_on_evaluation() -> None:
    graph = import_graph()
    reached: set[str] = set()
    waiting = ["uniclip.training.trainer"]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += graph[name]
    assert not {r for r in reached if r.startswith("uniclip.evaluate") or r == "uniclip.run"}


def test_the_top_package_defines_nothing_but_lazy_access() -> None:
    """The training hash leaves it out: nothing but lazy access may stand there."""
    lazy_modules = {"uniclip.checkpoints.load", "uniclip.frames.store_frames", "uniclip.run"}
    assert import_graph()["uniclip"] <= lazy_modules
    functions = [
        n.name for n in ast.walk(parse_module("uniclip")) if isinstance(n, ast.FunctionDef)
    ]
    assert functions == ["__getattr__"]


def test_the_front_door_imports_no_heavy_library() -> None:
    names = [
        name
        for name in MODULES
        if any(
            name == door or (name.startswith(f"{door}.") and door in PACKAGES)
            for door in FRONT_DOOR
        )
        and not name.startswith("uniclip.")
        or name in FRONT_DOOR
    ]
    names = [
        n for n in names if not any(f"{n}.".startswith(f"{heavy}.") for heavy in HEAVY_MODULES)
    ]
    assert len(names) > 60
    code = (
        "import importlib, sys\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        f"    loaded = {HEAVY_LIBRARIES!r} & set(sys.modules)\n"
        "    assert not loaded, f'{name} imports {sorted(loaded)}'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr.splitlines()[-1]


@pytest.mark.parametrize("words", [("list", "ablations"), ("plan", "ablation=components")])
def test_commands_that_only_read_start_without_numpy(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    """Importing it takes a tenth of a second, which `list` and `plan` have no use for."""
    code = (
        "import sys\n"
        "from sweeps.cli.main import main\n"
        "assert main(sys.argv[1:]) == 0\n"
        f"loaded = {{'numpy', *{HEAVY_LIBRARIES!r}}} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    command = [sys.executable, "-c", code, *words]
    if words[0] == "plan":
        command.append(f"store={tmp_path}")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]


@pytest.mark.parametrize("name", MODULES)
def test_public_names_are_documented(name: str) -> None:
    if MODULES[name].read_text().strip():
        assert ast.get_docstring(parse_module(name)), f"{name} has no docstring"
    undocumented = [
        n
        for n, node in public_definitions(name)
        if not ast.get_docstring(node)  # type: ignore[arg-type]
    ]
    assert undocumented == []


@pytest.mark.parametrize("name", MODULES)
def test_functions_and_modules_are_short(name: str) -> None:
    lengths = {
        node.name: count_lines(node)
        for node in ast.walk(parse_module(name))
        if isinstance(node, ast.FunctionDef)
    }
    assert {n: length for n, length in lengths.items() if length > MAX_FUNCTION_LINES} == {}
    lines = MODULES[name].read_text().splitlines()
    assert len(lines) <= MAX_MODULE_LINES
    assert max(map(len, lines), default=0) <= MAX_COLUMNS


@pytest.mark.parametrize("name", MODULES)
def test_variables_say_what_they_hold(name: str) -> None:
    assert sorted(PRIVATE_WORDS & {n.strip("_") for n in bound_names(name)}) == []


@pytest.mark.parametrize("name", MODULES)
def test_no_stubs_and_no_machine_paths(name: str) -> None:
    text = MODULES[name].read_text()
    assert text.isascii()
    assert not re.search(r"\b(TODO|FIXME|XXX|raise NotImplementedError)\b", text)
    assert not re.search(r"/work/|/root/|/home/\w", text), "a path of one machine"
    assert not re.search(
        r"(src|href)\s*=\s*['\"]?http|@import\s+['\"]?http|urlopen|requests\.", text
    )


@pytest.mark.parametrize("name", MODULES)
def test_no_global_random_state(name: str) -> None:
    """All random numbers come from `uniclip.rng`; torch's generators are seeded in forks only."""
    text = MODULES[name].read_text()
    assert not re.search(r"np\.random\.(seed|rand|randn|choice|shuffle|permutation)\b", text)
    assert not re.search(r"^\s*(import random|from random import)", text, re.M)


UNMIRRORED: dict[str, str] = {}
"""Modules without a test file at the mirrored path, each with its reason."""


def has_code(name: str) -> bool:
    """Return whether a module defines a function or a class."""
    return any(isinstance(n, (ast.FunctionDef, ast.ClassDef)) for n in parse_module(name).body)


def test_every_module_has_a_test_file_of_its_name() -> None:
    missing = []
    for name, path in MODULES.items():
        relative = path.relative_to(ROOT)
        if path.name != "__init__.py" and has_code(name) and name not in UNMIRRORED:
            mirrored = ROOT / "tests" / relative.parent / f"test_{path.stem.strip('_')}.py"
            if not mirrored.exists():
                missing.append(str(mirrored.relative_to(ROOT)))
    assert len(UNMIRRORED) < 10
    assert missing == []


def test_data_files_are_packaged() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    for package in PACKAGES:
        if list((ROOT / package).rglob("*.yaml")):
            assert f'{package} = ["py.typed", "conf/**/*.yaml"' in project


def test_make_soak_runs_every_full_count() -> None:
    """Every file with a test of full counts is collected by the commands that `make soak` runs."""
    dry_run = ["env", "--unset=MAKEFLAGS", "--unset=ARGS", "make", "-n", "soak"]
    recipe = subprocess.run(dry_run, cwd=ROOT, capture_output=True, text=True)
    commands = [line for line in recipe.stdout.splitlines() if " pytest " in line]
    collected: list[str] = []
    for command in commands:
        collect = command.replace(".venv/bin/python", sys.executable)
        collect += " --noconftest --collect-only -p tests.helpers.collected_files"
        done = subprocess.run(collect, cwd=ROOT, shell=True, capture_output=True, text=True)
        collected += done.stdout.splitlines()
    marked = [
        str(path)
        for path in (ROOT / "tests").rglob("test_*.py")
        if "pytest.mark.soak" in path.read_text() and path != Path(__file__)
    ]
    assert len(marked) > 5
    assert [name for name in marked if name not in collected] == []
