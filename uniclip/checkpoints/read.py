"""Other people's checkpoint files, read without running anything that they contain.

safetensors, and torch's files with `weights_only`: the unpickler makes tensors, plain containers
and, since UniCL's release holds its configuration, yacs' `CfgNode`, which becomes a plain
dictionary. A TorchScript archive is a program; it is opened only where it is trusted.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from uniclip.errors import UserError

CONTAINERS = ("model", "state_dict", "model_state_dict")
"""Keys under which training code keeps a state dict, beside its optimiser and the like."""
OPENAI_FACTS = ("input_resolution", "context_length", "vocab_size")
"""What OpenAI's archives list among their tensors."""
PARALLEL = "module."
"""Prefix of every key of a model that was saved inside torch's data-parallel wrapper."""


@dataclass(frozen=True)
class Contents:
    """The tensors of a file by key, on the CPU, and whether OpenAI made it."""

    tensors: dict[str, Tensor]
    openai: bool
    """From its facts, or as TorchScript: then its activations are quick_gelu."""


def read(path: Path, *, trust: bool = False) -> Contents:
    """The state dict in a file; floating-point tensors as float32.

    trust: open a TorchScript archive, which is a program, too.

    Raises:
        UserError: there is no such file, it is damaged, or it holds more than tensors in plain
            containers; one line that says how to go on.
    """
    if not path.is_file():
        raise UserError(f"no checkpoint at {path}: give a file, such as a .pt or .safetensors")
    script = _is_torchscript(path)
    if script and not trust:
        raise UserError(
            f"{path} is a TorchScript archive, a program: trust it with trust=true, or convert it "
            "elsewhere: python -c \"import torch; torch.save(torch.jit.load('FILE', "
            "map_location='cpu').state_dict(), 'FILE.pt')\""
        )
    tensors = _tensors(_opened(path, script), path)
    if tensors and all(key.startswith(PARALLEL) for key in tensors):
        tensors = {key.removeprefix(PARALLEL): value for key, value in tensors.items()}
    openai = script or any(fact in tensors for fact in OPENAI_FACTS)
    kept = {key: value for key, value in tensors.items() if key not in OPENAI_FACTS}
    return Contents({k: v.float() if v.is_floating_point() else v for k, v in kept.items()}, openai)


class _CfgNode:
    """Stands for yacs' class in the unpickler, which fills dictionaries only."""

    def __new__(cls) -> OrderedDict[str, Any]:  # type: ignore[misc]
        return OrderedDict()


def _opened(path: Path, script: bool) -> Any:
    try:
        if script:
            return torch.jit.load(path, map_location="cpu").state_dict()
        if _is_safetensors(path):
            return safetensors.torch.load_file(path)
        with torch.serialization.safe_globals([(_CfgNode, "yacs.config.CfgNode")]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, AttributeError, TypeError, KeyError, IndexError) as error:
        raise UserError(
            f"{path} holds more than tensors in plain containers, and is not unpickled "
            f"({_reason(error)}); save its state dict alone with torch.save"
        ) from None
    except (safetensors.SafetensorError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise UserError(f"{path} is damaged or no checkpoint ({_reason(error)})") from None


def _tensors(found: Any, path: Path) -> dict[str, Tensor]:
    for name in CONTAINERS:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
            break
    if not isinstance(found, Mapping) or not found:
        raise UserError(f"{path} holds no state dict; save one with torch.save")
    for key, value in found.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise UserError(f"{path}: {key!r} is no tensor; save the state dict alone")
    return dict(found)


def _is_torchscript(path: Path) -> bool:
    """Whether a zip file holds code, as torch.save's never do."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(n.endswith("/constants.pkl") or "/code/" in n for n in archive.namelist())


def _is_safetensors(path: Path) -> bool:
    """A length of eight bytes, then a JSON object."""
    with open(path, "rb") as stream:
        return stream.read(9)[8:] == b"{" and not zipfile.is_zipfile(path)


def _reason(error: Exception) -> str:
    """What the library says is wrong, without its hint how to unpickle anyway."""
    text = " ".join(str(error).split("trusted source.")[-1].split())
    culprit = re.search(r"GLOBAL (\S+)", text)
    return f"it asks for {culprit[1]}" if culprit else text[:160]
