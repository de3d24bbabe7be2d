"""Tokenizers of transformers, read from the `tokenizer.json` of a folder.

They run in the `tokenizers` library, as transformers runs them: its normalization, pieces and
special tokens. Nothing of transformers is imported and no code in the folder is executed.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import normalizers

from uniclip.config.text_model import TOKENIZER_FILES
from uniclip.data.text.tokenizer import WORD_START_MARKER, Tokenizer
from uniclip.errors import UserError
from uniclip.io.atomic import JSON_ERRORS, parse_json

SENTENCE_START_MARKER = "\u2581"
"""The symbol of sentencepiece for the space in front of a word."""
WORDPIECE_PREFIX = "##"
"""Start of a piece of BERT's vocabulary that continues a word."""
CLIP_WORD_END = "</w>"
SIGLIP_CLASSES = ("SiglipTokenizer",)
"""Classes of transformers that clean a text before their `tokenizer.json` is used."""


class LibraryTokenizer(Tokenizer):
    """A tokenizer of another library's model.

    Args:
        backend: Adds at most one token in front of a text, and one token behind it.
        pad: The id that fills the positions after a text.

    Raises:
        UserError: It adds other special tokens.
    """

    is_clip = False

    def __init__(self, backend: tokenizers.Tokenizer, pad: int) -> None:
        self._bpe = backend
        backend.no_padding()
        backend.no_truncation()
        backend.encode_special_tokens = True  # "[SEP]" in a caption is text
        prefix, suffix = _find_special_ids(backend)
        if len(prefix) > 1 or len(suffix) != 1:
            raise UserError(
                "the tokenizer of model.text.folder must end a text with one special token and "
                f"start it with one or none, but adds {len(prefix)} and {len(suffix)}: choose "
                "model.text.tokenizer=bpe"
            )
        self._prefix = tuple(prefix)
        self.bos, self.eos, self.pad = (prefix[0] if prefix else -1), suffix[0], pad
        self.vocab_size = backend.get_vocab_size()

    @classmethod
    def from_json(cls, text: str) -> LibraryTokenizer:
        """Return the tokenizer that `to_json` wrote."""
        try:
            pad = parse_json(text)["padding"]["pad_id"]
            return cls(tokenizers.Tokenizer.from_str(text), int(pad))
        except UserError:
            raise
        except Exception as error:  # the library raises bare Exception
            raise UserError(f"the tokenizer file is damaged ({error})") from None

    def to_json(self) -> str:
        """Return the tokenizer in the format of the `tokenizers` library, with its padding."""
        self._bpe.enable_padding(pad_id=self.pad, pad_token=self._bpe.id_to_token(self.pad))
        text: str = self._bpe.to_str()
        self._bpe.no_padding()
        return text

    def encode_uncut(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text, of any number, without special tokens."""
        encodings = self._bpe.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def get_word_boundaries(self) -> tuple[list[bool], list[bool]]:
        """Return for each id whether the token starts a word, and whether it ends one."""
        names = [self._bpe.id_to_token(i) or "" for i in range(self.vocab_size)]
        no_ends = [False] * len(names)
        if any(name.endswith(CLIP_WORD_END) for name in names):
            return no_ends, [name.endswith(CLIP_WORD_END) for name in names]
        for marker in (WORD_START_MARKER, SENTENCE_START_MARKER):
            starts = [name.startswith(marker) for name in names]
            if sum(starts) > 1:
                return starts, no_ends
        return [not name.startswith(WORDPIECE_PREFIX) for name in names], no_ends


def load_folder_tokenizer(folder: Path) -> LibraryTokenizer:
    """Return the tokenizer of a folder of transformers.

    Raises:
        UserError: The folder has no `tokenizer.json`, or it is damaged or unsuitable.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise UserError(
            f"{folder} has no tokenizer.json: write one with AutoTokenizer.from_pretrained(...)"
            ".save_pretrained(<folder>) of transformers, or choose model.text.tokenizer=bpe"
        )
    try:
        backend = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise UserError(f"{path} is damaged ({error})") from None
    settings = _read_settings(folder)
    if settings.get("tokenizer_class") in SIGLIP_CLASSES:
        _add_siglip_cleaning(backend, lowers_case=bool(settings.get("do_lower_case", True)))
    return LibraryTokenizer(backend, _find_pad(backend, settings))


def _read_settings(folder: Path) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for name in reversed(TOKENIZER_FILES[1:]):
        try:
            content = parse_json((folder / name).read_text(encoding="utf-8"))
            settings |= content if isinstance(content, dict) else {}
        except FileNotFoundError:
            continue
        except (OSError, *JSON_ERRORS):
            raise UserError(f"{folder / name} is damaged") from None
    return settings


def _find_pad(backend: tokenizers.Tokenizer, settings: dict[str, Any]) -> int:
    """Return the id of the padding token; without one, the end token fills the positions."""
    token = settings.get("pad_token")
    name = token.get("content") if isinstance(token, dict) else token
    pad = None if name is None else backend.token_to_id(str(name))
    if pad is not None:
        return int(pad)
    if backend.padding is not None:
        return int(backend.padding["pad_id"])
    suffix = _find_special_ids(backend)[1]
    return suffix[-1] if suffix else 0


def _find_special_ids(backend: tokenizers.Tokenizer) -> tuple[list[int], list[int]]:
    """Return the ids that are added in front of a text and behind it."""
    bare_ids = backend.encode("a", add_special_tokens=False).ids
    ids = backend.encode("a").ids
    for start in range(len(ids) - len(bare_ids) + 1):
        if ids[start : start + len(bare_ids)] == bare_ids:
            return ids[:start], ids[start + len(bare_ids) :]
    return [], []


def _add_siglip_cleaning(backend: tokenizers.Tokenizer, *, lowers_case: bool) -> None:
    """Clean texts as transformers' SiglipTokenizer does: no punctuation, single spaces."""
    punctuation = "[" + "".join(f"\\{character}" for character in string.punctuation) + "]"
    steps: list[Any] = [normalizers.Lowercase()] if lowers_case else []
    steps += [
        normalizers.Replace(tokenizers.Regex(punctuation), ""),
        normalizers.Replace(tokenizers.Regex(r"\s+"), " "),
        normalizers.Strip(),
    ]
    if backend.normalizer is not None:
        steps.append(backend.normalizer)
    backend.normalizer = normalizers.Sequence(steps)
