"""Image-text pairs in Arrow or Parquet files, as `datasets` writes them; read in place.

What the data are is the names and sizes of the files, as a plan must know them at once, the names
of the classes in `dataset_info.json`, and with `data.verify=true` the bytes of the files; where
they lie is not part of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from uniclip.config import HuggingfaceData, ModelConfig
from uniclip.data import views
from uniclip.data.huggingface.folder import EXAMPLES, INFO_FILE, list_files, read_class_names
from uniclip.data.source import DataWarning
from uniclip.data.split import SourceShare
from uniclip.errors import UserError
from uniclip.io import file_digests
from uniclip.io.hashing import digest
from uniclip.io.rgb_image import IMAGE_RULE

if TYPE_CHECKING:
    from uniclip.data.split import Split, SplitName

SPLIT_RULE = "huggingface/1: as stated, else by a hash of key, path or number"

sample_view = views.sample_view


def fingerprint(config: HuggingfaceData) -> dict[str, object]:
    """Return number, size and a digest of the names, splits and sizes of the files.

    With a label column, a digest of the names of classes that `dataset_info.json` states; with
    `verify`, one of the content of the files too.

    Raises:
        UserError: A file is missing.
    """
    files = list_files(config.path).files
    content: dict[str, object] = {
        "source": "huggingface",
        "split": SPLIT_RULE,
        "files": {
            "number": len(files),
            "bytes": sum(file.size for file in files),
            "digest": digest([[file.split, file.name, file.size] for file in files], 32),
        },
        "image_size": config.image_size,
        "image_rule": IMAGE_RULE,
    }
    if class_names := read_class_names(files, config.label_column):
        content["class_names"] = digest(class_names, 32)
    if config.verify:
        paths = [Path(file.path) for file in files]
        try:
            digests = file_digests.digest_files(paths, file_digests.name_memo(*paths))
        except OSError as error:
            raise UserError(f"{error.filename} cannot be read ({error.strerror})") from None
        content["content"] = digest(digests, 32)
    return content


def describe_missing(config: HuggingfaceData) -> str | None:
    """Return what to do if there are no files, or None."""
    if not config.path:
        return f"name {EXAMPLES} with data.path=<folder>"
    try:
        list_files(config.path)
    except UserError as error:
        return str(error)
    return None


def describe_content(config: HuggingfaceData, model: ModelConfig) -> list[str]:
    """Return what the user should know of the files; `UserError` if they cannot be used."""
    from uniclip.data.huggingface import notes  # imports numpy: see `uniclip.data`

    return [describe_fingerprint(config), *notes.describe_data_set(config)]


def describe_fingerprint(config: HuggingfaceData) -> str:
    """Return one sentence on what the identity of the data rests on."""
    files = list_files(config.path).files
    noun = "file" if len(files) == 1 else "files"
    total_gb = sum(file.size for file in files) / 1e9
    rest = (
        "names, sizes and bytes (data.verify=true)"
        if config.verify
        else "names and sizes, not by what they hold (data.verify=true includes it)"
    )
    if read_class_names(files, config.label_column):
        rest += f", and by the names of the classes in {INFO_FILE}"
    return f"{len(files)} {noun}, {total_gb:.3g} GB: the data are identified by their {rest}"


def list_warnings(config: HuggingfaceData, model: ModelConfig) -> list[DataWarning]:
    """Return what the user should change; the files are indexed if they are not.

    Raises:
        UserError: The files cannot be used.
    """
    from uniclip.data.huggingface import notes

    return notes.list_warnings(config, model.text)


def count_training_samples(config: HuggingfaceData, enough: int) -> list[SourceShare] | None:
    """Return the share of all training samples; None, unknown, if there is no index yet."""
    from uniclip.data.huggingface.index import find_index  # imports numpy: see `uniclip.data`

    index = find_index(config)
    if index is None:
        return None
    return [SourceShare(0, index.content.splits["train"].num_samples, 1.0)]


def open_split(config: HuggingfaceData, split_name: SplitName) -> Split:
    """Return one split.

    Raises:
        UserError: The files cannot be used.
        DataChangedError: A file was changed while it was read.
    """
    from uniclip.data.huggingface import split  # imports numpy: see `uniclip.data`

    return split.open_split(config, split_name)
