"""Published models: files of CLIP, open_clip and UniCL, folders of open_clip and transformers."""

from __future__ import annotations

from pathlib import Path

from uniclip.checkpoints import importing, transformers_folder, weight_files
from uniclip.checkpoints.importing import CheckpointWeights, ImportedModel
from uniclip.checkpoints.open_clip_config import OpenClipConfig, read_open_clip_config
from uniclip.data.text.tokenizer import Tokenizer, load_clip_tokenizer
from uniclip.errors import UserError

OPEN_CLIP_CONFIG = "open_clip_config.json"


def load_model(
    source: str | Path,
    *,
    allow_torchscript: bool = False,
    quick_gelu: bool | None = None,
    open_clip_config: OpenClipConfig | None = None,
) -> ImportedModel:
    """Return a published model, on the CPU.

    Args:
        source: A file or folder, `local-dir:<folder>` or `hf-hub:<name>`.
        allow_torchscript, quick_gelu, open_clip_config: As for `importing.load_model`; for files.

    Raises:
        UserError: There is no such model, it is incomplete, or its architecture is unknown.
    """
    path = weight_files.find_pretrained(str(source))
    if not path.is_dir():
        return importing.load_model(
            path,
            allow_torchscript=allow_torchscript,
            quick_gelu=quick_gelu,
            open_clip_config=open_clip_config,
        )
    weights, text_tokenizer = read_folder(path)
    return importing.assemble_model(weights, text_tokenizer)


def read_folder(folder: Path) -> tuple[CheckpointWeights, Tokenizer]:
    """Return the weights and the tokenizer of a folder of open_clip or transformers.

    Raises:
        UserError: It is neither, or holds one encoder only.
    """
    if (folder / OPEN_CLIP_CONFIG).is_file():
        return _read_open_clip_folder(folder)
    if transformers_folder.is_model_folder(folder):
        return transformers_folder.read_folder(folder)
    raise UserError(
        f"{folder} holds no CLIPModel or SiglipModel of transformers and no model of open_clip: "
        "name a text encoder with model.text.folder= and an image encoder with "
        "model.image.pretrained="
    )


def _read_open_clip_folder(folder: Path) -> tuple[CheckpointWeights, Tokenizer]:
    open_clip_config = read_open_clip_config(folder / OPEN_CLIP_CONFIG)
    text_tokenizer = load_clip_tokenizer()
    (path,) = weight_files.find_weight_files(folder, "pretrained")
    weights = importing.read_weights(path, text_tokenizer, open_clip_config=open_clip_config)
    return weights, text_tokenizer
