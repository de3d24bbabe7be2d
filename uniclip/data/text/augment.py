"""Captions changed a little, as tokens: one word edited, or some tokens hidden.

The edit is one of two, drawn for each sample: two words change places, or each word is left out
with a small probability (Wei and Zou, "EDA", 2019; DeCLIP uses it with a third, the replacement of
a word by a synonym, which needs a thesaurus that no package brings). Words are edited as the runs
of tokens that the byte-level BPE makes of them, which is what tokenizing the edited text gives; in
CLIP's vocabulary a digit or a run of punctuation is a word of its own.

Letters: n captions, L tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uniclip import rng
from uniclip.data.text.tokenizer import Tokenizer
from uniclip.rng import UInt64

Tokens = NDArray[np.int64]

LEFT_OUT = 0.1
"""Probability that a word is left out (EDA's)."""
IGNORED = -100
"""A target that is not to be guessed (torch's own default)."""
HIDDEN, REPLACED = 0.8, 0.1
"""Shares of the tokens to be guessed that are hidden, or replaced; the rest stays (BERT's)."""


@dataclass(frozen=True)
class Special:
    """What must be known of a vocabulary."""

    bos: int
    eos: int
    pad: int
    size: int
    starts: NDArray[np.bool_]
    """(size,): the tokens with which a word starts."""
    ends: NDArray[np.bool_]
    """(size,): the tokens with which one ends. A vocabulary marks starts or ends."""

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Special:
        """That of `tokenizer`."""
        starts, ends = (np.array(edges, dtype=bool) for edges in tokenizer.word_edges())
        return cls(tokenizer.bos, tokenizer.eos, tokenizer.pad, tokenizer.size, starts, ends)


def edit(key: int, ids: UInt64, tokens: Tokens, special: Special) -> Tokens:
    """Each caption of tokens (n, L) after one edit, (n, L') padded to the longest."""
    edited = []
    for row, draws in zip(tokens, rng.uniform(key, ids, tokens.shape[1] + 3)):
        words = _words(row, special)
        changed = _swap(words, draws[1:3]) if draws[0] < 0.5 else _leave_out(words, draws[3:])
        edited.append([special.bos, *(t for word in changed for t in word), special.eos])
    longest = max(map(len, edited), default=2)
    return np.array([row + [special.pad] * (longest - len(row)) for row in edited], np.int64)


def mask(
    key: int, ids: UInt64, tokens: Tokens, special: Special, share: float
) -> tuple[Tokens, Tokens]:
    """Captions with a share of their tokens to be guessed, (n, L), and the targets, (n, L).

    Of these tokens 80 % are hidden (the padding token stands there), 10 % are others, 10 % stay.
    """
    length = tokens.shape[1]
    draws = rng.uniform(key, ids, 3 * length)
    chosen, fate, other = draws[:, :length], draws[:, length : 2 * length], draws[:, 2 * length :]
    guessed = (chosen < share) & ~np.isin(tokens, (special.bos, special.eos, special.pad))
    masked = np.where(guessed & (fate < HIDDEN), special.pad, tokens)
    replaced = guessed & (fate >= HIDDEN) & (fate < HIDDEN + REPLACED)
    masked = np.where(replaced, (other * special.size).astype(np.int64), masked)
    # An end token drawn in the middle would end the caption there.
    masked = np.where(replaced & (masked == special.eos), special.pad, masked)
    return masked, np.where(guessed, tokens, IGNORED)


def _words(row: Tokens, special: Special) -> list[list[int]]:
    """The words of one caption, each the run of tokens that it is made of."""
    words: list[list[int]] = []
    ended = True
    for token in row[1:].tolist():
        if token == special.eos:
            break
        if ended or special.starts[token]:
            words.append([])
        words[-1].append(token)
        ended = bool(special.ends[token])
    return words


def _swap(words: list[list[int]], draws: NDArray[np.float64]) -> list[list[int]]:
    """Two different words change places, where there are two."""
    if len(words) < 2:
        return words
    one = int(draws[0] * len(words))
    two = (one + 1 + int(draws[1] * (len(words) - 1))) % len(words)
    swapped = list(words)
    swapped[one], swapped[two] = words[two], words[one]
    return swapped


def _leave_out(words: list[list[int]], draws: NDArray[np.float64]) -> list[list[int]]:
    """Each word is left out with the probability `LEFT_OUT`; never all of them."""
    kept = [word for word, drawn in zip(words, draws) if drawn >= LEFT_OUT]
    return kept or words[:1]
