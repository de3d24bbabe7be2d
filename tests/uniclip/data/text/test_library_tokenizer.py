"""Tokenizers of folders give the ids of transformers, and are stored with a run."""

from __future__ import annotations

import json

import pytest
from transformers import PreTrainedTokenizerFast

from tests.helpers import library_folders
from tests.helpers.library_folders import CAPTIONS
from uniclip.data.text.augment import VocabularyInfo
from uniclip.data.text.build import read_tokenizer
from uniclip.data.text.library_tokenizer import load_folder_tokenizer
from uniclip.errors import UserError

WRITERS = {
    "wordpiece": library_folders.write_wordpiece,
    "unigram": library_folders.write_unigram,
    "byte-bpe": library_folders.write_byte_bpe,
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("length", [8, 60])
def test_ids_are_those_of_transformers(kind, length, tmp_path):
    WRITERS[kind](tmp_path)
    library = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    tokenizer = load_folder_tokenizer(tmp_path)
    expected = library(
        CAPTIONS, padding=True, truncation=True, max_length=length, return_tensors="np"
    )
    for one in (tokenizer, read_tokenizer(tokenizer.to_json())):
        assert one.encode(CAPTIONS, length).tolist() == expected["input_ids"].tolist()
        assert one.to_json() == tokenizer.to_json()


def test_special_tokens_in_a_caption_are_text(tmp_path):
    library_folders.write_wordpiece(tmp_path)
    tokenizer = load_folder_tokenizer(tmp_path)
    assert (tokenizer.encode(["a [SEP] cat"], 30) == tokenizer.eos).sum() == 1


def test_words_can_be_edited_only_with_start_and_padding_tokens(tmp_path):
    library_folders.write_wordpiece(tmp_path / "wordpiece")
    tokenizer = load_folder_tokenizer(tmp_path / "wordpiece")
    info = VocabularyInfo.from_tokenizer(tokenizer)
    ids = tokenizer.encode_uncut(["two green"])[0]
    assert sum(info.starts_word[ids]) == 2
    library_folders.write_unigram(tmp_path / "unigram")
    with pytest.raises(UserError, match="needs a start token"):
        VocabularyInfo.from_tokenizer(load_folder_tokenizer(tmp_path / "unigram"))


def test_texts_of_siglip_are_cleaned(tmp_path):
    library_folders.write_unigram(tmp_path)
    plain = load_folder_tokenizer(tmp_path).encode_uncut(["a green cat"])
    path = tmp_path / "tokenizer_config.json"
    settings = json.loads(path.read_text()) | {"tokenizer_class": "SiglipTokenizer"}
    path.write_text(json.dumps(settings))
    assert load_folder_tokenizer(tmp_path).encode_uncut(["  A, (green)   Cat! "]) == plain


def test_a_folder_without_a_tokenizer_says_how_to_write_one(tmp_path):
    with pytest.raises(UserError, match="AutoTokenizer"):
        load_folder_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        load_folder_tokenizer(tmp_path)
