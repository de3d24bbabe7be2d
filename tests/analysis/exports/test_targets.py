"""Targets are found by name, and one whose library is missing is one line."""

from __future__ import annotations

import subprocess
import sys

import pytest

from analysis.exports.targets import TARGETS, get_target, load_exporter
from tests.helpers import ROOT
from uniclip.errors import UserError

LIBRARIES = {target.library for target in TARGETS.values() if target.library}


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(UserError, match="tensorboard"):
        get_target("tensorbord")


@pytest.mark.parametrize("name", [n for n, t in TARGETS.items() if t.library])
def test_a_missing_library_is_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    library = TARGETS[name].library
    assert library is not None
    for module in list(sys.modules):
        if module.split(".")[0] == library or module == f"analysis.exports.{TARGETS[name].module}":
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UserError, match=rf"needs the package {library}: pip install '.+\[.+\]'"):
        load_exporter(name)


def test_the_command_line_imports_no_library_of_a_target() -> None:
    code = (
        "import sys\n"
        "from sweeps.cli.main import main\n"
        "assert main(['export', 'tensorboar']) == 2\n"
        f"assert not {LIBRARIES | {'torch'}!r} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
    assert "did you mean" in done.stderr or "tensorboard" in done.stderr
