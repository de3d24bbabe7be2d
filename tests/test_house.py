"""The house: floors point down, no circles, the front door is light, everything is explained."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = {"uniclip": 1, "ablations": 2, "analysis": 2, "sweeps": 3, "sweep": 4}
HEAVY = {
    "torch",
    "torchvision",
    "timm",
    "transformers",
    "tokenizers",
    "matplotlib",
    "nbconvert",
    "optuna",
}
FUNCTION_LINES, MODULE_LINES, COLUMNS = 60, 400, 100

FRONT_DOOR = [
    "uniclip", "uniclip.config", "uniclip.identity", "uniclip.store", "uniclip.rng",
    "uniclip.errors", "uniclip.data.batch", "uniclip.config.compose", "uniclip.data", "uniclip.evaluate",
    "uniclip.evaluate.datasets",
    "uniclip.augmentation.transform", "uniclip.models.profile", "uniclip.checkpoints.warm_start",
    "ablations.schema", "ablations.designs", "ablations.plan.plan", "ablations.plan.tuned_arms",
    "sweeps.config.request", "sweeps.doctor.doctor", "sweeps.costs.probe", "sweeps.costs.limit", "sweeps.doctor.device",
    "sweeps.doctor.test_job", "sweeps.claims.claim", "sweeps.claims.process", "sweeps.monitor.status", "sweeps.costs.estimate",
    "sweeps.slurm", "sweeps.launchers.submissions", "sweeps.cli.slurm_job", "sweeps.launchers.slurm",
    "sweeps.cli.main", "sweeps.cli.verbs", "sweeps.cli.listing", "sweeps.monitor.display", "sweeps.controller.controller",
    "sweeps.launchers.worker", "sweeps.launchers.local", "sweeps.tuning.search_space", "sweeps.tuning.study", "sweeps.tuning.tuner",
]  # fmt: skip


def modules() -> dict[str, Path]:
    """Every module of ours by its dotted name."""
    found = {"sweep": ROOT / "sweep.py"}
    for package in FLOORS:
        for path in sorted((ROOT / package).rglob("*.py")) if package != "sweep" else ():
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


MODULES = modules()


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text())


def imports(name: str, node: ast.AST) -> Iterator[str]:
    """The modules of ours that an import statement of module `name` loads."""
    if isinstance(node, ast.Import):
        named = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"{name}: imports are absolute"
        module = node.module or ""
        inside = [f"{module}.{alias.name}" for alias in node.names]
        # `from package import module` loads the module; else what is named stands in `module`
        named = [i if i in MODULES else module for i in inside]
    else:
        return
    yield from (n for n in named if n in MODULES)


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Statements that run when the module is imported (no function's, no type checker's)."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield child
        yield from at_import(child)


def public(name: str) -> Iterator[tuple[str, ast.AST]]:
    """Public functions and classes, and public methods of classes that derive from none.

    (What overrides a method is explained where the method is declared.)
    """
    for node in tree(name).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            yield f"{name}.{node.name}", node
            original = isinstance(node, ast.ClassDef) and not node.bases
            for inner in node.body if original else ():
                if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                    yield f"{name}.{node.name}.{inner.name}", inner


def test_there_is_a_house() -> None:
    assert len(MODULES) > 40
    assert {name.split(".")[0] for name in MODULES} == set(FLOORS)


@pytest.mark.parametrize("name", MODULES)
def test_imports_only_point_down(name: str) -> None:
    """Also those inside functions and for type checkers alone."""
    mine = name.split(".")[0]
    for node in ast.walk(tree(name)):
        for other in imports(name, node):
            package = other.split(".")[0]
            assert package == mine or FLOORS[package] < FLOORS[mine], f"{name} imports {other}"


def test_no_module_is_part_of_a_circle() -> None:
    graph = {
        name: {o for node in at_import(tree(name)) for o in imports(name, node)} - {name}
        for name in MODULES
    }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path[path.index(name) :], name))
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_training_does_not_know_how_it_is_judged() -> None:
    reached, waiting = set(), ["uniclip.training.trainer"]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += [o for node in ast.walk(tree(name)) for o in imports(name, node)]
    assert not {r for r in reached if r.startswith("uniclip.evaluate") or r == "uniclip.run"}


def test_the_top_package_is_only_a_door() -> None:
    """The training hash passes over it: nothing but the lazy `load` may stand there."""
    for node in at_import(tree("uniclip")):
        assert not list(imports("uniclip", node))
    functions = [n.name for n in ast.walk(tree("uniclip")) if isinstance(n, ast.FunctionDef)]
    assert functions == ["__getattr__"]


def test_the_front_door_is_free_of_heavy_libraries() -> None:
    code = (
        "import importlib, sys\n"
        f"for name in {FRONT_DOOR!r}:\n"
        "    importlib.import_module(name)\n"
        f"    loaded = {HEAVY!r} & set(sys.modules)\n"
        "    assert not loaded, f'{name} imports {sorted(loaded)}'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr.splitlines()[-1]


def test_the_verbs_that_only_read_start_without_numpy() -> None:
    """It takes a tenth of a second, which `list` and `plan` have no use for."""
    code = "import sys, sweeps.cli.verbs\nassert not {'numpy', 'packaging', *%r} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code % HEAVY], cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-300:]


@pytest.mark.parametrize("name", MODULES)
def test_what_is_public_is_explained(name: str) -> None:
    if MODULES[name].read_text().strip():
        assert ast.get_docstring(tree(name)), f"{name} has no docstring"
    lacking = [n for n, node in public(name) if not ast.get_docstring(node)]  # type: ignore[arg-type]
    assert lacking == []


@pytest.mark.parametrize("name", MODULES)
def test_a_function_fits_a_glance_and_a_module_a_sitting(name: str) -> None:
    long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(tree(name))
        if isinstance(node, ast.FunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= FUNCTION_LINES
    ]
    assert long == []
    lines = MODULES[name].read_text().splitlines()
    assert len(lines) <= MODULE_LINES
    assert max(map(len, lines), default=0) <= COLUMNS


@pytest.mark.parametrize("name", MODULES)
def test_no_loose_ends(name: str) -> None:
    text = MODULES[name].read_text()
    assert text.isascii()
    assert not re.search(r"\b(TODO|FIXME|XXX|raise NotImplementedError)\b", text)
    assert not re.search(r"/work/|/root/|/home/\w", text), "a path of one machine"
    assert not re.search(
        r"(src|href)\s*=\s*['\"]?http|@import\s+['\"]?http|urlopen|requests\.", text
    )


@pytest.mark.parametrize("name", MODULES)
def test_no_global_random_state(name: str) -> None:
    """All chance comes from `uniclip.rng`; torch's generators are seeded in forks only."""
    text = MODULES[name].read_text()
    assert not re.search(r"np\.random\.(seed|rand|randn|choice|shuffle|permutation)\b", text)
    assert not re.search(r"^\s*(import random|from random import)", text, re.M)


def test_yaml_of_ours_is_packaged() -> None:
    listed = (ROOT / "pyproject.toml").read_text()
    for package in FLOORS:
        if list((ROOT / package).rglob("*.yaml")):
            assert f'{package} = ["conf/**/*.yaml"]' in listed


def test_make_soak_leaves_no_full_count_out() -> None:
    """Every file with a test of full counts is collected by the commands that `make soak` runs."""
    asked = ["env", "--unset=MAKEFLAGS", "--unset=ARGS", "make", "-n", "soak"]
    recipe = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True)
    commands = [line for line in recipe.stdout.splitlines() if " pytest " in line]
    collected = ""
    for command in commands:
        here = command.replace(".venv/bin/python", sys.executable) + " --collect-only -q"
        done = subprocess.run(here, cwd=ROOT, shell=True, capture_output=True, text=True)
        collected += done.stdout
    marked = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("test_*.py")
        if "pytest.mark.soak" in path.read_text() and path != Path(__file__)
    ]
    assert len(marked) > 5
    assert [name for name in marked if name not in collected] == []
