"""Tokens in files: those of the tokenizer, encoded once, and again if they are damaged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from uniclip.data.text import packed_tokens
from uniclip.data.text.packed_tokens import PackedTokens, map_tokens, name_folder
from uniclip.data.text.tokenizer import Tokenizer, train_bpe
from uniclip.errors import UserError

CAPTIONS = ["a", "a small red fox", "", "b " * 20, "caf\u00e9"] * 4


@dataclass(frozen=True)
class CaptionList:
    """Captions in memory (`packed_tokens.CaptionIndex`)."""

    folder: Path
    captions: list[str]

    def count_captions(self) -> int:
        return len(self.captions)

    def iterate_captions(self, start: int, stop: int) -> Iterator[str]:
        yield from self.captions[start:stop]


@pytest.fixture
def index(tmp_path: Path) -> CaptionList:
    return CaptionList(tmp_path / "index", CAPTIONS)


@pytest.fixture
def tokenizer() -> Tokenizer:
    return train_bpe(["a small red fox"], 300)


def test_rows_are_padded_to_the_longest() -> None:
    packed = PackedTokens(
        ends=np.array([2, 2, 5]), tokens=np.array([5, 6, 7, 8, 9], np.uint16), bos=1, eos=2, pad=0
    )
    assert packed.take(np.array([0, 2, 1])).tolist() == [
        [1, 5, 6, 2, 0],
        [1, 7, 8, 9, 2],
        [1, 2, 0, 0, 0],
    ]
    assert packed.take(np.array([1, 0])).tolist() == [[1, 2, 0, 0], [1, 5, 6, 2]]
    assert packed.take(np.array([1])).tolist() == [[1, 2]]


@pytest.mark.parametrize("context_length", [3, 7, 64])
@pytest.mark.parametrize("chunk_size", [1, 7, 20, 1000])
def test_tokens_are_those_of_the_tokenizer(
    index: CaptionList,
    tokenizer: Tokenizer,
    context_length: int,
    chunk_size: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packed_tokens, "CHUNK_SIZE", chunk_size)
    packed = map_tokens(index, tokenizer, context_length)
    assert packed.tokens.dtype == np.uint16
    for batch in ([0], [3, 1, 2, 3], list(range(20))):
        expected = tokenizer.encode([CAPTIONS[i] for i in batch], context_length)
        assert np.array_equal(packed.take(np.array(batch)), expected)


def test_captions_are_encoded_once(
    index: CaptionList, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = np.array(map_tokens(index, tokenizer, 8).tokens)

    def refuse(*_: object) -> None:
        raise AssertionError("a caption was encoded")

    monkeypatch.setattr(Tokenizer, "encode_uncut", refuse)
    assert np.array_equal(map_tokens(index, tokenizer, 8).tokens, tokens)
    with pytest.raises(AssertionError, match="a caption was encoded"):
        map_tokens(index, tokenizer, 9)


def test_data_without_captions_have_no_tokens(tmp_path: Path, tokenizer: Tokenizer) -> None:
    empty = CaptionList(tmp_path / "index", [])
    for _ in ("written", "read again"):
        assert len(map_tokens(empty, tokenizer, 8).tokens) == 0


def test_the_folder_depends_on_captions_tokenizer_and_context(
    index: CaptionList, tokenizer: Tokenizer
) -> None:
    folder = name_folder(index, tokenizer, 8)
    assert folder.parent == index.folder.parent
    assert folder.name.startswith("index-tokens-")
    assert name_folder(index, train_bpe(["a small red fox"], 300), 8) == folder
    others = {
        name_folder(index, tokenizer, 9),
        name_folder(index, train_bpe(["another"], 300), 8),
        name_folder(CaptionList(index.folder.with_name("other"), CAPTIONS), tokenizer, 8),
    }
    assert len(others | {folder}) == 4


def test_a_large_vocabulary_takes_32_bits(index: CaptionList, tokenizer: Tokenizer) -> None:
    tokenizer.vocab_size = 100_000
    assert map_tokens(index, tokenizer, 8).tokens.dtype == np.uint32


@pytest.mark.parametrize("file", ["ends.npy", "tokens.npy"])
def test_damaged_tokens_are_encoded_again(
    index: CaptionList, tokenizer: Tokenizer, file: str
) -> None:
    whole = np.array(map_tokens(index, tokenizer, 8).tokens)
    path = name_folder(index, tokenizer, 8) / file
    path.write_bytes(b"")
    assert np.array_equal(map_tokens(index, tokenizer, 8).tokens, whole)
    path.unlink()
    assert np.array_equal(map_tokens(index, tokenizer, 8).tokens, whole)


def test_a_folder_that_cannot_be_written_is_one_line(
    index: CaptionList, tokenizer: Tokenizer
) -> None:
    (index.folder.parent / "file").write_bytes(b"")
    inside = CaptionList(index.folder.parent / "file" / "index", CAPTIONS)
    with pytest.raises(UserError, match="cannot be written .*; make room, or set UNICLIP_CACHE"):
        map_tokens(inside, tokenizer, 8)
