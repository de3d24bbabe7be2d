"""Tokenization: a byte-level BPE trained on the captions (Sennrich et al., 2016), or CLIP's.

Like CLIP's (Radford et al., 2021) the trained BPE lowers the case and has a byte alphabet and two
end tokens; but padding is a separate token, which cannot be confused with the end of the text.
CLIP's published vocabulary (`clip_bpe`) is the alternative; it pads with token 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from uniclip.data.text import clip_bpe
from uniclip.errors import UserError

BOS, EOS, PAD = "<bos>", "<eos>", "<pad>"
WORD_START_MARKER = "\u0120"
"""The symbol of the byte alphabet for the space in front of a word."""


class Tokenizer:
    """A vocabulary of `vocab_size` tokens with the special tokens `bos`, `eos` and `pad`.

    `is_clip` says whether it is CLIP's published vocabulary.
    """

    def __init__(self, bpe: tokenizers.Tokenizer) -> None:
        self._bpe = bpe
        self.is_clip: bool = bpe.token_to_id(clip_bpe.BOS) is not None
        special_tokens = (
            (clip_bpe.BOS, clip_bpe.EOS, clip_bpe.PAD) if self.is_clip else (BOS, EOS, PAD)
        )
        ids = [i for token in special_tokens if (i := bpe.token_to_id(token)) is not None]
        if len(ids) < 3:
            raise UserError(
                f"the tokenizer has no {BOS}, {EOS} or {PAD}; use one that uniclip wrote"
            )
        self.bos, self.eos, self.pad = ids
        self._prefix: tuple[int, ...] = (self.bos,)
        self.vocab_size: int = bpe.get_vocab_size()

    @classmethod
    def from_json(cls, text: str) -> Tokenizer:
        """Return the tokenizer that `to_json` wrote; `UserError` if `text` is something else."""
        try:
            return cls(tokenizers.Tokenizer.from_str(text))
        except UserError:
            raise
        except Exception as error:  # the library raises bare Exception
            raise UserError(f"the tokenizer file is damaged ({error})") from None

    def to_json(self) -> str:
        """Return the complete tokenizer in the format of the `tokenizers` library."""
        text: str = self._bpe.to_str()
        return text

    def encode(self, texts: Sequence[str], context_length: int) -> NDArray[np.int64]:
        """Return tokens (n, L) int64: bos, tokens, eos, padded to the longest text.

        Texts are truncated to `context_length` tokens, with eos as the last one.
        """
        max_tokens, start = context_length - self.num_special_tokens, len(self._prefix)
        token_ids = [ids[:max_tokens] for ids in self.encode_uncut(texts)]
        lengths = np.array([len(ids) for ids in token_ids], np.int64)
        shape = len(token_ids), int(lengths.max(initial=0)) + self.num_special_tokens
        tokens = np.full(shape, self.pad, np.int64)
        is_text_token = np.arange(shape[1] - self.num_special_tokens) < lengths[:, None]
        tokens[:, start:-1][is_text_token] = np.fromiter(
            chain.from_iterable(token_ids), np.int64, lengths.sum()
        )
        tokens[:, :start] = self._prefix
        tokens[np.arange(len(token_ids)), lengths + start] = self.eos
        return tokens

    @property
    def num_special_tokens(self) -> int:
        """The start and the end token of a text, which are part of the context."""
        return len(self._prefix) + 1

    def encode_uncut(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text, of any number, without bos and eos."""
        cleaned_texts = (
            [clip_bpe.clean_text(text) for text in texts] if self.is_clip else list(texts)
        )
        return [encoding.ids for encoding in self._bpe.encode_batch_fast(cleaned_texts)]

    def get_word_boundaries(self) -> tuple[list[bool], list[bool]]:
        """Return for each id whether the token starts a word, and whether it ends one.

        The trained BPE marks starts only, CLIP's vocabulary ends only.
        """
        token_names = [self._bpe.id_to_token(i) or "" for i in range(self.vocab_size)]
        starts = [not self.is_clip and name.startswith(WORD_START_MARKER) for name in token_names]
        ends = [self.is_clip and name.endswith(clip_bpe.WORD_END) for name in token_names]
        return starts, ends

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of a row of tokens without special tokens.

        With CLIP's vocabulary every piece is followed by a space.
        """
        token_ids = [int(t) for t in tokens]
        if self.is_clip:  # its padding token is also "!": cut at the end token
            token_ids = (
                token_ids[: token_ids.index(self.eos)] if self.eos in token_ids else token_ids
            )
        text: str = self._bpe.decode(token_ids, skip_special_tokens=True)
        return (text.replace(clip_bpe.WORD_END, " ") if self.is_clip else text).strip()


@cache
def load_clip_tokenizer() -> Tokenizer:
    """Return CLIP's published vocabulary of 49,408 tokens; `UserError` if it is not installed."""
    return Tokenizer(clip_bpe.load_bpe())


def train_bpe(captions: Iterable[str], vocab_size: int) -> Tokenizer:
    """Train a BPE of at most `vocab_size` tokens, 256 bytes and 3 special tokens included."""
    bpe = tokenizers.Tokenizer(models.BPE())
    bpe.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    bpe.decoder = decoders.ByteLevel()
    bpe.encode_special_tokens = True  # "<eos>" in a caption is text
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(captions, trainer)
    return Tokenizer(bpe)
