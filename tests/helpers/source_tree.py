"""The modules of the packages, and the graph of their imports, read from the source."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from tests.helpers import ROOT

PACKAGES = ("uniclip", "ablations", "analysis", "sweeps")


def find_modules(root: Path = ROOT) -> dict[str, Path]:
    """Return the path of every module of the packages, by its dotted name."""
    modules = {"sweep": root / "sweep.py"}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            modules[".".join(parts).removesuffix(".__init__")] = path
    return modules


MODULES = find_modules()


@cache
def parse_module(name: str) -> ast.Module:
    """Return the syntax tree of a module."""
    return ast.parse(MODULES[name].read_text())


def resolve_import(name: str, node: ast.AST) -> Iterator[str]:
    """Yield the modules of the packages that one import statement of module `name` loads."""
    if isinstance(node, ast.Import):
        targets = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"{name}: imports are absolute"
        source = node.module or ""
        # `from package import module` loads the module; any other name is defined in `source`
        targets = [
            f"{source}.{alias.name}" if f"{source}.{alias.name}" in MODULES else source
            for alias in node.names
        ]
    else:
        return
    yield from (target for target in targets if target in MODULES)


def walk_without_type_checking(node: ast.AST) -> Iterator[ast.AST]:
    """Yield every node below `node`, except those under `if TYPE_CHECKING:`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield child
        yield from walk_without_type_checking(child)


def import_graph() -> dict[str, set[str]]:
    """Return what each module imports, anywhere in it, except under `if TYPE_CHECKING:`."""
    return {
        name: {
            target
            for node in walk_without_type_checking(parse_module(name))
            for target in resolve_import(name, node)
        }
        - {name}
        for name in MODULES
    }


def find_cycle(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """Return one cycle of a directed graph, its first node repeated at the end; else []."""
    finished: set[str] = set()

    def search(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in finished:
            return []
        for target in sorted(graph.get(node, ())):
            if cycle := search(target, [*path, node]):
                return cycle
        finished.add(node)
        return []

    for start in graph:
        if cycle := search(start, []):
            return cycle
    return []
