"""The files of initial weights: where they lie, and their digests in the fingerprint of a run.

Three keys name weights: `pretrained` (both encoders), `model.image.pretrained` and
`model.text.folder`. Their content is part of a run's id, their path is not. A run loads them only
if they are still those that were planned. Nothing here imports torch: planning needs digests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from uniclip.config import ImageConfig, RunConfig, text_model
from uniclip.config.image_model import query_image_model
from uniclip.config.text_model import TOKENIZER_FILES
from uniclip.errors import CHANGED_DATA_ADVICE, DataChangedError, UserError
from uniclip.io import file_digests, hub
from uniclip.io.atomic import JSON_ERRORS, parse_json
from uniclip.io.hashing import digest

IMAGE_KEY = "model.image.pretrained"
FINGERPRINT_NAMES = ("pretrained", "image_pretrained", "text_folder")
"""Entries that files of weights add to the fingerprint of the data."""
MODEL_FILES = ("config.json", "open_clip_config.json")
WEIGHT_FILES = (
    *("model.safetensors", "open_clip_model.safetensors", "model.safetensors.index.json"),
    *("open_clip_pytorch_model.bin", "pytorch_model.bin"),
)
"""Names of the weights in a folder, those that are preferred first; an index names others."""
TIMM_FILES = ("model.safetensors", "pytorch_model.bin")
"""Names of the weights in timm's repositories of the hub."""
SPEC_FILE, RUN_WEIGHTS_FILE = "spec.json", "weights.safetensors"


@dataclass(frozen=True, kw_only=True)
class WeightSource:
    """Files that one key names."""

    key: str
    """The key and its value, for errors."""
    files: tuple[Path, ...]
    is_folder: bool


def list_sources(config: RunConfig) -> dict[str, WeightSource]:
    """Return the entry of the fingerprint -> the files of weights that a run reads.

    Raises:
        UserError: A file or folder is missing, and cannot be downloaded.
    """
    sources = {}
    if config.pretrained is not None:
        sources["pretrained"] = _list_pretrained(config.pretrained)
    if config.model.image.weights_source is not None:
        path = find_image_weights(config.model.image)
        sources["image_pretrained"] = _make_file_source(f"{IMAGE_KEY}={path}", path)
    text = config.model.text
    if text.folder is not None and (text.pretrained or text.tokenizer == "folder"):
        folder = text_model.find_folder(text.folder)
        names = TOKENIZER_FILES if text.tokenizer == "folder" else ()
        files = [folder / name for name in names if (folder / name).is_file()]
        files += find_weight_files(folder, text_model.FOLDER_KEY) if text.pretrained else []
        sources["text_folder"] = WeightSource(
            key=f"{text_model.FOLDER_KEY}={text.folder}", files=tuple(files), is_folder=True
        )
    return sources


def fingerprint(config: RunConfig) -> dict[str, str]:
    """Return what the files of weights add to the fingerprint of the data: their digests.

    Raises:
        UserError: As `list_sources`.
    """
    return {name: _digest_source(source) for name, source in list_sources(config).items()}


def check_unchanged(config: RunConfig, planned_fingerprint: Mapping[str, object]) -> None:
    """Raise `DataChangedError` if files of weights have changed since the run was planned.

    Args:
        config: The run.
        planned_fingerprint: The fingerprint in the run's spec.
    """
    try:
        sources = list_sources(config)
        digests = {name: _digest_source(source) for name, source in sources.items()}
    except UserError as error:
        raise DataChangedError(str(error)) from None
    for name, source in sources.items():
        if digests[name] != planned_fingerprint.get(name):
            raise DataChangedError(
                f"{source.key} has changed since the plan; {CHANGED_DATA_ADVICE}"
            )


_planned_digests: ContextVar[Mapping[str, object]] = ContextVar(
    "planned_digests", default=MappingProxyType({})
)


@contextmanager
def require_fingerprint(planned_fingerprint: Mapping[str, object]) -> Iterator[None]:
    """Context in which `read_steadily` reads only the files that were planned.

    Args:
        planned_fingerprint: The fingerprint in the run's spec.
    """
    token = _planned_digests.set(planned_fingerprint)
    try:
        yield
    finally:
        _planned_digests.reset(token)


def select_data_fingerprint(planned_fingerprint: Mapping[str, object]) -> dict[str, object]:
    """Return the fingerprint of a run's data without what files of weights add to it."""
    return {
        name: value for name, value in planned_fingerprint.items() if name not in FINGERPRINT_NAMES
    }


@contextmanager
def read_steadily(config: RunConfig) -> Iterator[None]:
    """Context in which the files of weights of a run are read.

    Raises:
        UserError: A file is missing.
        DataChangedError: A file is not that of `require_fingerprint`, or was changed while it was
            read.
    """
    planned = _planned_digests.get()
    if any(name in planned for name in FINGERPRINT_NAMES):
        check_unchanged(config, planned)
    sources = list_sources(config)
    signatures = {name: _read_signatures(source) for name, source in sources.items()}
    yield
    for name, source in sources.items():
        if _read_signatures(source) != signatures[name]:
            raise DataChangedError(
                f"{source.key} was changed while it was read; {CHANGED_DATA_ADVICE}"
            )


def find_pretrained(pretrained: str) -> Path:
    """Return the file or folder that `pretrained` names; of a run's folder its final weights.

    Raises:
        UserError: There is none.
    """
    if hub.is_hub_name(pretrained) or pretrained.startswith(hub.LOCAL_PREFIX):
        return hub.find_folder(pretrained, "pretrained")
    path = Path(pretrained)
    if path.is_dir() and (path / SPEC_FILE).is_file():
        path = path / RUN_WEIGHTS_FILE
    if not path.exists():
        hint = hub.suggest_hub_name(pretrained, "pretrained")
        raise UserError(f"pretrained={pretrained}: no such file{hint}")
    return path


def find_image_weights(image: ImageConfig) -> Path:
    """Return the file of weights that `model.image.pretrained` names.

    Raises:
        UserError: There is none, or timm's own is neither in a cache nor can be downloaded.
    """
    source = str(image.pretrained)
    if source == "true":
        return _find_timm_weights(image)
    if hub.is_hub_name(source):
        return hub.find_file(hub.strip_prefix(source), TIMM_FILES, IMAGE_KEY)
    path = Path(hub.strip_prefix(source)).expanduser()
    if path.is_dir():
        return find_weight_files(path, IMAGE_KEY)[0]
    if not path.is_file():
        hint = hub.suggest_hub_name(source, IMAGE_KEY)
        raise UserError(f"{IMAGE_KEY}={source}: no such file{hint}")
    return path


def find_weight_files(folder: Path, key: str) -> list[Path]:
    """Return the files of weights in a folder: one, or the parts that an index names.

    Raises:
        UserError: There are none.
    """
    for name in WEIGHT_FILES:
        path = folder / name
        if not path.is_file():
            continue
        if not name.endswith(".index.json"):
            return [path]
        try:
            weight_map = parse_json(path.read_text(encoding="utf-8"))["weight_map"]
            return [folder / Path(part).name for part in sorted(set(weight_map.values()))]
        except (OSError, *JSON_ERRORS, KeyError, AttributeError, TypeError):
            raise UserError(f"{path} is damaged") from None
    raise UserError(f"{key}: {folder} has no weights, such as {WEIGHT_FILES[0]}")


def _find_timm_weights(image: ImageConfig) -> Path:
    facts = query_image_model(image.name, image.options, image.image_size, asks_always=True)
    if facts.error is not None:
        raise UserError(facts.error)
    if facts.weights_repository is not None:
        return hub.find_file(facts.weights_repository, TIMM_FILES, f"{IMAGE_KEY}=true")
    if facts.weights_url is None:
        raise UserError(
            f"{IMAGE_KEY}=true: timm has no weights for {image.name}; choose a model of "
            "timm.list_models(pretrained=True), or name a file"
        )
    folder = hub.get_torch_cache()
    path = folder / facts.weights_url.rpartition("/")[2]
    if not path.is_file():
        raise UserError(
            f"{IMAGE_KEY}=true: download {facts.weights_url} into {folder}, or name a file"
        )
    return path


def _list_pretrained(pretrained: str) -> WeightSource:
    path, key = find_pretrained(pretrained), f"pretrained={pretrained}"
    if not path.is_dir():
        return _make_file_source(key, path)
    names = [*MODEL_FILES, *TOKENIZER_FILES]
    files = [path / name for name in names if (path / name).is_file()]
    return WeightSource(
        key=key, files=(*files, *find_weight_files(path, "pretrained")), is_folder=True
    )


def _make_file_source(key: str, path: Path) -> WeightSource:
    return WeightSource(key=key, files=(path,), is_folder=False)


def _digest_source(source: WeightSource) -> str:
    """Return the digest of a file's content, or that of the names and contents of several."""
    memo_name = file_digests.name_memo("pretrained", source.files[0].resolve(), len(source.files))
    try:
        digests = file_digests.digest_files(source.files, memo_name)
    except OSError:
        raise UserError(f"{source.key}: a file of it cannot be read") from None
    if not source.is_folder:
        return digests[0]
    return digest([[path.name, d] for path, d in zip(source.files, digests)])


def _read_signatures(source: WeightSource) -> list[tuple[int, ...]]:
    try:
        return [file_digests.read_signature(path) for path in source.files]
    except OSError:
        return []
