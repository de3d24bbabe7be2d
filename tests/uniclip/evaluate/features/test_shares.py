"""Shares of the features of a split: cut between forward passes, each image embedded once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from uniclip.evaluate.features import shares
from uniclip.evaluate.features.shares import FeatureShares, SharedRows

BLOCKS = [np.arange(0, 10), np.arange(10, 20), np.arange(20, 25)]


class Encoder:
    """Features that state the forward pass in which each image was embedded."""

    def __init__(self) -> None:
        self.embedded: list[int] = []

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        self.embedded += positions.tolist()
        passes = [positions[i : i + 3] for i in range(0, len(positions), 3)]
        rows = [[position, len(p), p[0]] for p in passes for position in p]
        return np.array(rows, np.float32)


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SharedRows:
    monkeypatch.setattr(shares, "EMBED_BATCH_SIZE", 7)
    split = SimpleNamespace(ids=np.arange(25, dtype=np.uint64))
    return FeatureShares(tmp_path).find(split, np.arange(25), 3)


def test_processes_together_embed_each_image_once(rows: SharedRows) -> None:
    alone = Encoder()
    expected = np.concatenate([alone(block) for block in BLOCKS])
    encoders = [Encoder() for _ in range(3)]
    for rank, encoder in enumerate(encoders):
        rows.embed_share(BLOCKS, encoder, rank, 3)
    embedded = [encoder.embedded for encoder in encoders]
    assert all(embedded)
    assert sum(embedded, []) == list(range(25))
    last = Encoder()
    found = np.concatenate([rows.read_or_embed(block, last) for block in BLOCKS])
    assert np.array_equal(found, expected)
    assert last.embedded == []


def test_what_another_process_did_not_store_is_embedded(rows: SharedRows) -> None:
    alone, encoder = Encoder(), Encoder()
    expected = np.concatenate([alone(block) for block in BLOCKS])
    rows.embed_share(BLOCKS, Encoder(), 0, 2)
    found = np.concatenate([rows.read_or_embed(block, encoder) for block in BLOCKS])
    assert np.array_equal(found, expected)
    assert encoder.embedded == list(range(encoder.embedded[0], 25))
    assert 5 < len(encoder.embedded) < 20
    damaged = next(rows.cache.folder.rglob("*.npy"))
    damaged.write_bytes(damaged.read_bytes()[:-3])
    assert np.array_equal(rows.read_or_embed(BLOCKS[0], encoder), expected[:10])


def test_other_images_have_other_shares(tmp_path: Path, rows: SharedRows) -> None:
    rows.embed_share(BLOCKS, Encoder(), 0, 1)
    split = SimpleNamespace(ids=np.arange(1, 26, dtype=np.uint64))
    others = FeatureShares(tmp_path).find(split, np.arange(25), 3)
    assert others.read(np.arange(6)) is None
    assert rows.read(np.arange(6)) is not None
