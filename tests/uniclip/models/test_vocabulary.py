"""Every tokenizer is a vocabulary for an encoder."""

from __future__ import annotations

from uniclip.data.text.tokenizer import train_bpe
from uniclip.models.vocabulary import Vocabulary


def test_a_tokenizer_is_a_vocabulary() -> None:
    vocabulary: Vocabulary = train_bpe(["a cat"], 300)
    assert len({vocabulary.bos, vocabulary.eos, vocabulary.pad}) == 3
    assert vocabulary.vocab_size <= 300
