"""Checkpoints of programs: evaluated once, resumed, refused."""

from __future__ import annotations

import gc
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers import library_folders
from tests.helpers.checkpoint_ablations import (
    make_checkpoint_command,
    write_captioned_images,
    write_open_clip_checkpoint,
)
from tests.uniclip.commands.test_cell import ToyCell
from uniclip.checkpoints.importing import ImportedModel
from uniclip.commands.checkpoint import digest_checkpoint, load_checkpoint
from uniclip.commands.evaluation import build_evaluation_config
from uniclip.commands.invocation import read_invocation
from uniclip.errors import DataChangedError, UserError
from uniclip.evaluate import evaluate
from uniclip.io.hashing import digest_file


def make_cell(folder: Path, *names: str, **changes: Any) -> ToyCell:
    datasets = [write_captioned_images(folder / "images", n, 8 * i) for i, n in enumerate(names)]
    command = make_checkpoint_command(folder, **changes)
    return ToyCell(folder, f"benchmark=[{','.join(datasets)}]", command=command)


def test_a_checkpoint_is_evaluated_after_the_program(tmp_path: Path) -> None:
    toy = make_cell(tmp_path, "test")
    assert toy.execute() == "trained"
    ((name, evaluation_hash),) = [i for i in toy.evaluations.items() if i[0] != "program"]
    scores = toy.run.read_scores(name, evaluation_hash)
    assert scores is not None
    assert scores.weights_digest == digest_file(tmp_path / "model.pt")
    assert scores.protocol["checkpoint"]["file"] == str(tmp_path / "model.pt")
    run_only = toy.plan.run_only_values("gain")
    invocation = read_invocation(toy.run.read_spec(), run_only)
    model = load_checkpoint(invocation, tmp_path / "model.pt", "cpu")
    expected, _ = evaluate(name, model, build_evaluation_config(run_only["runtime"]))
    assert scores.scores == expected
    assert toy.run.predictions_path(name, evaluation_hash).exists()
    assert toy.run.read_scores("program", toy.evaluations["program"]) is not None


def test_an_interrupted_evaluation_goes_on_with_the_rest(tmp_path: Path) -> None:
    toy = make_cell(tmp_path, "one", "two")
    names = [name for name in toy.evaluations if name != "program"]
    paths = [toy.run.scores_path(name, toy.evaluations[name]) for name in names]
    assert toy.execute(stop=paths[0].exists) == "interrupted"
    outcome = toy.run.read_outcome()
    assert outcome is not None, "the training has ended"
    assert [path.exists() for path in paths] == [True, False]
    written = paths[0].stat().st_mtime_ns
    assert toy.execute() == "evaluated"
    assert paths[1].exists()
    assert paths[0].stat().st_mtime_ns == written
    assert toy.num_starts == 1


def test_without_scores_of_the_program(tmp_path: Path) -> None:
    toy = make_cell(tmp_path, "test", scores={})
    assert list(toy.evaluations) == [f"csv:{tmp_path}/images/test.csv"]
    assert toy.plan.primary_metric.metric == "retrieval.r1"
    assert toy.execute() == "trained"
    assert toy.run.has_scores(toy.evaluations)


def test_weights_that_are_not_finite_are_a_diverged_run(tmp_path: Path) -> None:
    """Also of a program that writes no score, or one that hides it."""
    for name, changes in (("silent", {"scores": {}}), ("accuracy", {})):
        toy = make_cell(tmp_path / name, "test", **changes)
        path = tmp_path / name / "model.pt"
        checkpoint = torch.load(path, weights_only=True)
        checkpoint["state_dict"]["module.text_projection"].fill_(float("nan"))
        torch.save(checkpoint, path)
        assert toy.execute() == "diverged"
        outcome = toy.run.read_outcome()
        assert outcome is not None
        assert outcome.kind == "diverged"


@pytest.mark.parametrize("write", [library_folders.write_clip, library_folders.write_siglip])
def test_folders_of_transformers_are_evaluated_or_diverged(
    tmp_path: Path, write: Callable[[Path], Any]
) -> None:
    for name, is_finite in (("finite", True), ("nan", False)):
        folder = tmp_path / name / "model"
        model = write(folder)
        if not is_finite:
            with torch.no_grad():
                model.text_model.final_layer_norm.weight[0] = float("nan")
            model.save_pretrained(folder)
        toy = make_cell(tmp_path / name, "test", checkpoint=str(folder), scores={})
        assert toy.execute() == ("trained" if is_finite else "diverged")
        outcome = toy.run.read_outcome()
        assert outcome is not None
        assert outcome.kind == ("trained" if is_finite else "diverged")
        assert toy.run.has_scores(toy.evaluations) == is_finite


def test_a_description_beside_a_folder_is_refused(tmp_path: Path) -> None:
    library_folders.write_clip(tmp_path / "folder")
    (tmp_path / "model.json").write_text("{}")
    toy = make_cell(
        tmp_path,
        "test",
        checkpoint=str(tmp_path / "folder"),
        checkpoint_config=str(tmp_path / "model.json"),
    )
    with pytest.raises(UserError, match="is a folder, whose own files describe the model"):
        toy.execute()


def test_embeddings_of_one_description_are_not_those_of_another(tmp_path: Path) -> None:
    """The weights are the same, the activation is not."""
    config = {"model_cfg": {"vision_cfg": {"head_width": 64}, "text_cfg": {}}}
    stored = []
    for uses_quick_gelu in (False, True):
        content = {"model_cfg": {**config["model_cfg"], "quick_gelu": uses_quick_gelu}}
        (tmp_path / "model.json").write_text(json.dumps(content))
        toy = make_cell(tmp_path, "test", checkpoint_config=str(tmp_path / "model.json"))
        assert toy.execute() == ("evaluated" if uses_quick_gelu else "trained")
        stored.append(len(list((toy.store.cache_path / "embeddings").glob("*.npy"))))
    assert stored[1] == 2 * stored[0] > 0


def test_the_device_is_free_for_the_next_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_models: list[int] = []

    def count_models() -> None:
        num_models.append(sum(type(thing) is ImportedModel for thing in gc.get_objects()))

    monkeypatch.setattr(torch.cuda, "empty_cache", count_models)
    assert make_cell(tmp_path, "test").execute() == "trained"
    assert num_models == [0]


class Code:
    """An object that only a pickle can hold."""


def test_code_in_a_checkpoint_is_not_executed(tmp_path: Path) -> None:
    toy = make_cell(tmp_path, "test")
    torch.save({"state_dict": {}, "arguments": Code()}, tmp_path / "model.pt")
    with pytest.raises(UserError, match="is not unpickled") as caught:
        toy.execute()
    assert "\n" not in str(caught.value)
    (tmp_path / "model.pt").write_bytes(pickle.dumps(Code()))
    with pytest.raises(UserError, match="is not"):
        toy.execute()
    assert not toy.run.has_scores(toy.evaluations)
    write_open_clip_checkpoint(tmp_path / "model.pt")
    assert toy.execute() == "evaluated"


def test_a_missing_checkpoint_leaves_the_run_untrained(tmp_path: Path) -> None:
    toy = make_cell(tmp_path, "test", checkpoint="weights.pt")
    with pytest.raises(UserError, match=r"weights\.pt does not exist; the folder has"):
        toy.execute()
    assert toy.run.read_outcome() is None


def test_images_that_changed_since_the_plan_are_refused(tmp_path: Path) -> None:
    toy = make_cell(tmp_path, "test")
    table = tmp_path / "images" / "test.csv"
    table.write_text(table.read_text().replace(" 3", " 4"))
    with pytest.raises(DataChangedError, match=r"csv:.* has changed since the plan"):
        toy.execute()


def test_the_digest_of_a_folder_covers_its_weights(tmp_path: Path) -> None:
    for name in ("model.safetensors", "config.json", "optimizer.pt"):
        (tmp_path / name).write_text(name)
    first = digest_checkpoint(tmp_path)
    (tmp_path / "optimizer.pt").write_text("other")
    assert digest_checkpoint(tmp_path) == first
    (tmp_path / "model.safetensors").write_text("other")
    assert digest_checkpoint(tmp_path) != first
