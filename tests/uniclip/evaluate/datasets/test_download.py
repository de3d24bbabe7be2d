"""Downloads are left to torchvision; its errors become one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torchvision.datasets

from uniclip.errors import UserError
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets.download import download


def test_every_call_of_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, dict[str, Any]]] = []

    def record(root: str, **arguments: Any) -> None:
        calls.append((root, arguments))

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", record)
    download(datasets.get("cifar10"), tmp_path / "sets")
    assert calls == [
        (str(tmp_path / "sets"), {"download": True, "train": train}) for train in (True, False)
    ]
    assert (tmp_path / "sets").is_dir()


def test_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(root: str, **arguments: Any) -> None:
        raise RuntimeError("no\nconnection")

    monkeypatch.setattr(torchvision.datasets, "DTD", fail)
    with pytest.raises(UserError, match=r"dtd could not be .* \(RuntimeError: no connection\)"):
        download(datasets.get("dtd"), tmp_path)
    with pytest.raises(UserError, match="imagenet cannot be downloaded automatically: register"):
        download(datasets.get("imagenet"), tmp_path)
