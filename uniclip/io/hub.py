"""Files of the Hugging Face hub: from its cache on this machine, else downloaded.

Only `config.json`-like files, tokenizers and safetensors are fetched; nothing is executed.
"""

from __future__ import annotations

import os
from pathlib import Path

from uniclip.errors import UserError

PREFIXES = ("hf-hub:", "hf:")
"""What a name of the hub begins with, as in timm and open_clip."""
LOCAL_PREFIX = "local-dir:"
"""What a local folder may begin with, as in timm and open_clip."""
FILE_PATTERNS = ("*.json", "*.safetensors", "*.txt", "*.model")


def is_hub_name(text: str) -> bool:
    """Return whether a text names a repository of the hub, such as `hf-hub:timm/resnet18`."""
    return text.startswith(PREFIXES)


def strip_prefix(text: str) -> str:
    """Return a name or folder without the prefix that says where it lies."""
    for prefix in (*PREFIXES, LOCAL_PREFIX):
        text = text.removeprefix(prefix)
    return text


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
            raise UserError(f"{key}={name}: no such folder")
        return folder
    from huggingface_hub import snapshot_download

    repository = strip_prefix(name)
    try:
        return Path(snapshot_download(repository, local_files_only=True))
    except Exception:  # not in the cache; the library's errors have no common class
        pass
    try:
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
    for file_name in file_names:
        try:
            return Path(hf_hub_download(repository, file_name))
        except Exception as error:  # such as no network, or no file of this name
            last_error = error
    command = f"hf download {repository} {file_names[0]}"
    raise _make_missing_error(repository, key, command, last_error)


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
