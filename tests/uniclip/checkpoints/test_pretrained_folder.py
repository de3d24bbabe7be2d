"""What a plan asks about a folder of transformers that `pretrained` names."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import library_folders
from tests.helpers.small_runs import tiny
from uniclip.checkpoints import pretrained_folder
from uniclip.checkpoints.pretrained_folder import describe_problem
from uniclip.config.library_query import NoAnswerError
from uniclip.errors import UserError


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("folders") / "clip"
    library_folders.write_clip(path)
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv("UNICLIP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_another_process_says_which_image_encoder_the_folder_has(
    clip_folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clip_folder.parent)
    text = library_folders.text_values(Path("clip"))
    config = tiny(pretrained="clip", model={"text": text})
    problem = describe_problem(config)
    assert problem is not None
    assert problem.startswith("pretrained=clip: image encoder's body.")
    assert "set model.image.name=vit_base_patch32_clip_quickgelu_224 " in problem
    assert "\n" not in problem


def test_it_is_asked_once_until_a_file_changes(
    tmp_path: Path, clip_folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the folder, or of that of the text encoder."""
    questions: list[dict[str, Any]] = []

    def ask(module: str, question: dict[str, Any], notice: str) -> dict[str, Any]:
        questions.append(question)
        return {"problem": None}

    monkeypatch.setattr(pretrained_folder, "ask", ask)
    config = tiny(pretrained=str(clip_folder), pretrained_towers="image")
    for _ in range(2):
        assert describe_problem(config) is None
    assert [q["text"] for q in questions] == [None]
    (clip_folder / "preprocessor_config.json").write_text("{}")
    describe_problem(config)
    assert len(questions) == 2
    text_folder = shutil.copytree(clip_folder, tmp_path / "text")
    model = {"text": library_folders.text_values(text_folder)}
    other = tiny(pretrained=str(clip_folder), model=model)
    for _ in range(2):
        describe_problem(other)
    assert len(questions) == 3
    (text_folder / "special_tokens_map.json").write_text("{}")
    describe_problem(other)
    assert len(questions) == 4


def test_other_models_are_checked_when_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrained_folder, "ask", None)
    (tmp_path / "clip.pt").write_bytes(b"weights")
    open_clip = tmp_path / "open_clip"
    open_clip.mkdir()
    (open_clip / "open_clip_config.json").write_text("{}")
    for name in (None, str(tmp_path / "clip.pt"), f"local-dir:{open_clip}"):
        assert describe_problem(tiny(pretrained=name)) is None
    with pytest.raises(UserError, match="no such file"):
        describe_problem(tiny(pretrained=str(tmp_path / "absent")))


def test_without_an_answer_nothing_is_known_to_be_wrong(
    clip_folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(*arguments: Any) -> dict[str, Any]:
        raise NoAnswerError

    monkeypatch.setattr(pretrained_folder, "ask", ask)
    assert describe_problem(tiny(pretrained=str(clip_folder))) is None
