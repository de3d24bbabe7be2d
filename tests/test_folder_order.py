"""The order of the folders inside each package: each imports only what stands before it."""

from __future__ import annotations

import pytest

from tests.helpers import source_tree
from tests.helpers.source_tree import MODULES

ORDER: dict[str, str] = {
    "uniclip": """
        dependencies errors < io < rng < config < distributed < numerics < store < identity
        < augmentation < models losses < data < methods < checkpoints < training < evaluate
        < shared_evaluation evaluation_heartbeat < run_evaluation < frames run commands < cell
    """,
    "uniclip.evaluate": """
        cache metrics outcome_clusters prompts progress < datasets < protocols < features < checks
        < scoring < benchmarks < comparison side_by_side loaded_model __init__
        < planned leakage score_table < __main__
    """,
    "ablations": "schema < designs listed < plan < audit",
    "analysis": """
        statistics < formatting collect < results < tables figures review < frames < page
        < report exports
    """,
    "sweeps": """
        slurm_environment slurm_reasons rank_processes < slurm < claims < config < costs < launchers
        < monitor single_run < review server doctor < bundles < merging controller < tuning
        < cli
    """,
}
"""For each package its folders and modules, lowest first; what stands side by side is unrelated."""


def levels(order: str) -> dict[str, int]:
    """Return the level of each folder in an order that is written with `<`."""
    return {name: i for i, group in enumerate(order.split("<")) for name in group.split()}


def folder_of(module: str, package: str) -> str:
    """Return the folder or module directly inside `package` to which `module` belongs."""
    return module.removeprefix(package).removeprefix(".").split(".")[0] or "__init__"


def is_inside(module: str, package: str) -> bool:
    """Return whether a module is the package or lies in it."""
    return f"{module}.".startswith(f"{package}.")


def find_violations(graph: dict[str, set[str]], package: str) -> list[str]:
    """Return every import inside `package` that does not point to a lower level."""
    level = levels(ORDER[package])
    violations = []
    for module, targets in graph.items():
        for target in targets:
            if not (is_inside(module, package) and is_inside(target, package)):
                continue
            source, destination = folder_of(module, package), folder_of(target, package)
            # a package's own __init__ stands where ORDER says; where it does not, it holds nothing
            if source == destination or destination not in level:
                continue
            if source in level and level[destination] >= level[source]:
                violations.append(f"{module} imports {target}")
    return sorted(violations)


@pytest.mark.parametrize("package", ORDER)
def test_every_folder_has_a_place(package: str) -> None:
    folders = {folder_of(m, package) for m in MODULES if is_inside(m, package)} - {"__init__"}
    assert folders == set(levels(ORDER[package])) - {"__init__"}


@pytest.mark.parametrize("package", ORDER)
def test_imports_follow_the_order_of_folders(package: str) -> None:
    assert find_violations(source_tree.import_graph(), package) == []


def test_an_import_that_is_turned_round_is_found() -> None:
    graph = source_tree.import_graph()
    assert "uniclip.io.atomic" in graph["uniclip.store.store"]
    graph["uniclip.io.atomic"].add("uniclip.store.store")
    assert find_violations(graph, "uniclip") == ["uniclip.io.atomic imports uniclip.store.store"]
    assert source_tree.find_cycle(graph)


def test_no_module_is_part_of_an_import_cycle() -> None:
    """Every import counts, also those inside functions; only type-checking imports do not."""
    assert source_tree.find_cycle(source_tree.import_graph()) == []


def test_no_folder_is_part_of_an_import_cycle() -> None:
    """At the depth of one folder inside each package; a loose module counts as a folder."""

    def place(module: str) -> str:
        return ".".join(module.split(".")[:2])

    graph: dict[str, set[str]] = {}
    for module, targets in source_tree.import_graph().items():
        graph.setdefault(place(module), set()).update(
            place(t) for t in targets if place(t) not in (place(module), t.split(".")[0])
        )
    for package in source_tree.PACKAGES:  # a package's own __init__ is no folder
        graph.pop(package, None)
    assert source_tree.find_cycle(graph) == []
