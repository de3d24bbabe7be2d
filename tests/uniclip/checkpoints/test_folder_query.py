"""Whether the encoders of a folder of transformers are those of a configuration."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import library_folders
from tests.helpers.small_runs import tiny
from uniclip.checkpoints import folder_query, published
from uniclip.checkpoints.folder_query import describe_problem
from uniclip.config.binding import to_builtins


@pytest.fixture(scope="module", params=["clip", "siglip"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("folders") / request.param
    write = {"clip": library_folders.write_clip, "siglip": library_folders.write_siglip}
    write[request.param](path)
    return path


def test_the_model_that_is_imported_suits_its_folder(folder: Path) -> None:
    model = to_builtins(published.load_model(folder).config.model)
    (folder / "model.safetensors").unlink()  # no weights are read
    assert describe_problem(folder, model["image"], model["text"]) is None
    image: dict[str, Any] = {**model["image"], "image_size": 64}
    assert "pos_embed has shape" in str(describe_problem(folder, image, model["text"]))
    assert describe_problem(folder, None, model["text"]) is None
    text = to_builtins(tiny().model.text)
    problem = str(describe_problem(folder, model["image"], text))
    assert problem.startswith("its text encoder has another vocabulary: set ")
    assert f"model.text.folder={folder}" in problem
    assert describe_problem(folder, model["image"], None) is None


def test_an_encoder_that_timm_does_not_have_is_a_problem(tmp_path: Path) -> None:
    library_folders.write_clip(tmp_path)
    path = tmp_path / "config.json"
    values = json.loads(path.read_text())
    values["vision_config"]["hidden_act"] = "relu"
    path.write_text(json.dumps(values))
    image = to_builtins(tiny().model.image)
    problem = str(describe_problem(tmp_path, image, None))
    assert problem.startswith("timm has no vision Transformer with hidden_act=relu")


def test_the_answer_is_one_line_of_json(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    question = {"folder": str(folder), "image": None, "text": to_builtins(tiny().model.text)}
    monkeypatch.setattr(sys, "argv", ["folder_query", json.dumps(question)])
    folder_query.main()
    answer = json.loads(capsys.readouterr().out)
    assert answer["problem"].startswith("its text encoder has another vocabulary")
