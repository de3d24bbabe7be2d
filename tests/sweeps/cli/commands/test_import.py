"""`sweep.py import`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.command_line import execute
from tests.helpers.imported_logs import write_log_folder

TABLE = "arm,seed,acc,rank\n" + "".join(
    f"{arm},{seed},{value + seed / 100},3\n"
    for seed in range(4)
    for arm, value in (("a", 0.5), ("b", 0.6))
)


def test_a_table_is_reported_and_marked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "my runs.csv").write_text(TABLE)
    store = f"store={tmp_path / 'store'}"
    words = ("import", str(tmp_path / "my runs.csv"), store, "--score=acc", "--score=rank:rank")
    assert execute(*words) == 0
    output = capsys.readouterr().out
    assert "2 arms, 8 runs, 8 of them new" in output
    assert "not audited" in output
    assert execute("report", "my_runs", store) == 0
    output = capsys.readouterr().out
    assert "not audited" in output
    assert "b vs. a" in output
    assert "+10.0" in output
    report = next((tmp_path / "store" / "reports").iterdir())
    for name in ("effects.md", "scores.md"):
        assert "provenance unverified" in (report / "tables" / name).read_text()
    assert execute("run", "my_runs", store) == 2
    assert "were imported, and nothing here can execute them" in capsys.readouterr().err


def test_logs_of_open_clip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(3):
        write_log_folder(tmp_path / "logs" / f"clip-{seed}", seed=seed, r1=0.25)
    store = f"store={tmp_path / 'store'}"
    assert execute("import", str(tmp_path / "logs"), store, "--name=oc", "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert (len(record["runs"]), record["new_runs"]) == (3, 3)
    assert execute("status", record["sweep"], store) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "takes one CSV file or one folder"),
        (("t.csv", "seeds=3"), "leave out seeds=3"),
        (("t.csv", "--score=f1"), "unknown score 'f1'"),
        (("t.csv", "--score=acc:price"), "unknown kind of a score 'price'"),
        (("t.csv", "--name=a b"), "is no name of a sweep"),
        (("t.csv", "--reference=c"), "unknown arm 'c'"),
    ],
)
def test_errors(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text(TABLE)
    assert execute("import", *words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "store").exists()
