"""The tokenizer that a configuration names, and the one that a run stored."""

from __future__ import annotations

import pytest

from tests.helpers import library_folders
from uniclip.config import TextConfig
from uniclip.data.text.build import build_tokenizer, read_tokenizer
from uniclip.errors import UserError


def test_each_choice_is_stored_and_read_again(tmp_path):
    library_folders.write_wordpiece(tmp_path)
    folder = TextConfig(name="bert", folder=str(tmp_path), tokenizer="folder", vocab_size=320)
    for config in (folder, TextConfig(vocab_size=300)):
        tokenizer = build_tokenizer(config, ["a cat"])
        assert type(read_tokenizer(tokenizer.to_json())) is type(tokenizer)
        assert not tokenizer.is_clip
    small = TextConfig(name="bert", folder=str(tmp_path), tokenizer="folder", vocab_size=20)
    with pytest.raises(UserError, match="its encoder only 20"):
        build_tokenizer(small, ())


def test_captions_are_read_for_a_bpe_alone(tmp_path):
    captions = iter(["a cat", "a dog"])
    build_tokenizer(TextConfig(tokenizer="clip", vocab_size=49408), captions)
    library_folders.write_wordpiece(tmp_path)
    folder = TextConfig(name="bert", folder=str(tmp_path), tokenizer="folder", vocab_size=320)
    build_tokenizer(folder, captions)
    assert next(captions) == "a cat"
    bpe = TextConfig(vocab_size=300)
    assert build_tokenizer(bpe, captions).to_json() == build_tokenizer(bpe, ["a dog"]).to_json()
    assert not list(captions)


def test_another_file_is_refused():
    for text in ("[]", "{", '{"padding": {}}'):
        with pytest.raises(UserError):
            read_tokenizer(text)
