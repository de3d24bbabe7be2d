"""Text augmentation on tokens: edited words, or masked tokens.

The edit is one of two, drawn for each sample: two words change places, or each word is dropped with
a small probability (Wei and Zou, "EDA", 2019; DeCLIP also replaces words by synonyms, which needs a
thesaurus that no package provides). Words are edited as the runs of tokens that the byte-level BPE
makes of them, which gives the same tokens as tokenizing the edited text; in CLIP's vocabulary a
digit or a run of punctuation is a word.

Letters: n captions, L tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uniclip import rng
from uniclip.data.text.tokenizer import Tokenizer
from uniclip.errors import UserError
from uniclip.rng import UInt64

Tokens = NDArray[np.int64]

WORD_DROP_PROB = 0.1
"""Probability that a word is dropped (EDA)."""
IGNORE_INDEX = -100
"""Label of tokens that are not predicted (the default of torch's cross entropy)."""
MASK_TOKEN_SHARE, RANDOM_TOKEN_SHARE = 0.8, 0.1
"""Fractions of the selected tokens that are masked, or replaced by a random one; the others are not
changed (BERT)."""


@dataclass(frozen=True)
class VocabularyInfo:
    """Special tokens, size and word boundaries of a vocabulary."""

    bos: int
    eos: int
    pad: int
    vocab_size: int
    starts_word: NDArray[np.bool_]
    """(vocab_size,): whether a token starts a word."""
    ends_word: NDArray[np.bool_]
    """(vocab_size,): whether a token ends a word. A vocabulary marks either starts or ends."""

    @classmethod
    def from_tokenizer(cls, tokenizer: Tokenizer) -> VocabularyInfo:
        """Return the information on the vocabulary of `tokenizer`.

        Raises:
            UserError: It has no start token, or its padding is its end token.
        """
        if tokenizer.bos < 0 or tokenizer.pad == tokenizer.eos:
            raise UserError(
                "method=declip edits and masks captions, which needs a start token and a padding "
                "token of its own; the tokenizer of model.text.folder has none: choose "
                "model.text.tokenizer=bpe"
            )
        starts, ends = (
            np.array(token_flags, dtype=bool) for token_flags in tokenizer.get_word_boundaries()
        )
        return cls(tokenizer.bos, tokenizer.eos, tokenizer.pad, tokenizer.vocab_size, starts, ends)


def edit_captions(key: int, ids: UInt64, tokens: Tokens, vocabulary_info: VocabularyInfo) -> Tokens:
    """Return each caption of `tokens` (n, L) after one edit, (n, L') padded to the longest.

    Args:
        key: Key of the random stream.
        ids: (n,) uint64 sample ids.
        tokens: (n, L) int64.
        vocabulary_info: Of the tokenizer that made the tokens.
    """
    edited_rows = []
    for row, draws in zip(tokens, rng.uniform(key, ids, tokens.shape[1] + 3)):
        words = _split_words(row, vocabulary_info)
        edited_words = (
            _swap_words(words, draws[1:3]) if draws[0] < 0.5 else _drop_words(words, draws[3:])
        )
        edited_rows.append(
            [
                vocabulary_info.bos,
                *(token for word in edited_words for token in word),
                vocabulary_info.eos,
            ]
        )
    max_length = max(map(len, edited_rows), default=2)
    return np.array(
        [row + [vocabulary_info.pad] * (max_length - len(row)) for row in edited_rows], np.int64
    )


def mask_tokens(
    key: int, ids: UInt64, tokens: Tokens, vocabulary_info: VocabularyInfo, mask_ratio: float
) -> tuple[Tokens, Tokens]:
    """Return masked captions (n, L) and their labels (n, L), as for BERT's masked language model.

    Of the selected tokens 80 % are masked (replaced by the padding token), 10 % are replaced by a
    random token, and 10 % are not changed.

    Args:
        key: Key of the random stream.
        ids: (n,) uint64 sample ids.
        tokens: (n, L) int64.
        vocabulary_info: Of the tokenizer that made the tokens.
        mask_ratio: Probability that a token is selected.
    """
    length = tokens.shape[1]
    draws = rng.uniform(key, ids, 3 * length)
    selection_draws, action_draws, replacement_draws = (
        draws[:, :length],
        draws[:, length : 2 * length],
        draws[:, 2 * length :],
    )
    is_target = (selection_draws < mask_ratio) & ~np.isin(
        tokens, (vocabulary_info.bos, vocabulary_info.eos, vocabulary_info.pad)
    )
    masked_tokens = np.where(
        is_target & (action_draws < MASK_TOKEN_SHARE), vocabulary_info.pad, tokens
    )
    is_replaced = (
        is_target
        & (action_draws >= MASK_TOKEN_SHARE)
        & (action_draws < MASK_TOKEN_SHARE + RANDOM_TOKEN_SHARE)
    )
    masked_tokens = np.where(
        is_replaced,
        (replacement_draws * vocabulary_info.vocab_size).astype(np.int64),
        masked_tokens,
    )
    # A random end token would end the caption early.
    masked_tokens = np.where(
        is_replaced & (masked_tokens == vocabulary_info.eos), vocabulary_info.pad, masked_tokens
    )
    return masked_tokens, np.where(is_target, tokens, IGNORE_INDEX)


def _split_words(row: Tokens, vocabulary_info: VocabularyInfo) -> list[list[int]]:
    """Return the words of one caption as lists of tokens."""
    words: list[list[int]] = []
    at_word_end = True
    for token in row[1:].tolist():
        if token == vocabulary_info.eos:
            break
        if at_word_end or vocabulary_info.starts_word[token]:
            words.append([])
        words[-1].append(token)
        at_word_end = bool(vocabulary_info.ends_word[token])
    return words


def _swap_words(words: list[list[int]], draws: NDArray[np.float64]) -> list[list[int]]:
    """Return the words with two of them swapped, if there are two."""
    if len(words) < 2:
        return words
    first = int(draws[0] * len(words))
    second = (first + 1 + int(draws[1] * (len(words) - 1))) % len(words)
    reordered_words = list(words)
    reordered_words[first], reordered_words[second] = words[second], words[first]
    return reordered_words


def _drop_words(words: list[list[int]], draws: NDArray[np.float64]) -> list[list[int]]:
    """Return the words, each dropped with probability `WORD_DROP_PROB`; at least one remains."""
    remaining_words = [word for word, draw in zip(words, draws) if draw >= WORD_DROP_PROB]
    return remaining_words or words[:1]
