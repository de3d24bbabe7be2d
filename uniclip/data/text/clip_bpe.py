"""CLIP's published vocabulary: 49,408 byte-level BPE tokens (Radford et al., 2021).

The vocabulary file is the one that open_clip_torch installs, read without importing that package;
the `tokenizers` library does the merging. Gives the same ids as open_clip's `SimpleTokenizer`: the
same cleaning (ftfy, HTML entities, white space, lower case), the same pieces (letters, single
digits, the rest), and "<end_of_text>" in a text is the end token, as there.
"""

from __future__ import annotations

import gzip
import html
from importlib.util import find_spec
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from uniclip.errors import UserError

BOS, EOS, PAD = "<start_of_text>", "<end_of_text>", "!"
"""CLIP has no padding token: id 0 ("!" inside a word) fills the positions after the end token,
which the model ignores."""
VOCAB_SIZE = 49_408
WORD_END = "</w>"

_VOCAB_PACKAGE, _VOCAB_FILE = "open_clip", "bpe_simple_vocab_16e6.txt.gz"
_PRETOKEN_PATTERN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"


def load_bpe() -> tokenizers.Tokenizer:
    """Return the vocabulary as a tokenizer of cleaned text.

    Raises:
        UserError: open_clip_torch is not installed.
    """
    lines = gzip.decompress(_find_vocab_file().read_bytes()).decode("utf-8").split("\n")
    merge_count = VOCAB_SIZE - 2 - 2 * 256
    merges = [(left, right) for left, right in map(str.split, lines[1 : merge_count + 1])]
    byte_symbols = _build_byte_alphabet()
    token_names = [
        *byte_symbols,
        *(c + WORD_END for c in byte_symbols),
        *map("".join, merges),
        BOS,
        EOS,
    ]
    vocabulary = {token_name: index for index, token_name in enumerate(token_names)}
    assert len(vocabulary) == VOCAB_SIZE, len(vocabulary)
    model = models.BPE(vocabulary, merges, end_of_word_suffix=WORD_END)
    bpe = tokenizers.Tokenizer(model)
    pretoken_regex = tokenizers.Regex(_PRETOKEN_PATTERN)
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pretoken_regex, behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    bpe.add_special_tokens([BOS, EOS])
    return bpe


def clean_text(text: str) -> str:
    """Return `text` with repaired encoding, resolved HTML entities, single spaces, in lower case.

    Printable ASCII without "&" has nothing that ftfy or `html` would change, and is not given to
    them: ftfy takes longer than everything else that is done with a text.

    Raises:
        UserError: ftfy, which open_clip_torch needs, is not installed, and the text is not such.
    """
    if text.isascii() and text.isprintable() and "&" not in text:
        return _normalize_spaces_and_case(text)
    try:
        import ftfy
    except ImportError:
        raise UserError(
            "the CLIP tokenizer cleans texts with ftfy, which is not installed: pip install ftfy"
        ) from None
    return _normalize_spaces_and_case(html.unescape(html.unescape(ftfy.fix_text(text))))


def _normalize_spaces_and_case(text: str) -> str:
    return " ".join(text.split()).lower()


def _find_vocab_file() -> Path:
    package_spec = find_spec(_VOCAB_PACKAGE)
    path = (
        Path(package_spec.origin).with_name(_VOCAB_FILE)
        if package_spec and package_spec.origin
        else None
    )
    if path is None or not path.exists():
        raise UserError(
            "model.text.tokenizer=clip reads CLIP's vocabulary from a package that is not "
            "installed: pip install open_clip_torch"
        )
    return path


def _build_byte_alphabet() -> list[str]:
    """Return the 256 symbols of bytes in the vocabulary's order: printable ones first."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [*map(chr, printable), *(chr(256 + i) for i in range(256 - len(printable)))]
