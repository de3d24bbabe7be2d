"""Files of the Hugging Face hub: from its cache on this machine, else downloaded.

Only `config.json`-like files, tokenizers and safetensors are fetched; nothing is executed.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from uniclip.errors import UserError

PREFIXES = ("hf-hub:", "hf:")
"""What a name of the hub begins with, as in timm and open_clip."""
LOCAL_PREFIX = "local-dir:"
"""What a local folder may begin with, as in timm and open_clip."""
HUB_NAME = re.compile(r"([A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*")
"""A name of the hub, such as `organization/model`; the path of a file may look the same."""
WEIGHT_SUFFIXES = (".bin", ".ckpt", ".pt", ".pth", ".safetensors")
CONNECT_TIMEOUT_SECONDS = 10
"""Time after which a hub that does not answer counts as unreachable."""
FILE_PATTERNS = ("*.json", "*.safetensors", "*.txt", "*.model")


def is_hub_name(text: str) -> bool:
    """Return whether a text names a repository of the hub, such as `hf-hub:timm/resnet18`."""
    return text.startswith(PREFIXES)


def strip_prefix(text: str) -> str:
    """Return a name or folder without the prefix that says where it lies."""
    for prefix in (*PREFIXES, LOCAL_PREFIX):
        text = text.removeprefix(prefix)
    return text


def suggest_hub_name(path: str, key: str) -> str:
    """Return a hint for a path that does not exist, if it may be a name of the hub, else ""."""
    if not HUB_NAME.fullmatch(path) or path.endswith(WEIGHT_SUFFIXES):
        return ""
    return f"; if it is a name of the Hugging Face hub, write {key}=hf-hub:{path}"


def find_folder(name: str, key: str) -> Path:
    """Return the folder that `name` means: a path, or a repository of the hub.

    Args:
        name: A path, `local-dir:<path>`, `hf-hub:<repository>` or `hf:<repository>`.
        key: The key of the configuration that has this value, for the error.

    Raises:
        UserError: There is no such folder, or the repository is neither in the cache nor can be
            downloaded.
    """
    if not is_hub_name(name):
        folder = Path(strip_prefix(name)).expanduser()
        if not folder.is_dir():
            raise UserError(f"{key}={name}: no such folder{suggest_hub_name(name, key)}")
        return folder
    from huggingface_hub import snapshot_download

    repository = strip_prefix(name)
    try:
        return Path(snapshot_download(repository, local_files_only=True))
    except Exception:  # not in the cache; the library's errors have no common class
        pass
    try:
        _require_repository(repository)
        return Path(snapshot_download(repository, allow_patterns=list(FILE_PATTERNS)))
    except Exception as error:
        raise _make_missing_error(name, key, f"hf download {repository}", error) from None


def find_file(repository: str, file_names: tuple[str, ...], key: str) -> Path:
    """Return a file of a repository of the hub: the first of `file_names` that there is.

    Raises:
        UserError: None is in the cache or can be downloaded.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    for file_name in file_names:
        cached_path = try_to_load_from_cache(repository, file_name)
        if isinstance(cached_path, str):
            return Path(cached_path)
    command = f"hf download {repository} {file_names[0]}"
    try:
        _require_repository(repository)
    except Exception as error:  # such as no network
        raise _make_missing_error(repository, key, command, error) from None
    for file_name in file_names:
        try:
            return Path(hf_hub_download(repository, file_name))
        except Exception as error:  # such as no file of this name
            last_error = error
    raise _make_missing_error(repository, key, command, last_error)


def _require_repository(repository: str) -> None:
    """Raise an error of the library unless the hub answers that it has the repository.

    A download without a network is repeated for half a minute, with a message each time; this
    question is asked once.
    """
    from huggingface_hub import HfApi

    HfApi().repo_info(repository, timeout=CONNECT_TIMEOUT_SECONDS)


def _make_missing_error(name: str, key: str, command: str, error: Exception) -> UserError:
    return UserError(
        f"{key}: {name} is not in the cache of the Hugging Face hub and cannot be downloaded "
        f"({type(error).__name__}): run `{command}` where there is a network and copy the cache "
        "(HF_HOME, else ~/.cache/huggingface), or name a local file or folder"
    )


def get_torch_cache() -> Path:
    """Return the folder in which torch keeps weights that it downloaded."""
    torch_home = os.environ.get("TORCH_HOME")
    cache_folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    home = Path(torch_home) if torch_home else Path(cache_folder) / "torch"
    return home.expanduser() / "hub" / "checkpoints"
