"""An index of the results of a store: what the files of its runs contain, read once.

The index is an SQLite file in the user's cache folder; the store stays plain files. It holds the
content of a file, or what is computed from several, beside their stat signatures
(`uniclip.io.file_digests`), and is used only while the files have these signatures: whoever adds,
deletes, replaces or extends a file of a run, on whatever machine, changes what is read next. A file
that was changed within the last seconds is always read. Every row carries a checksum.

So the index may be deleted at any time, a process may be killed while it writes, and two may write
at once: a row that is missing, damaged or out of date costs the time to read files again.

Only the user can read it, since it copies records of stores that others may not read.
"""

from __future__ import annotations

import dataclasses
import os
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from uniclip.io.file_digests import is_settled, read_signature
from uniclip.io.garbage_collection import pause_garbage_collection
from uniclip.io.memo import get_cache_folder
from uniclip.store import history
from uniclip.store.run_files import RunFiles
from uniclip.store.run_records import (
    AttemptEnd,
    ClaimRecord,
    DatasetScores,
    Heartbeat,
    Outcome,
    Score,
)
from uniclip.store.store import Store

Record = TypeVar("Record")
Value = TypeVar("Value")
FOLDER = "results"
VERSION = 1
"""Raised when the rows are encoded differently, or when the code of a derived value outside
`uniclip.store.history` computes another one."""
MAX_UNSAVED_ROWS = 2000
"""Rows that are written at once, in one transaction."""
LOCK_TIMEOUT_SECONDS = 1.0
"""Longest wait for another process that writes; after it this one goes on without the index."""


RECORDS, DERIVED, DIGESTS = "records", "derived", "digests"
"""The parts of a run: its small files, what is computed from its files, and their digests."""


class _Entry(NamedTuple):
    """A value, and the signatures of the files that it depends on."""

    signatures: tuple[tuple[int, ...], ...]
    value: msgspec.Raw


_Row = dict[str, _Entry]
"""Name -> entry, for the values of one part of a run."""
_row_decoder = msgspec.msgpack.Decoder(_Row)
EMPTY_ROW = msgspec.msgpack.encode({})


@contextmanager
def use_index(store: Store) -> Iterator[Store]:
    """Yield the store as it is now, whose runs are read through the index.

    Each file is read, or compared with the index, once: when it is first asked for. This is for
    gathering results. What claims, executes or changes a run reads its files themselves, and so
    does what reads one small file of each run, which takes no longer.
    """
    index = ResultsIndex(store.root)
    try:
        with pause_garbage_collection():
            yield Store(store.root, index.open_run)
    finally:
        index.close()


def locate_index(root: Path) -> Path:
    """Return the file of the index of the store at `root`."""
    name = blake2b(os.fsencode(root), digest_size=16).hexdigest()
    return get_cache_folder() / FOLDER / f"{name}.sqlite"


class ResultsIndex:
    """The rows of one store, each a part of a run.

    Args:
        root: The store's folder.
    """

    def __init__(self, root: Path) -> None:
        self._runs_path, self._path = root / "runs", locate_index(root)
        self._connection: sqlite3.Connection | None = None
        self._runs: dict[str, RunFiles] = {}
        self._unsaved: dict[tuple[str, str], _Row] = {}
        if os.path.exists(self._path):
            self._connect()

    def open_run(self, folder: Path) -> RunFiles:
        """Return the files of a run, read through this index."""
        name = folder.name
        if name not in self._runs:
            self._runs[name] = _IndexedRunFiles(str(folder), name, self)
        return self._runs[name]

    def read_rows(self, run_id: str) -> dict[str, bytes]:
        """Return part -> encoded entries of a run; not those that are damaged."""
        if self._connection is None:
            return {}
        try:
            rows = self._connection.execute(
                "SELECT part, checksum, data FROM rows WHERE run = ?", (run_id,)
            ).fetchall()
        except sqlite3.Error as error:
            self._disconnect(remove=not isinstance(error, sqlite3.OperationalError))
            return {}
        return {
            part: data
            for part, checksum, data in rows
            if isinstance(data, bytes) and checksum == _compute_checksum(run_id, part, data)
        }

    def put_row(self, run_id: str, part: str, row: _Row) -> None:
        """Write the entries of a part of a run, with the next transaction."""
        self._unsaved[run_id, part] = row
        if len(self._unsaved) >= MAX_UNSAVED_ROWS:
            self.save()

    def close(self) -> None:
        """Write what is to be written, and forget the runs, which refer to this index."""
        self.save()
        self._disconnect()
        self._runs.clear()

    def save(self) -> None:
        """Write the rows that were put, and remove those of runs that are gone.

        Nothing is written if another process writes for long, or the disk is full.
        """
        unsaved, self._unsaved = self._unsaved, {}
        if not unsaved:
            return
        if self._connection is None or not os.path.exists(self._path):
            self._disconnect()
            self._connect()
        if self._connection is not None:
            encoded = ((key, msgspec.msgpack.encode(row)) for key, row in unsaved.items())
            rows = [(*key, _compute_checksum(*key, data), data) for key, data in encoded]
            with suppress(sqlite3.Error):
                self._write(self._connection, rows)

    def _write(self, connection: sqlite3.Connection, rows: list[tuple[Any, ...]]) -> None:
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("REPLACE INTO rows VALUES (?, ?, ?, ?)", rows)
            indexed_runs = {
                run_id for (run_id,) in connection.execute("SELECT DISTINCT run FROM rows")
            }
            with suppress(OSError):
                removed_runs = indexed_runs - set(os.listdir(self._runs_path))
                connection.executemany(
                    "DELETE FROM rows WHERE run = ?", [(r,) for r in removed_runs]
                )

    def _connect(self) -> None:
        """Open the index; a damaged one, or one of another version of this code, is emptied.

        Without an index, if that is impossible, all files are read.
        """
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.parent.chmod(0o700)
        for _ in range(2):
            try:
                self._connection = sqlite3.connect(
                    self._path, timeout=LOCK_TIMEOUT_SECONDS, isolation_level=None
                )
                _prepare(self._connection)
                return
            except sqlite3.Error as error:  # operational: it is locked, or cannot be written
                self._disconnect(remove=not isinstance(error, sqlite3.OperationalError))

    def _disconnect(self, *, remove: bool = False) -> None:
        """Close the index; `remove` deletes it, since it is damaged."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        for suffix in ("", "-journal") if remove else ():
            with suppress(OSError):
                os.unlink(f"{self._path}{suffix}")


class _IndexedRunFiles(RunFiles):
    """The files of a run, read through the index."""

    def __init__(self, folder: str, run_id: str, index: ResultsIndex) -> None:
        super().__init__(folder)
        self._run_id, self._index = run_id, index
        self._encoded_rows: dict[str, bytes] | None = None
        self._rows: dict[str, _Row] = {}
        self._signatures: dict[str, tuple[int, ...]] = {}
        self._values: dict[str, Any] = {}
        self._names: dict[str, list[str]] = {}

    def read_record(self, cls: type[Record], name: str) -> Record | None:
        if name not in self._values:
            read = partial(super().read_record, cls, name)
            self._values[name] = self._look_up(RECORDS, name, (name,), cls, read)
        record: Record | None = self._values[name]
        return record

    def read_json(self, name: str) -> Any:
        if name not in self._values:
            read = partial(super().read_json, name)
            self._values[name] = self._look_up(RECORDS, name, (name,), Any, read)
        return self._values[name]

    def compute_digest(self, name: str) -> bytes | None:
        compute = partial(super().compute_digest, name)
        return self._look_up(DIGESTS, name, (name,), bytes, compute)

    def derive(
        self, name: str, sources: Sequence[str], value_type: Any, compute: Callable[[], Value]
    ) -> Value:
        return self._look_up(DERIVED, name, sources, value_type, compute)

    def has_file(self, name: str) -> bool:
        return self._get_signature(name) != ()

    def list_folder(self, name: str) -> list[str]:
        if name not in self._names:
            self._names[name] = super().list_folder(name)
        return self._names[name]

    def _look_up(
        self,
        part: str,
        name: str,
        sources: Sequence[str],
        value_type: Any,
        compute: Callable[[], Value],
    ) -> Value:
        """Return what depends on some files: from the index, or else computed and put there."""
        signatures = tuple([self._get_signature(source) for source in sources])
        entry = self._get_row(part).get(name)
        if entry is not None and entry.signatures == signatures:
            try:
                indexed: Value = _make_decoder(value_type).decode(entry.value)
                return indexed
            except msgspec.MsgspecError:
                pass  # damaged: it is computed again
        value = compute()
        if all(map(is_settled, signatures)) and self._are_current(sources, signatures):
            with suppress(TypeError, ValueError, OverflowError):  # such as a number of 100 digits
                encoded = msgspec.Raw(msgspec.msgpack.encode(value))
                self._get_row(part)[name] = _Entry(signatures, encoded)
                self._index.put_row(self._run_id, part, self._get_row(part))
        return value

    def _are_current(self, sources: Sequence[str], signatures: Sequence[tuple[int, ...]]) -> bool:
        """Return whether files have these stat signatures now."""
        return all(
            _read_signature(f"{self.folder}/{name}") == signature
            for name, signature in zip(sources, signatures)
        )

    def _get_row(self, part: str) -> _Row:
        """Return the entries of a part of the run: what the index has, and what was put there."""
        row = self._rows.get(part)
        if row is not None:
            return row
        if self._encoded_rows is None:
            self._encoded_rows = self._index.read_rows(self._run_id)
        self._rows[part] = {}
        with suppress(msgspec.MsgspecError):  # damaged: all is computed again
            self._rows[part] = _row_decoder.decode(self._encoded_rows.get(part, EMPTY_ROW))
        return self._rows[part]

    def _get_signature(self, name: str) -> tuple[int, ...]:
        """Return the stat signature of a file when it was first asked for; () without a file."""
        signature = self._signatures.get(name)
        if signature is None:
            signature = self._signatures[name] = _read_signature(f"{self.folder}/{name}")
        return signature


def _read_signature(path: str) -> tuple[int, ...]:
    try:
        return read_signature(path)
    except OSError:
        return ()


def _prepare(connection: sqlite3.Connection) -> None:
    """Create the table, unless it is there and of this version."""
    connection.execute("PRAGMA synchronous = OFF")  # the checksums find what a crash leaves
    version = _compute_version()
    if connection.execute("PRAGMA user_version").fetchone() == (version,):
        return
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("DROP TABLE IF EXISTS rows")
        connection.execute(
            "CREATE TABLE rows (run TEXT, part TEXT, checksum INTEGER, data BLOB, "
            "PRIMARY KEY (run, part)) WITHOUT ROWID"
        )
        connection.execute(f"PRAGMA user_version = {version}")


_make_decoder = cache(msgspec.msgpack.Decoder)
"""Decoders are made once for each type: making one takes longer than decoding a record."""


@cache
def _compute_version() -> int:
    """Return a positive number of 31 bits that names the records and the code of the history."""
    fields = [
        (record.__name__, [(f.name, str(f.type)) for f in dataclasses.fields(record)])
        for record in (Outcome, ClaimRecord, Heartbeat, AttemptEnd, DatasetScores, Score)
    ]
    code = zlib.crc32(Path(history.__file__).read_bytes())
    return zlib.crc32(repr((VERSION, fields, code)).encode()) >> 1 or 1


def _compute_checksum(run_id: str, part: str, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(f"{run_id}/{part}".encode()))
