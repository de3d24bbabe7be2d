"""What is kept is what was computed, or it is computed again: by anybody, at any time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from uniclip.errors import StopRequested
from uniclip.evaluate import cache
from uniclip.evaluate.cache import Cache

WHAT = {"weights": "w1", "data": {"set": "dtd"}, "part": "test", "transform": {"a": 1}}

WRITER = """
import sys, time
from pathlib import Path
import numpy as np
from uniclip.evaluate.cache import Cache

def embed(index):
    print(index[0], flush=True)
    time.sleep(float(sys.argv[2]))
    return np.outer(index, np.arange(4))

rows = Cache(Path(sys.argv[1])).get_or_embed({"one": "thing"}, 1000, embed)
print("sum", int(rows.sum()), flush=True)
"""


def counting(width=3):
    calls = []

    def embed(index):
        calls.append(len(index))
        return np.outer(index + 1, np.arange(1, width + 1)).astype(np.float32)

    return embed, calls


def names(folder):
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def test_rows_are_embedded_once_in_batches_and_mapped(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "EMBED_BATCH_SIZE", 4)
    embed, calls = counting()
    stored = Cache(tmp_path / "cache")
    first = stored.get_or_embed(WHAT, 10, embed)
    again = Cache(tmp_path / "cache").get_or_embed(WHAT, 10, embed)
    assert calls == [4, 4, 2]
    assert isinstance(first, np.memmap)
    assert isinstance(again, np.memmap)
    assert again.dtype == np.float32
    assert first.tolist() == again.tolist() == embed(np.arange(10)).tolist()
    assert len(names(tmp_path)) == 1
    with pytest.raises(ValueError, match="read-only"):
        again[0] = 0


@pytest.mark.parametrize("key", WHAT)
def test_another_key_is_another_file(tmp_path, key):
    embed, calls = counting()
    stored = Cache(tmp_path)
    stored.get_or_embed(WHAT, 5, embed)
    stored.get_or_embed({**WHAT, key: "another"}, 5, embed)
    assert calls == [5, 5]
    stored.get_or_embed(dict(reversed(WHAT.items())), 5, embed)
    assert calls == [5, 5]


def damages(good):
    middle = len(good) // 2
    flipped = good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :]
    return (b"", good[:10], good[:-4], good[:-40], good + b"x", b"nonsense" * 40, flipped)


def test_damaged_or_mismatched_files_are_computed_again(tmp_path):
    embed, calls = counting()
    stored = Cache(tmp_path)
    whole = stored.get_or_embed(WHAT, 5, embed).tolist()
    (path,) = tmp_path.rglob("*.npy")
    good = path.read_bytes()
    for number, bad in enumerate(damages(good), start=2):
        path.write_bytes(bad)
        assert stored.get_or_embed(WHAT, 5, embed).tolist() == whole
        assert len(calls) == number
        assert path.read_bytes() == good
    assert stored.get_or_embed(WHAT, 7, embed).shape == (7, 3)


def test_small_arrays_are_stored_whole_or_computed_again(tmp_path):
    made = []

    def make():
        made.append(1)
        return {"labels": np.arange(5), "names": np.array(["a", "bc"]), "x": np.eye(2)}

    stored = Cache(tmp_path)
    first = stored.get_or_compute(WHAT, make)
    (path,) = tmp_path.rglob("*.npz")
    good = path.read_bytes()
    for number, bad in enumerate((good, *damages(good)), start=1):
        path.write_bytes(bad)
        again = stored.get_or_compute(WHAT, make)
        assert {n: a.tolist() for n, a in again.items()} == {
            n: a.tolist() for n, a in first.items()
        }
        assert len(made) == number
    with pytest.raises(ValueError, match="allow_pickle"):
        stored.get_or_compute({"other": 1}, lambda: {"a": np.array([{}], dtype=object)})


def test_too_large_arrays_are_not_stored(tmp_path, monkeypatch):
    embed, calls = counting()
    small = Cache(tmp_path, max_bytes=59)
    assert (
        small.get_or_embed(WHAT, 5, embed).tolist() == small.get_or_embed(WHAT, 5, embed).tolist()
    )
    assert calls == [5, 5]
    assert names(tmp_path) == []
    Cache(tmp_path, max_bytes=60).get_or_embed(WHAT, 5, embed)
    assert len(names(tmp_path)) == 1
    monkeypatch.setattr(cache, "MIN_FREE_RATIO", 2**60)
    Cache(tmp_path / "full").get_or_embed(WHAT, 5, embed)
    assert names(tmp_path / "full") == []


def test_without_a_folder_or_disk_space_only_time_is_lost(tmp_path):
    embed, _ = counting()
    (tmp_path / "file").write_text("no folder")
    for stored in (Cache(), Cache(tmp_path / "file")):
        assert stored.get_or_embed(WHAT, 3, embed).tolist() == embed(np.arange(3)).tolist()
        assert stored.get_or_compute(WHAT, lambda: {"a": np.ones(1)})["a"].tolist() == [1]
        stored.write_note("n", {"a": 1})
        assert stored.read_note("n") is None


def test_notes(tmp_path):
    stored = Cache(tmp_path)
    assert stored.read_note("n") is None
    stored.write_note("n", {"a": [1]})
    assert stored.read_note("n") == {"a": [1]}
    (tmp_path / "notes" / "n.json").write_text('{"a":')
    assert stored.read_note("n") is None


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "EMBED_BATCH_SIZE", 2)

    def embed(index):
        if index[0] > 0:
            raise RuntimeError("broke down")
        return np.zeros((len(index), 3))

    with pytest.raises(RuntimeError, match="broke down"):
        Cache(tmp_path).get_or_embed(WHAT, 4, embed)
    assert names(tmp_path) == []


def test_no_sample(tmp_path):
    assert len(Cache(tmp_path).get_or_embed(WHAT, 0, counting()[0])) == 0


def writer(folder, seconds):
    words = [sys.executable, "-c", WRITER, str(folder), str(seconds)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def test_two_processes_at_once_and_one_that_is_killed(tmp_path):
    victim = writer(tmp_path, 60)
    assert victim.stdout.readline() == "0\n"
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    both = [writer(tmp_path, 0.2) for _ in range(2)]
    said = [p.communicate(timeout=300)[0].splitlines() for p in both]
    expected = f"sum {6 * sum(range(1000))}"
    assert [lines[-1] for lines in said] == [expected, expected]
    whole = [p for p in names(tmp_path) if not p.startswith(".")]
    assert len(whole) == 1
    begun = time.monotonic()
    assert writer(tmp_path, 60).communicate(timeout=300)[0].splitlines() == [expected]
    assert time.monotonic() - begun < 55


def test_an_interrupted_call_resumes_from_the_last_segment(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "EMBED_BATCH_SIZE", 2)
    monkeypatch.setattr(cache, "SEGMENT_ROWS", 4)
    whole, calls = counting()
    recorded = []

    def stopping(index):
        recorded.extend(index.tolist())
        if index[0] >= 8:
            raise StopRequested
        return whole(index)

    with pytest.raises(StopRequested):
        Cache(tmp_path).get_or_embed(WHAT, 11, stopping)
    assert len(names(tmp_path)) == 2, "two chapters, nothing half-written"
    recorded.clear()

    def going_on(index):
        recorded.extend(index.tolist())
        return whole(index)

    rows = Cache(tmp_path).get_or_embed(WHAT, 11, going_on)
    assert sorted(set(recorded)) == [0, 1, 8, 9, 10], "the first piece tells how wide rows are"
    assert isinstance(rows, np.memmap)
    assert rows.tolist() == whole(np.arange(11)).tolist()
    assert len(names(tmp_path)) == 1, "the chapters are in the whole"


def test_segments_of_too_large_arrays_stay_until_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "EMBED_BATCH_SIZE", 2)
    monkeypatch.setattr(cache, "SEGMENT_ROWS", 4)
    embed, calls = counting()
    stored = Cache(tmp_path, max_bytes=60)
    rows = stored.get_or_embed(WHAT, 11, embed)
    assert rows.tolist() == embed(np.arange(11)).tolist()
    assert not isinstance(rows, np.memmap)
    assert len(names(tmp_path)) == 3
    calls.clear()
    assert stored.get_or_embed(WHAT, 11, embed).tolist() == rows.tolist()
    assert calls == [2], "how wide rows are"
    stored.remove_segments(WHAT, 11)
    assert names(tmp_path) == []


def test_fast_results_are_not_stored(tmp_path):
    made = []

    def make():
        made.append(1)
        return {"a": np.ones(2)}

    for least in (60.0, 60.0, 0.0, 0.0):
        Cache(tmp_path).get_or_compute(WHAT, make, least)
    assert len(made) == 3
    Cache(tmp_path).remove("arrays", WHAT)
    assert names(tmp_path) == []


def test_processes_share_the_batches_of_few_rows(tmp_path, monkeypatch):
    """Each embeds neighbors; what is missing, or was damaged, is embedded by who asks for all."""
    monkeypatch.setattr(cache, "EMBED_BATCH_SIZE", 4)
    expected = Cache(None).get_or_embed(WHAT, 21, counting()[0])
    shared = Cache(tmp_path)
    for rank, num_rows in enumerate((8, 8, 5)):
        embed, calls = counting()
        shared.embed_share(WHAT, 21, embed, rank=rank, world_size=3)
        assert sum(calls) == num_rows
    parts = sorted((tmp_path / "embeddings").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert len(parts) == 6
    parts[0].write_bytes(b"damaged")
    embed, calls = counting()
    rows = shared.get_or_embed(WHAT, 21, embed)
    assert calls == [4]
    assert rows.tobytes() == expected.tobytes()
    assert len(list((tmp_path / "embeddings").iterdir())) == 1, "the parts are removed"
    embed, calls = counting()
    shared.embed_share(WHAT, 21, embed, rank=0, world_size=3)
    assert calls == []


def test_a_single_batch_is_not_shared(tmp_path):
    embed, calls = counting()
    Cache(tmp_path).embed_share(WHAT, 21, embed, rank=0, world_size=2)
    assert calls == []
