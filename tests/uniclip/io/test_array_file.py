"""Arrays that are written piece by piece and mapped into memory."""

from __future__ import annotations

import numpy as np
import pytest

from uniclip.io.array_file import ArrayWriter, has_array, map_array


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64])
def test_pieces_become_one_array(tmp_path, dtype):
    pieces = [np.arange(n) for n in (3, 0, 100_000)]
    with ArrayWriter(tmp_path / "a.npy", dtype) as writer:
        for piece in pieces:
            writer.append(piece)
    expected = np.concatenate(pieces).astype(dtype)
    mapped = map_array(tmp_path / "a.npy")
    assert mapped.dtype == dtype
    assert np.array_equal(mapped, expected)
    assert np.array_equal(np.load(tmp_path / "a.npy"), expected), "a file that NumPy reads"
    assert not mapped.flags.writeable


def test_only_a_whole_array_of_the_type_is_one(tmp_path):
    path = tmp_path / "a.npy"
    assert not has_array(path, np.uint32, 9)
    with ArrayWriter(path, np.uint32) as writer:
        writer.append(np.arange(9))
    assert has_array(path, np.uint32, 9)
    assert not has_array(path, np.uint32, 8)
    assert not has_array(path, np.int32, 9)
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole + b"x", whole[:40], b"", b"x" * 200):
        path.write_bytes(damaged)
        assert not has_array(path, np.uint32, 9)


def test_a_pickled_array_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(ValueError, match="Python objects"):
        map_array(tmp_path / "a.npy")


def test_after_an_error_the_file_holds_no_elements(tmp_path):
    def write_half() -> None:
        with ArrayWriter(tmp_path / "a.npy", np.uint8) as writer:
            writer.append(np.arange(5))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert len(np.load(tmp_path / "a.npy")) == 0
