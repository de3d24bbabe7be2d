from __future__ import annotations

import numpy as np
import pytest

from uniclip.evaluate import embeddings

WHAT = {
    "weights": "w1",
    "data": {"set": "dtd", "part": "test"},
    "ids": ["a", "b", "c"],
    "transform": {"interpolation": "bicubic"},
    "features": "trunk",
}


def counting(width=3):
    calls = []

    def embed(index):
        calls.append(len(index))
        return np.outer(index + 1, np.arange(1, width + 1)).astype(np.float32)

    return embed, calls


@pytest.mark.parametrize(
    "change",
    [
        {"weights": "w2"},
        {"data": {"set": "dtd", "part": "train"}},
        {"ids": ["b", "a", "c"]},
        {"transform": {"interpolation": "bilinear"}},
        {"features": "embedding"},
    ],
)
def test_the_key_follows_all_that_rows_depend_on(change):
    assert embeddings.key(**{**WHAT, **change}) != embeddings.key(**WHAT)
    assert len(embeddings.key(**WHAT)) == 16


def test_rows_are_embedded_once_in_pieces_and_mapped(tmp_path, monkeypatch):
    monkeypatch.setattr(embeddings, "PIECE", 4)
    embed, calls = counting()
    first = embeddings.kept(tmp_path / "cache", "k", 10, embed)
    again = embeddings.kept(tmp_path / "cache", "k", 10, embed)
    assert calls == [4, 4, 2]
    assert isinstance(again, np.memmap)
    assert first.tolist() == again.tolist() == embed(np.arange(10)).tolist()
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["k.npy"]
    with pytest.raises(ValueError, match="read-only"):
        again[0] = 0


def test_what_is_damaged_or_does_not_fit_is_made_again(tmp_path):
    embed, _ = counting()
    whole = embeddings.kept(tmp_path, "k", 5, embed).tolist()
    path = tmp_path / "k.npy"
    good = path.read_bytes()
    for bad in (b"", good[:100], good[:-4], b"nonsense"):
        path.write_bytes(bad)
        assert embeddings.kept(tmp_path, "k", 5, embed).tolist() == whole
    np.save(path, np.array([{"a": 1}] * 5, dtype=object), allow_pickle=True)
    assert embeddings.kept(tmp_path, "k", 5, embed).tolist() == whole
    assert embeddings.kept(tmp_path, "k", 7, embed).shape == (7, 3)


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(embeddings, "PIECE", 2)

    def embed(index):
        if index[0] > 0:
            raise RuntimeError("killed")
        return np.zeros((len(index), 3))

    with pytest.raises(RuntimeError, match="killed"):
        embeddings.kept(tmp_path, "k", 4, embed)
    assert list(tmp_path.iterdir()) == []


def test_no_sample(tmp_path):
    assert len(embeddings.kept(tmp_path, "k", 0, counting()[0])) == 0
