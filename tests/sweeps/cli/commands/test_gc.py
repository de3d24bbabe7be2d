"""`gc`: deletes only what it lists, and only with --yes."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.claims import process
from tests.helpers.command_line import execute, read_files, write_finished_cell
from tests.helpers.shards import shards_config, write_shards
from uniclip.data.webdataset.index import open_index
from uniclip.store import Plan, Store


def test_gc_deletes_only_what_it_lists_and_only_with_yes(
    work_folder: Path, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(work_folder / "store")
    write_finished_cell(store, plan)
    finished_run, open_run = (store.get_run(c.run_id) for c in plan.cells[:2])
    assert open_run.claim_attempt(1, process.make_claim_record({})) is not None
    for run in (finished_run, open_run):
        run.get_attempt(1).checkpoints_path.mkdir(parents=True, exist_ok=True)
        (run.get_attempt(1).checkpoints_path / "10.safetensors").write_bytes(b"x" * 1000)
    (store.root / "superseded" / "r.1").mkdir(parents=True)
    (store.root / "exports").mkdir()
    (store.root / "exports" / "scores.csv").write_bytes(b"x" * 200_000)
    files = read_files(work_folder)
    assert execute("gc") == 0
    assert read_files(work_folder) == files
    output = capsys.readouterr().out
    assert "gc --yes" in output
    assert f"{store.root / 'exports'} (0.2 MB) is left" in output
    assert execute("gc", "--yes") == 0
    deleted_files = set(files) - set(read_files(work_folder))
    assert deleted_files == {str(finished_run.get_attempt(1).checkpoints_path / "10.safetensors")}
    assert not (store.root / "superseded").exists()


def test_gc_lists_indices_of_data_that_have_changed(
    work_folder: Path,
    plan: Plan,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UNICLIP_CACHE", str(work_folder / "cache"))
    write_finished_cell(Store(work_folder / "store"), plan)
    shard = Path(write_shards(work_folder / "shards", 20, 1)).parent / "00000.tar"
    config = shards_config(shard)
    old = open_index(config).folder
    assert execute("gc") == 0
    assert str(old) not in capsys.readouterr().out
    with open(shard, "ab") as stream:
        stream.write(bytes(512))
    new = open_index(config).folder
    assert execute("gc", "--yes") == 0
    assert f"deleted: {old} (" in capsys.readouterr().out
    assert (old.exists(), new.exists()) == (False, True)
