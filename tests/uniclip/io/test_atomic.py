"""Files are written once or rewritten as a whole, under races, kills and full disks; JSON lines."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import ROOT
from uniclip.io import atomic

PUBLISHERS, NAMES = 8, 50


def _publish_all(folder: str, publisher: int, barrier: Any, won: Any) -> None:
    barrier.wait()
    for name in range(NAMES):
        if atomic.write_once(Path(folder) / f"{name}.json", f"{publisher}\n".encode() * 100):
            won.put((name, publisher))


def test_of_racing_writers_exactly_one_creates_each_file(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    barrier, won = spawn.Barrier(PUBLISHERS, timeout=30), spawn.Queue()
    racers = [
        spawn.Process(target=_publish_all, args=(str(tmp_path), p, barrier, won))
        for p in range(PUBLISHERS)
    ]
    for racer in racers:
        racer.start()
    winners = [won.get(timeout=60) for _ in range(NAMES)]
    for racer in racers:
        racer.join(60)
        assert racer.exitcode == 0
    assert won.empty()
    assert sorted(name for name, _ in winners) == list(range(NAMES))
    for name, publisher in winners:
        assert (tmp_path / f"{name}.json").read_text() == f"{publisher}\n" * 100
    assert len(os.listdir(tmp_path)) == NAMES, "temporary files are left"


def test_a_second_write_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "name"
    assert atomic.write_once(path, b"first")
    assert not atomic.write_once(path, b"second")
    assert path.read_bytes() == b"first"
    assert os.listdir(path.parent) == ["name"]


def test_a_link_that_happened_counts_though_it_reports_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def lost_answer(source: Any, target: Any) -> None:
        link(source, target)
        raise OSError(errno.EIO, "the answer was lost")

    monkeypatch.setattr(os, "link", lost_answer)
    assert atomic.write_once(tmp_path / "name", b"data")
    finished = tmp_path / "finished"
    finished.write_bytes(b"weights")
    assert atomic.link_once(tmp_path / "weights", finished)
    monkeypatch.undo()
    assert not atomic.write_once(tmp_path / "name", b"other")
    assert (tmp_path / "name").read_bytes() == b"data"


def test_a_link_that_failed_is_an_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Any, target: Any) -> None:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(OSError, match="no room"):
        atomic.write_once(tmp_path / "name", b"data")
    assert os.listdir(tmp_path) == []
    (tmp_path / "taken").write_bytes(b"theirs")
    assert not atomic.write_once(tmp_path / "taken", b"data"), "somebody else's publication stands"


def test_a_disk_that_fills_while_writing_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "no room")

    (tmp_path / "kept").write_bytes(b"before")
    monkeypatch.setattr(os, "fsync", full)
    for write, name in ((atomic.write_once, "new"), (atomic.atomic_write, "kept")):
        with pytest.raises(OSError, match="no room"):
            write(tmp_path / name, b"data")
    assert os.listdir(tmp_path) == ["kept"]
    assert (tmp_path / "kept").read_bytes() == b"before"


def test_link_once_links_once(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"finished{number}").write_bytes(b"%d" % number)
    assert atomic.link_once(tmp_path / "weights", tmp_path / "finished1")
    assert not atomic.link_once(tmp_path / "weights", tmp_path / "finished2")
    assert (tmp_path / "weights").read_bytes() == b"1"


KILLED = """
import sys
from pathlib import Path
from uniclip.io.atomic import atomic_write, write_once
folder, size = Path(sys.argv[1]), 400_000
print("started", flush=True)
for number in range(1_000_000):
    write_once(folder / f"once-{number}", b"%07d" % number * (size // 7))
    atomic_write(folder / "again", b"%07d" % number * (size // 7))
"""


@pytest.mark.parametrize("after", [0.05, 0.13, 0.21, 0.34])
def test_a_writer_that_is_killed_leaves_whole_files_or_none(tmp_path: Path, after: float) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert writer.stdout is not None
    assert writer.stdout.readline()
    time.sleep(after)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    named = [p for p in tmp_path.iterdir() if not p.name.startswith(".")]
    assert named, "it was killed before it wrote anything"
    for path in named:
        data = path.read_bytes()
        assert len(data) == 400_000 // 7 * 7
        assert data == data[:7] * (len(data) // 7)


def test_readers_see_whole_files_while_one_is_rewritten(tmp_path: Path) -> None:
    path = tmp_path / "beat"
    code = (
        "import sys\nfrom pathlib import Path\nfrom uniclip.io.atomic import atomic_write\n"
        "for n in range(300):\n    atomic_write(Path(sys.argv[1]), (b'%d ' % n) * 20000)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=ROOT)
    reads = 0
    while writer.poll() is None:
        if path.exists():
            words = path.read_bytes().split()
            assert len(words) == 20000
            assert len(set(words)) == 1
            reads += 1
    assert writer.returncode == 0
    assert reads > 3


def test_incomplete_and_foreign_lines_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert atomic.read_jsonl(path) == []
    path.write_bytes(b'{"step": 1}\n{"step": \n[1]\n\xff\xfe\n"word"\n{"step": 2}\n{"step": 3, "lo')
    assert [r["step"] for r in atomic.read_jsonl(path)] == [1, 2]


@pytest.mark.parametrize("cut", range(1, 24))
def test_a_record_after_an_incomplete_line_is_not_lost(tmp_path: Path, cut: int) -> None:
    """The writer before was killed in the middle of a line: the next line is a line of its own."""
    path = tmp_path / "probes.jsonl"
    path.write_bytes(b'{"arm": "a", "rate": 1}\n'[:cut])
    atomic.append_jsonl(path, {"arm": "b"})
    assert atomic.read_jsonl(path)[-1] == {"arm": "b"}


def test_appended_records_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "events.jsonl"
    records = [{"step": i, "text": "line\u2028separator \u00e9\n"} for i in range(5)]
    for record in records:
        atomic.append_jsonl(path, record)
    assert atomic.read_jsonl(path) == records


@pytest.mark.parametrize("text", ['"\\ud83d\\ude00"', "NaN", b"[1, 2]", '{"a": "\\u00e9"}'])
def test_json_is_parsed(text: str | bytes) -> None:
    assert repr(atomic.parse_json(text)) == repr(json.loads(text))


@pytest.mark.parametrize("text", ["{", b"\xff", "[" * 100_000, "1" * 5_000])
def test_what_cannot_be_used_is_no_json(text: str | bytes) -> None:
    with pytest.raises(atomic.JSON_ERRORS):
        atomic.parse_json(text)


def test_lines_that_no_data_frame_can_hold_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"a": "\\ud83d"}\n{"a": "\\ud83d\\ude00"}\n{"\\uDE00": 1}\n{"a": NaN}\n')
    assert repr(atomic.read_jsonl(path)) == "[{'a': '\U0001f600'}, {'a': nan}]"
