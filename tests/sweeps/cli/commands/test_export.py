"""`export`: what is written where, which cells, and what is refused."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from analysis.exports.targets import TARGETS
from tests.helpers import fake_sweep
from tests.helpers.command_line import execute
from tests.helpers.fake_sweep import Truth
from uniclip.store import Store

SWEEP = fake_sweep.plan(Truth()).sweep_id


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return fake_sweep.make(tmp_path_factory.mktemp("export"), Truth(seeds=(0, 1)))[0]


def test_a_sweep_is_exported_into_the_store(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = store.export_path(SWEEP, "csv")
    words = ("export", "csv", "components", f"store={store.root}")
    assert execute(*words) == 0
    assert capsys.readouterr().out == f"csv: 4 new, 0 changed, 0 unchanged in {folder}\n"
    assert len(pd.read_csv(folder / "runs.csv")) == len(fake_sweep.plan(Truth(seeds=(0, 1))).cells)
    assert execute(*words, "--json") == 0
    records = json.loads(capsys.readouterr().out)
    assert {(r["change"], r["to"]) for r in records} == {("unchanged", str(folder))}


def test_named_cells_are_exported_alone(store: Store, tmp_path: Path) -> None:
    words = ("export", "csv", SWEEP, "full/1", "clip/0", f"--to={tmp_path}", f"store={store.root}")
    assert execute(*words) == 0
    frame = pd.read_csv(tmp_path / "runs.csv")
    assert list(zip(frame["arm"], frame["seed"])) == [("full", 1), ("clip", 0)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "export takes a target: csv, parquet, tensorboard"),
        (("csvs", "components"), "csv"),
        (("csv", "components", "full/9"), "full/9"),
        (("csv", "components", "--to=https://user:secret@host/x"), "to https://host/x"),
        (("csv", "ablation=losses"), "has not been run"),
    ],
)
def test_what_cannot_be_exported_is_one_line(
    store: Store, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    assert execute("export", *words, f"store={store.root}") == 2
    error = capsys.readouterr().err
    assert message in error
    assert "secret" not in error
    assert len(error.splitlines()) == 1


def test_the_hint_names_a_folder_with_a_space_as_one_word(
    store: Store,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(TARGETS, "csv", replace(TARGETS["csv"], hint="tool --logdir {folder}"))
    folder = tmp_path / "my board"
    assert execute("export", "csv", SWEEP, f"--to={folder}", f"store={store.root}") == 0
    hint = capsys.readouterr().out.splitlines()[-1].removeprefix("open it: ")
    assert shlex.split(hint) == ["tool", "--logdir", str(folder)]
