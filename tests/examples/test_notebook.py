"""The example of a notebook: the bundled results of a small sweep, in an executed program."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import nbformat
import pytest

import uniclip
from tests.helpers import ROOT
from tests.helpers.command_line import execute

README = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"`python sweep\.py ((?:merge|notebook) [^`]+)`", README)


def test_the_notebook_of_the_bundled_sweep_is_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    monkeypatch.chdir(tmp_path)
    assert [words.split()[0] for words in COMMANDS] == ["merge", "notebook"]
    for words in COMMANDS:
        assert execute(*shlex.split(words)) == 0, words
    notebook = nbformat.read(tmp_path / "example.ipynb", as_version=4)
    outputs = [o for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs]
    assert len(outputs) > 15
    assert [o for o in outputs if o.output_type == "error"] == []
    values = uniclip.open_store("example").scores("components")["value"].unstack("arm")
    (effect,) = (values["full"] - values["clip"]).loc[("scenes", "retrieval.caption.r1")]
    texts = "".join(o.data.get("text/plain", "") for o in outputs if "data" in o)
    assert f"{effect:.6f}" in texts
