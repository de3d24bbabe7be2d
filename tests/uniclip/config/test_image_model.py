"""timm is asked once about a model, and never about that of a preset."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from uniclip.config import library_query
from uniclip.config.image_model import PRESETS, query_image_model


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """Return the questions that are asked; one about a name with "x" gets no answer."""
    monkeypatch.setenv("UNICLIP_CACHE", str(tmp_path))
    asked: list[dict[str, Any]] = []

    def run(command: list[str], **arguments: Any) -> subprocess.CompletedProcess[str]:
        question = json.loads(command[-1])
        asked.append(question)
        if question["name"].startswith("xc"):
            return subprocess.CompletedProcess(command, 1, "", "Traceback")
        answer = {"image_size": question["image_size"] or 96, "error": None}
        return subprocess.CompletedProcess(command, 0, f"a warning\n{json.dumps(answer)}\n", "")

    monkeypatch.setattr(library_query.subprocess, "run", run)
    return asked


@pytest.mark.parametrize("path", sorted(PRESETS.glob("*.yaml")), ids=lambda p: p.stem)
def test_the_models_of_presets_are_known(path: Path, questions: list[dict[str, Any]]) -> None:
    image = yaml.safe_load(path.read_text())["image"]
    options, size = image.get("options", {}), image["image_size"]
    assert query_image_model(image["name"], options, size).error is None
    assert query_image_model(image["name"], options, None).image_size == size
    assert questions == []
    query_image_model(image["name"], options, size, asks_always=True)
    query_image_model(image["name"], {**options, "drop_rate": 0.1}, size)
    assert len(questions) == 2


def test_an_answer_is_kept_for_the_version_of_timm(
    questions: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert query_image_model("resnet10t", {}, None).image_size == 96
    assert query_image_model("resnet10t", {}, None).image_size == 96
    assert query_image_model("resnet10t", {}, 96).is_known
    assert len(questions) == 1
    monkeypatch.setattr(library_query, "get_library_version", lambda name: "another")
    query_image_model("resnet10t", {}, None)
    assert len(questions) == 2


def test_no_answer_is_no_error_unless_the_size_is_needed(questions: list[dict[str, Any]]) -> None:
    facts = query_image_model("xception41", {}, 64)
    assert (facts.error, facts.is_known, facts.image_size) == (None, False, 64)
    assert "set model.image.image_size" in str(query_image_model("xception41", {}, None).error)
    assert len(questions) == 2  # asked again: it is not kept
