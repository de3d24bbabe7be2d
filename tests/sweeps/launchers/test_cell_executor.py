"""The module that executes cells must have the functions that workers call."""

from __future__ import annotations

import inspect
import sys
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from sweeps.launchers import cell_executor
from sweeps.launchers.cell_executor import CellExecutor, DistributedCellExecutor, list_functions
from tests.helpers import trivial_cell
from uniclip.errors import UserError

if TYPE_CHECKING:
    TRIVIAL: CellExecutor = trivial_cell


def test_the_default_module_executes_cells_in_several_processes() -> None:
    module = cell_executor.load_distributed_executor("uniclip.cell")
    for name in list_functions(DistributedCellExecutor):
        expected = inspect.signature(getattr(DistributedCellExecutor, name)).parameters
        parameters = inspect.signature(getattr(module, name)).parameters
        assert len(parameters) == len(expected) - 1, name  # the protocol has self


def test_a_module_of_single_process_cells_is_accepted_for_these_only() -> None:
    assert cell_executor.load_executor(trivial_cell.__name__) is sys.modules[trivial_cell.__name__]
    with pytest.raises(UserError, match="trivial_cell cannot execute cells: it lacks broadcast_"):
        cell_executor.load_distributed_executor(trivial_cell.__name__)


def test_a_module_without_the_functions_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "empty_executor", ModuleType("empty_executor"))
    message = "empty_executor cannot execute cells: it lacks execute, resolve_numerics_class"
    with pytest.raises(UserError, match=message):
        cell_executor.load_executor("empty_executor")
