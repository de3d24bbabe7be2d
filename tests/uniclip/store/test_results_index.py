"""The index of results: whatever happens to the store or to the index, the files are what is read.

The truth in each test is a store read without an index.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
import weakref
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import ROOT, fake_sweep
from tests.helpers.fake_sweep import EVALUATION, Truth
from uniclip.errors import UserError
from uniclip.io import file_digests
from uniclip.io.atomic import append_jsonl, atomic_write
from uniclip.io.garbage_collection import pause_garbage_collection
from uniclip.store import RunFolder, Store, history, results_index, run_files
from uniclip.store.results_index import locate_index, use_index

READERS = {
    "outcome": lambda run: run.read_outcome(),
    "attempts": lambda run: run.list_attempts(),
    "claims": lambda run: [run.get_attempt(n).read_claim() for n in run.list_attempts()],
    "ends": lambda run: [run.get_attempt(n).read_end() for n in run.list_attempts()],
    "beats": lambda run: [run.get_attempt(n).read_heartbeat() for n in run.list_attempts()],
    "seconds": lambda run: [
        run.get_attempt(n).read_training_seconds() for n in run.list_attempts()
    ],
    "scores": lambda run: run.read_scores("openmoji", EVALUATION),
    "files": lambda run: sorted(run.list_score_paths()),
    "spec": lambda run: run.read_spec() if run.has_spec() else None,
    "history": lambda run: repr(run.read_history_columns()),
    "digest": lambda run: run.files.compute_digest("outcome.json"),
}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store of 13 runs, whose files count as old enough to be indexed."""
    monkeypatch.setenv("UNICLIP_CACHE", str(tmp_path / "cache"))
    truth = Truth(seeds=(0,), diverged=(("clip", 0),), missing=(("none", 0),))
    store, _ = fake_sweep.make(tmp_path / "store", truth)
    monkeypatch.setattr(file_digests, "MIN_AGE_SECONDS", -60.0)
    return store


def read_all(store: Store) -> dict[str, dict[str, Any]]:
    runs = store.iter_runs()
    return {run.id: {name: read(run) for name, read in READERS.items()} for run in runs}


def read_indexed(store: Store) -> dict[str, dict[str, Any]]:
    with use_index(store) as indexed:
        return read_all(indexed)


def test_the_runs_are_freed_without_a_search_for_cycles(store: Store) -> None:
    with pause_garbage_collection():
        with use_index(store) as indexed:
            files = weakref.ref(indexed.get_run(fake_sweep.run_id("full", 0)).files)
            assert files() is not None
        assert files() is None


def get_run(store: Store, arm: str = "full") -> RunFolder:
    return store.get_run(fake_sweep.run_id(arm, 0))


def test_a_second_reading_opens_no_file(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_indexed(store) == read_all(store)

    def refuse(*_: object) -> None:
        raise AssertionError("a file was read")

    expected = read_all(store)
    monkeypatch.setattr(run_files, "compute_digest", refuse)
    monkeypatch.setattr(RunFolder, "read_history", refuse)
    monkeypatch.setattr("uniclip.store.run_folder.read_jsonl", refuse)
    monkeypatch.setattr("uniclip.store.json_io.decode_record", refuse)
    monkeypatch.setattr(run_files, "read_json", refuse)
    assert read_indexed(store) == expected


def start_again(store: Store) -> None:
    """The run is moved aside, and trained again."""
    run = get_run(store)
    store.supersede(run)
    fake_sweep.begin(store, run.id, host="elsewhere")


def replace_by_a_twin(store: Store) -> None:
    """The scores are another file of the same size and times."""
    path = get_run(store).scores_path("openmoji", EVALUATION)
    status, text = path.stat(), path.read_text()
    atomic_write(path, text.replace("0.8,", "0.7,").encode())
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    assert path.read_text() != text


def change_in_place(store: Store) -> None:
    """Bytes of the outcome are overwritten, its time of modification set back."""
    path = get_run(store).path / "outcome.json"
    status, text = path.stat(), path.read_text()
    path.write_text(text.replace('"step": 200', '"step": 199'))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.read_text() != text


CHANGES = {
    "a run is added": lambda s: fake_sweep.begin(s, fake_sweep.run_id("none", 0)),
    "a run is deleted": lambda s: shutil.rmtree(get_run(s).path),
    "a run starts again": start_again,
    "an attempt is added": lambda s: fake_sweep.fail(s, get_run(s).id, seconds=3.0),
    "the log grows": lambda s: append_jsonl(
        get_run(s).get_attempt(1).metrics_path, {"step": 900, "attempt_seconds": 7.5}
    ),
    "scores are removed": lambda s: get_run(s).scores_path("openmoji", EVALUATION).unlink(),
    "scores are replaced": replace_by_a_twin,
    "the outcome is edited": change_in_place,
    "the store is another": lambda s: (
        s.root.rename(s.root.with_name("old")),
        fake_sweep.make(s.root, Truth(seeds=(0,), clip=0.7)),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_is_read(store: Store, change: str) -> None:
    before = read_indexed(store)
    CHANGES[change](store)
    truth = read_all(store)
    assert truth != before
    assert read_indexed(store) == truth
    assert read_indexed(store) == truth


def test_a_damaged_file_is_an_error_every_time(store: Store) -> None:
    read_indexed(store)
    (get_run(store).path / "outcome.json").write_text("{")
    for _ in range(2):
        with use_index(store) as indexed, pytest.raises(UserError, match=r"outcome\.json is dam"):
            get_run(indexed).read_outcome()


def test_what_changed_just_now_is_not_indexed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("UNICLIP_CACHE", str(store.root.parent / "cache"))
    read_indexed(store)
    assert not locate_index(store.root).exists()


DAMAGES = {
    "deleted": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "no database": lambda path: path.write_bytes(b"x" * 5000),
    "cut off": lambda path: os.truncate(path, path.stat().st_size // 2),
    "overwritten": lambda path: path.write_bytes(
        path.read_bytes()[:8192] + b"\x5a" * 4096 + path.read_bytes()[12288:]
    ),
    "of another version": lambda path: sqlite3.connect(path).execute("PRAGMA user_version = 5"),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_index_costs_only_time(store: Store, damage: str) -> None:
    truth = read_indexed(store)
    DAMAGES[damage](locate_index(store.root))
    assert read_indexed(store) == truth
    assert read_indexed(store) == truth


def test_a_flipped_bit_is_noticed(store: Store) -> None:
    """A value of a row changes, and the row still decodes."""
    truth = read_indexed(store)
    with sqlite3.connect(locate_index(store.root)) as connection:
        rows = connection.execute("SELECT run, data FROM rows WHERE part = 'records'").fetchall()
        changed = [(data.replace(b"AVX2", b"AVX3"), run) for run, data in rows]
        assert changed[0][0] != rows[0][1]
        connection.executemany(
            "UPDATE rows SET data = ? WHERE run = ? AND part = 'records'", changed
        )
    assert read_indexed(store) == truth


@pytest.mark.parametrize("value", ["'text'", "3", "NULL"])
def test_a_row_of_another_type_is_damaged(store: Store, value: str) -> None:
    """SQLite keeps the type beside each value: a flipped bit may change it."""
    truth = read_indexed(store)
    with sqlite3.connect(locate_index(store.root)) as connection:
        connection.execute(f"UPDATE rows SET data = {value} WHERE part = 'records'")
    assert read_indexed(store) == truth
    assert read_indexed(store) == truth


def test_an_index_that_cannot_be_written_is_done_without(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store.root / "file").write_text("")
    monkeypatch.setenv("UNICLIP_CACHE", str(store.root / "file"))
    assert read_indexed(store) == read_all(store)


def test_rows_of_deleted_runs_are_removed(store: Store) -> None:
    read_indexed(store)
    shutil.rmtree(get_run(store).path)
    fake_sweep.fail(store, get_run(store, "none").id, seconds=1.0)
    read_indexed(store)
    with sqlite3.connect(locate_index(store.root)) as connection:
        runs = {run for (run,) in connection.execute("SELECT run FROM rows")}
    assert runs == {run.id for run in store.iter_runs()}


def test_a_locked_index_is_done_without(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results_index, "LOCK_TIMEOUT_SECONDS", 0.05)
    truth = read_indexed(store)
    with sqlite3.connect(locate_index(store.root)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        assert read_indexed(store) == truth


WRITER = """
import sys
from pathlib import Path
from tests.uniclip.store.test_results_index import read_indexed
from uniclip.io import file_digests
from uniclip.store import Store, results_index

file_digests.MIN_AGE_SECONDS, results_index.MAX_UNSAVED_ROWS = -60.0, 1
print("ready", flush=True)
for _ in range(int(sys.argv[2])):
    results_index.locate_index(Path(sys.argv[1])).unlink(missing_ok=True)
    read_indexed(Store(sys.argv[1]))
"""


def start_writer(store: Store, repetitions: int) -> subprocess.Popen[str]:
    """Start a process that deletes the index and writes it again, row by row, many times."""
    command = [sys.executable, "-c", WRITER, str(store.root), str(repetitions)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": "."}
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.slow
def test_processes_write_at_once_and_are_killed(store: Store) -> None:
    truth = read_all(store)
    writers = [start_writer(store, 1000) for _ in range(2)]
    try:
        for writer in writers:
            time.sleep(0.3)
            assert read_indexed(store) == truth
            writer.send_signal(signal.SIGKILL)
            writer.wait()
            assert read_indexed(store) == truth
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()
    assert read_indexed(store) == truth
    assert read_indexed(store) == truth


def test_only_the_user_reads_the_index(store: Store) -> None:
    """Also if an older version of this code has made its folder."""
    folder = locate_index(store.root).parent
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    read_indexed(store)
    assert locate_index(store.root).exists()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_another_code_of_the_history_empties_the_index(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = results_index._compute_version()
    changed_file = tmp_path / "history.py"
    changed_file.write_bytes(Path(history.__file__).read_bytes() + b"# changed\n")
    monkeypatch.setattr(history, "__file__", str(changed_file))
    results_index._compute_version.cache_clear()
    try:
        assert results_index._compute_version() != before
    finally:
        results_index._compute_version.cache_clear()
