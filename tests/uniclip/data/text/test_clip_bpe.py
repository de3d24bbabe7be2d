"""CLIP's vocabulary gives the ids of open_clip's tokenizer for any text."""

from __future__ import annotations

import html
import random
import subprocess
import sys

import ftfy
import numpy as np
import open_clip
import pytest
import torch

from tests.helpers.small_runs import tiny
from uniclip.config import TextConfig
from uniclip.data import open_split
from uniclip.data.loader import TrainingBatches
from uniclip.data.text import clip_bpe
from uniclip.data.text.build import build_tokenizer
from uniclip.data.text.tokenizer import Tokenizer, load_clip_tokenizer
from uniclip.errors import UserError

TEXTS = [
    "",
    "a photo of a dog",
    "It's DON'T we'll I'Ve x'\u017f 'S'T'LL",
    "a <end_of_text> b<start_of_text> <|startoftext|>",
    "!!!! ! wow!!",
    "&amp;lt; caf\u00e9 \u4e16\u754c",
    "\x00\x1c\x1d a\u0085b\u2028c\u200bd\ufeff",
    "\u00bc\u00bd \u00b2 12345 \u0663",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 family",
    "\u0130stanbul \u1e9e \u017f \u212a \u212b",
    "\u00e2\u20ac\u0153quoted\u00e2\u20ac\x9d \u201cand\u201d don\u2019t",
    "\ufb01ne \ufb02our",
    "a" * 400,
]
RANGES = [(1, 0x250), (0x370, 0x400), (0x590, 0x600), (0x900, 0x950), (0x2000, 0x2070),
          (0x2100, 0x2190), (0x3040, 0x3060), (0x4E00, 0x4E20), (0x1F600, 0x1F640)]  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    return load_clip_tokenizer()


def random_texts(n):
    draw = random.Random(0)
    letters = [chr(c) for start, stop in RANGES for c in range(start, stop)]
    plain = " abcdefgst'!<>&;#0123456789.,"
    return [
        "".join(draw.choice(letters if draw.random() < 0.6 else plain) for _ in range(length))
        for length in (draw.randint(1, 40) for _ in range(n))
    ]


@pytest.mark.parametrize("context", [77, 16])
def test_ids_equal_those_of_open_clip(tokenizer, context):
    texts = TEXTS + random_texts(2000) + [str(m.__doc__)[:900] for m in (np, torch, pytest)]
    expected = open_clip.tokenize(texts, context).numpy()
    ids = tokenizer.encode(texts, context)
    assert np.array_equal(ids, expected[:, : ids.shape[1]])
    assert not expected[:, ids.shape[1] :].any()


def test_special_ids_and_size(tokenizer):
    assert (tokenizer.bos, tokenizer.eos, tokenizer.pad) == (49406, 49407, 0)
    assert tokenizer.vocab_size == clip_bpe.VOCAB_SIZE == 49408
    assert tokenizer.is_clip


def test_a_saved_tokenizer_needs_no_open_clip(tokenizer):
    again = Tokenizer.from_json(tokenizer.to_json())
    assert again.is_clip
    assert again.pad == 0
    assert np.array_equal(again.encode(TEXTS, 77), tokenizer.encode(TEXTS, 77))
    assert again.to_json() == tokenizer.to_json()


def test_decoding_restores_the_text_without_padding(tokenizer):
    tokens = tokenizer.encode(["two cats on a mat", "x"], 77)
    assert [tokenizer.decode(row) for row in tokens] == ["two cats on a mat", "x"]


def test_the_configuration_selects_the_vocabulary_and_its_size():
    config = TextConfig(tokenizer="clip", vocab_size=49408)
    assert build_tokenizer(config, []).is_clip
    assert not build_tokenizer(TextConfig(vocab_size=300), ["a dog"]).is_clip
    with pytest.raises(UserError, match="model.text.vocab_size=49408"):
        TextConfig(tokenizer="clip", vocab_size=2000)


def test_the_vocabulary_is_read_without_importing_open_clip():
    code = (
        "import sys; from uniclip.data.text import clip_bpe; clip_bpe.load_bpe(); "
        "print(sys.modules.keys() & {'open_clip', 'torch'})"
    )
    completed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert completed.stdout.strip() == "set()"


def test_plain_texts_are_cleaned_as_by_ftfy():
    """Differential: the fast path of printable ASCII against ftfy and html, as open_clip calls."""
    draw = random.Random(1)
    ascii_characters = [chr(c) for c in range(128)]
    printable = ascii_characters[32:127]
    pieces = [
        *("&amp;", "&lt;", "&amp;amp;", "&eacute", "&EACUTE;", "&#39;", "&#x2019;", "& ", "a&b;"),
        *(
            "\r\n",
            "\t",
            "\x0b",
            "\x0c",
            "\x1b[1m",
            "\x1b[",
            "\x1c",
            "\x7f",
            "\0",
            "<b>",
            "''",
            "``",
        ),
        *("\\u00e9", "%C3%A9", "=?utf-8?", "fi", "A\u0303", "\u00c3\u00a9", "\xa0"),
    ]
    texts = ["".join(printable), "".join(ascii_characters), *ascii_characters, *pieces]
    texts += [a + b for a in printable for b in printable]
    for alphabet in (printable, ascii_characters, [*printable, *pieces]):
        texts += ["".join(draw.choices(alphabet, k=draw.randint(1, 60))) for _ in range(2000)]
    num_fast = 0
    for text in texts:
        fixed_text = html.unescape(html.unescape(ftfy.fix_text(text)))
        expected = " ".join(fixed_text.split()).lower()
        assert clip_bpe.clean_text(text) == expected, repr(text)
        num_fast += text.isascii() and text.isprintable() and "&" not in text
    assert 0.5 * len(texts) < num_fast < 0.95 * len(texts)


def test_ftfy_is_asked_only_about_texts_that_it_may_change(monkeypatch):
    asked = []
    monkeypatch.setattr(ftfy, "fix_text", lambda text: asked.append(text) or text)
    plain = ["A photo of  a dog's <b>tail</b>", ""]
    unclear = ["a &amp; b", "caf\u00e9", "a\tb", "a\x7f"]
    for text in plain + unclear:
        clip_bpe.clean_text(text)
    assert asked == unclear
    assert clip_bpe.clean_text(plain[0]) == "a photo of a dog's <b>tail</b>"


def test_a_missing_package_is_one_line(tokenizer, monkeypatch):
    monkeypatch.setattr(clip_bpe, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"^[^\n]*pip install open_clip_torch$"):
        clip_bpe.load_bpe()
    monkeypatch.setitem(sys.modules, "ftfy", None)
    with pytest.raises(UserError, match=r"^[^\n]*pip install ftfy$"):
        tokenizer.encode(["caf\u00e9 of a dog"], 8)
    assert tokenizer.encode(["a dog"], 8).shape == (1, 4), "nothing to repair"


def test_a_batch_is_cut_after_the_last_end_token(tokenizer):
    """Id 0 is padding, and "!" inside a word."""
    text_section = {
        "tokenizer": "clip",
        "vocab_size": 49408,
        "context_length": 77,
        "width": 32,
        "heads": 2,
    }
    config = tiny(model={"text": text_section}, train={"batch_size": 16})
    split = open_split(config.data, "train")
    captions = [("\u00a1!\u00a1!\u00a1!x end",) if i % 2 else ("a",) for i in range(len(split))]
    object.__setattr__(split, "captions", captions)
    tokens = TrainingBatches(config, split, tokenizer).build_batch(0).tokens
    longest = tokenizer.encode([captions[1][0]], 77)
    assert 0 in longest[0]
    assert tokens.shape[1] == longest.shape[1]
    assert (tokens == tokenizer.eos).any(1).all()
