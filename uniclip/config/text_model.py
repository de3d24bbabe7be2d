"""What transformers says of a text encoder, without importing torch here.

The folder's `config.json` is read here; another process is asked once what the model of it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uniclip.config.library_query import NoAnswerError, ask, recall_answer
from uniclip.errors import UserError
from uniclip.io import hub
from uniclip.io.atomic import JSON_ERRORS, parse_json

FOLDER_KEY = "model.text.folder"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
"""Files of a folder that define its tokenizer; the last two may be missing."""
QUERY_MODULE = "uniclip.models.text_query"
QUERY_VERSIONS = (2, "transformers", "torch")
"""The version of the question's code, and the libraries that answer."""
DERIVED_KEYS = (
    *("name", "width", "layers", "heads", "context_length", "vocab_size", "tokenizer"),
    *("activation", "layer_norm_eps"),
)
"""Keys of the text encoder that may be null, and then follow from others."""


def read_folder(folder: str) -> dict[str, Any]:
    """Return the values of a text encoder, by key, that follow from a folder of transformers.

    Args:
        folder: A path, or `hf-hub:<name>`.

    Raises:
        UserError: There is no such folder, or it has no encoder of texts.
    """
    path = hub.find_folder(folder, FOLDER_KEY) / "config.json"
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError
    except FileNotFoundError:
        raise UserError(f"{FOLDER_KEY}={folder} has no config.json: name a folder that "
                        "transformers wrote with save_pretrained") from None  # fmt: skip
    except (OSError, *JSON_ERRORS):
        raise UserError(f"{FOLDER_KEY}={folder}: config.json is damaged") from None
    facts = _query({"folder_config": content}, f"of {FOLDER_KEY}={folder}")
    if facts is None:
        raise UserError(f"{FOLDER_KEY}={folder}: transformers could not be asked what it is")
    if facts.get("error"):
        raise UserError(f"{FOLDER_KEY}={folder}: {facts['error']}")
    return facts


def describe_problem(text_values: Mapping[str, Any]) -> str | None:
    """Return why transformers cannot build a text encoder, or None.

    Args:
        text_values: The values of a `TextConfig` whose name is not clip.
    """
    values = {k: v for k, v in text_values.items() if k not in ("folder", "pretrained")}
    folder = text_values["folder"]
    folder_options = {} if folder is None else read_folder(folder)["options"]
    user_options = sorted({*text_values["options"]} - {*folder_options})
    question = {"text": values, "user_options": user_options}
    facts = _query(question, f"model.text.name={text_values['name']}") or {}
    error = facts.get("error")
    return None if error is None else str(error)


def find_folder(folder: str) -> Path:
    """Return the path of `model.text.folder`; `UserError` if there is none."""
    return hub.find_folder(folder, FOLDER_KEY)


def _query(question: Mapping[str, Any], subject: str) -> dict[str, Any] | None:
    notice = f"asking transformers about the text encoder {subject}, once ..."
    try:
        return recall_answer(
            "text-models", question, QUERY_VERSIONS, lambda: ask(QUERY_MODULE, question, notice)
        )
    except NoAnswerError:
        return None
