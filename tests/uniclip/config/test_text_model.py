"""What follows from a folder of transformers, as another process says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import library_folders
from tests.helpers.small_runs import tiny
from uniclip.config import text_model
from uniclip.config.binding import to_builtins
from uniclip.config.compose import apply_overrides
from uniclip.config.schema import build_run_config, complete_run_values
from uniclip.errors import UserError


def test_a_folder_replaces_the_text_encoder_of_a_preset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNICLIP_CACHE", str(tmp_path / "cache"))
    library_folders.write_text_model("bert", tmp_path / "bert")
    values = to_builtins(tiny())
    apply_overrides(values, {"model.text.folder": str(tmp_path / "bert")})
    text = build_run_config(complete_run_values(values)).model.text
    assert (text.name, text.width, text.layers, text.tokenizer) == ("bert", 32, 2, "folder")
    assert text.options["intermediate_size"] == 64
    assert text.vocab_size == library_folders.NUM_EMBEDDINGS
    apply_overrides(values, {"model.text.folder": None})
    assert build_run_config(values).model.text.is_clip


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        text_model.read_folder(str(tmp_path / "absent"))
    with pytest.raises(UserError, match=r"has no config\.json"):
        text_model.read_folder(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json is damaged"):
        text_model.read_folder(str(tmp_path))
