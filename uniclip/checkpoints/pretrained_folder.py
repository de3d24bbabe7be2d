"""Whether a folder of transformers suits a configuration, without importing torch here.

Another process is asked once about a folder's small files and the encoders of a configuration.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from uniclip.checkpoints.weight_files import MODEL_FILES, find_pretrained
from uniclip.config import RunConfig, text_model
from uniclip.config.binding import to_builtins
from uniclip.config.library_query import NoAnswerError, ask, recall_answer
from uniclip.config.text_model import TOKENIZER_FILES
from uniclip.io.atomic import JSON_ERRORS, parse_json
from uniclip.io.hashing import digest_file

QUERY_MODULE = "uniclip.checkpoints.folder_query"
QUERY_VERSIONS = (1, "timm", "transformers", "torch")
"""The version of the question's code, and the libraries that answer."""
CONFIG_FILE, OPEN_CLIP_FILE = MODEL_FILES
MODEL_TYPES = ("clip", "siglip")
"""Types of whole models in a `config.json` of transformers."""
ANSWER_FILES = (CONFIG_FILE, "preprocessor_config.json", *TOKENIZER_FILES)
"""Files of both folders on which an answer depends."""


def describe_problem(config: RunConfig) -> str | None:
    """Return why `pretrained` is no model of these encoders; None if nothing is known to be wrong.

    Raises:
        UserError: There is no such folder or file.
    """
    if config.pretrained is None:
        return None
    folder = find_pretrained(config.pretrained)
    if not _is_transformers_folder(folder):
        return None
    towers = ("image", "text")
    starts_from = {t: config.pretrained_towers in (t, "both") for t in towers}
    values, folders = to_builtins(config.model), {"pretrained": folder}
    if config.model.text.folder is not None:  # another process has another working directory
        folders["text"] = text_model.find_folder(config.model.text.folder)
        values["text"]["folder"] = str(folders["text"].absolute())
    question: dict[str, Any] = {
        "folder": str(folder.absolute()),
        **{tower: values[tower] if starts_from[tower] else None for tower in towers},
    }
    notice = f"asking timm and transformers about pretrained={config.pretrained}, once ..."
    files = {
        f"{key}/{name}": digest_file(path / name)
        for key, path in folders.items()
        for name in ANSWER_FILES
        if (path / name).is_file()
    }
    try:
        answer = recall_answer(
            "pretrained-folders",
            {**question, "files": files},
            QUERY_VERSIONS,
            lambda: ask(QUERY_MODULE, question, notice),
        )
    except NoAnswerError:
        return None
    problem = answer.get("problem")
    return None if problem is None else f"pretrained={config.pretrained}: {problem}"


def _is_transformers_folder(folder: Path) -> bool:
    """Return whether a folder holds a CLIPModel or SiglipModel, by its `config.json`."""
    if (folder / OPEN_CLIP_FILE).is_file():
        return False
    try:
        content = parse_json((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, *JSON_ERRORS):
        return False
    return isinstance(content, dict) and content.get("model_type") in MODEL_TYPES
