"""Answers whether a folder of transformers suits a model, for processes that do not import torch.

    python -m uniclip.checkpoints.folder_query '{"folder": ..., "image": {...}, "text": {...}}'

prints why the encoders of the folder's CLIPModel or SiglipModel are none of these (`ImageConfig`
and `TextConfig` as plain values; null for an encoder that does not start from the folder), or null.
No weights are read.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uniclip.checkpoints import transformers_folder
from uniclip.checkpoints.image_agreement import check_image_encoder
from uniclip.checkpoints.warm_start import describe_other_vocabulary
from uniclip.config import ImageConfig, TextConfig
from uniclip.config.binding import bind
from uniclip.data.text.build import build_tokenizer
from uniclip.errors import UserError
from uniclip.models.image_query import build_encoder


def describe_problem(
    folder: Path, image: Mapping[str, Any] | None, text: Mapping[str, Any] | None
) -> str | None:
    """Return why the folder's encoders are not those of a model; None if nothing is wrong."""
    try:
        if text is not None:
            _check_vocabulary(folder, bind(TextConfig, text, "model.text."))
        if image is not None:
            config: ImageConfig = bind(ImageConfig, image, "model.image.")
            checkpoint_image = transformers_folder.read_image_config(folder)
            check_image_encoder(build_encoder(config), config, checkpoint_image)
    except UserError as error:
        return str(error).removeprefix(f"{folder}: ")
    return None


def _check_vocabulary(folder: Path, text: TextConfig) -> None:
    """Raise `UserError` if a text encoder has another vocabulary than the folder's."""
    folder_tokenizer = build_tokenizer(transformers_folder.read_text_config(folder), ())
    text_tokenizer = None if text.tokenizer == "bpe" else build_tokenizer(text, ())
    problem = describe_other_vocabulary(folder, folder_tokenizer, text_tokenizer)
    if problem is not None:
        raise UserError(problem)


def main() -> None:
    """Answer the question in the first argument."""
    question = json.loads(sys.argv[1])
    folder = Path(question["folder"])
    print(json.dumps({"problem": describe_problem(folder, question["image"], question["text"])}))


if __name__ == "__main__":
    main()
