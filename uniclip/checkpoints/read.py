"""Reading of published checkpoint files without executing code in them.

Reads safetensors, and torch's files with `weights_only`: the unpickler creates tensors, plain
containers and, because UniCL's release includes its configuration, yacs' `CfgNode`, which becomes a
plain dictionary. A TorchScript archive contains code; it is opened only if the user allows it.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from uniclip.errors import UserError

STATE_DICT_KEYS = ("model", "state_dict", "model_state_dict")
"""Keys under which training code stores a state dict, beside the optimizer and other values."""
OPENAI_METADATA_KEYS = ("input_resolution", "context_length", "vocab_size")
"""Metadata that OpenAI's archives list among their tensors."""
DATA_PARALLEL_PREFIX = "module."
"""Prefix of every key of a model saved inside torch's data-parallel wrapper."""


@dataclass(frozen=True)
class CheckpointContents:
    """The tensors of a file by key, on the CPU, and whether it is OpenAI's."""

    tensors: dict[str, Tensor]
    is_openai: bool
    """By its metadata, or because it is TorchScript; its activations are then quick_gelu."""


def read_checkpoint(path: Path, *, allow_torchscript: bool = False) -> CheckpointContents:
    """Return the state dict in a file; floating-point tensors as float32.

    Args:
        path: The file.
        allow_torchscript: Open TorchScript archives, which contain code, too.

    Raises:
        UserError: There is no such file, it is damaged, or it holds more than tensors in plain
            containers; the message is one line that says what to do.
    """
    if not path.is_file():
        raise UserError(f"no checkpoint at {path}: name a file, such as a .pt or .safetensors")
    is_torchscript = _is_torchscript(path)
    if is_torchscript and not allow_torchscript:
        raise UserError(
            f"{path} is a TorchScript archive, which contains code: allow it with "
            'allow_torchscript=true, or convert it elsewhere: python -c "import torch; '
            "torch.save(torch.jit.load('FILE', map_location='cpu').state_dict(), 'FILE.pt')\""
        )
    tensors = _extract_state_dict(_load_file(path, is_torchscript), path)
    if tensors and all(key.startswith(DATA_PARALLEL_PREFIX) for key in tensors):
        tensors = {key.removeprefix(DATA_PARALLEL_PREFIX): value for key, value in tensors.items()}
    is_openai = is_torchscript or any(
        metadata_key in tensors for metadata_key in OPENAI_METADATA_KEYS
    )
    weights = {key: value for key, value in tensors.items() if key not in OPENAI_METADATA_KEYS}
    return CheckpointContents(
        {
            name: tensor.float() if tensor.is_floating_point() else tensor
            for name, tensor in weights.items()
        },
        is_openai,
    )


class _CfgNode:
    """Replaces yacs' class in the unpickler by a plain dictionary."""

    def __new__(cls) -> OrderedDict[str, object]:  # type: ignore[misc]
        return OrderedDict()


def _load_file(path: Path, is_torchscript: bool) -> object:
    try:
        if is_torchscript:
            module = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
            return module.state_dict()
        if _is_safetensors(path):
            return safetensors.torch.load_file(path)
        with torch.serialization.safe_globals([(_CfgNode, "yacs.config.CfgNode")]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, AttributeError, TypeError, KeyError, IndexError) as error:
        raise UserError(
            f"{path} holds more than tensors in plain containers, and is not unpickled "
            f"({_format_reason(error)}); save only its state dict with torch.save"
        ) from None
    except (safetensors.SafetensorError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise UserError(
            f"{path} is damaged or not a checkpoint ({_format_reason(error)})"
        ) from None


def _extract_state_dict(container: object, path: Path) -> dict[str, Tensor]:
    for name in STATE_DICT_KEYS:
        if isinstance(container, Mapping) and isinstance(container.get(name), Mapping):
            container = container[name]
            break
    if not isinstance(container, Mapping) or not container:
        raise UserError(f"{path} has no state dict; save one with torch.save")
    for key, value in container.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise UserError(f"{path}: {key!r} is not a tensor; save only the state dict")
    return dict(container)


def _is_torchscript(path: Path) -> bool:
    """Return whether a file is a zip archive with code, which torch.save never writes."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(
            member.endswith("/constants.pkl") or "/code/" in member for member in archive.namelist()
        )


def _is_safetensors(path: Path) -> bool:
    """Return whether a file starts with a length of eight bytes and a JSON object."""
    with open(path, "rb") as stream:
        return stream.read(9)[8:] == b"{" and not zipfile.is_zipfile(path)


def _format_reason(error: Exception) -> str:
    """Return the library's message without its advice to unpickle anyway."""
    text = " ".join(str(error).split("trusted source.")[-1].split())
    blocked_global = re.search(r"GLOBAL (\S+)", text)
    return f"it refers to {blocked_global[1]}" if blocked_global else text[:160]
