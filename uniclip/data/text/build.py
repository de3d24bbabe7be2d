"""The tokenizer that a configuration names, and the one that a run stored."""

from __future__ import annotations

import json
from collections.abc import Iterable

from uniclip.config import TextConfig, text_model
from uniclip.data.text.library_tokenizer import LibraryTokenizer, load_folder_tokenizer
from uniclip.data.text.tokenizer import Tokenizer, load_clip_tokenizer, train_bpe
from uniclip.errors import UserError


def build_tokenizer(config: TextConfig, captions: Iterable[str]) -> Tokenizer:
    """Return the tokenizer that `config` names: CLIP's, a folder's, or a BPE trained on `captions`.

    `captions` are read for a BPE alone.

    Raises:
        UserError: CLIP's vocabulary is not installed, or the folder's tokenizer is missing or has
            more tokens than its encoder.
    """
    if config.tokenizer == "clip":
        return load_clip_tokenizer()
    if config.tokenizer == "bpe":
        return train_bpe(captions, config.vocab_size)
    assert config.folder is not None
    folder_tokenizer = load_folder_tokenizer(text_model.find_folder(config.folder))
    if folder_tokenizer.vocab_size > config.vocab_size:
        raise UserError(
            f"model.text.folder={config.folder}: its tokenizer has {folder_tokenizer.vocab_size} "
            f"tokens, its encoder only {config.vocab_size}"
        )
    return folder_tokenizer


def read_tokenizer(text: str) -> Tokenizer:
    """Return the tokenizer that `to_json` of any tokenizer wrote.

    Raises:
        UserError: The text is something else.
    """
    try:
        has_padding = bool(json.loads(text).get("padding"))
    except (ValueError, AttributeError):
        has_padding = False
    return LibraryTokenizer.from_json(text) if has_padding else Tokenizer.from_json(text)
