"""Names of the hub: found in its cache, or one line on how to get them."""

from __future__ import annotations

from pathlib import Path

import pytest

from uniclip.errors import UserError
from uniclip.io import hub


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty cache of the hub; there is no network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def write_snapshot(cache: Path, repository: str, file_name: str) -> Path:
    folder = cache / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs/main").write_text("0" * 40)
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / file_name).write_text("{}")
    return snapshot


def test_a_folder_is_found_in_the_cache(cache: Path) -> None:
    snapshot = write_snapshot(cache, "org/model", "config.json")
    for name in ("hf-hub:org/model", "hf:org/model", f"local-dir:{snapshot}", str(snapshot)):
        assert hub.find_folder(name, "pretrained").resolve() == snapshot


def test_what_is_nowhere_says_how_to_get_it(cache: Path) -> None:
    with pytest.raises(UserError, match="run `hf download org/absent`") as raised:
        hub.find_folder("hf-hub:org/absent", "pretrained")
    assert "\n" not in str(raised.value)
    with pytest.raises(UserError, match=r"hf download timm/x model\.safetensors"):
        hub.find_file("timm/x", ("model.safetensors",), "model.image.pretrained=true")
    with pytest.raises(UserError, match="pretrained=nowhere: no such folder"):
        hub.find_folder("nowhere", "pretrained")
