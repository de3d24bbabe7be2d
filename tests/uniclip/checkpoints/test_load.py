"""Trained models are loaded by folder, file or run id; damaged files are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import uniclip
from tests.helpers.small_runs import claimed, opened, tiny
from uniclip import distributed, evaluate, run
from uniclip.checkpoints import tensor_file
from uniclip.config import cores
from uniclip.errors import UserError
from uniclip.store import RunFolder

EVALUATIONS = {"scenes": evaluate.evaluation_hash("scenes", tiny())}
TEXTS = ["a small red disc", "two blue squares"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> RunFolder:
    """Return a small run, trained by one attempt, not evaluated."""
    folder = opened(tmp_path_factory.mktemp("store"), tiny())
    kind = run.execute_run(folder, tiny(), claimed(folder), evaluations={})
    assert kind == "trained"
    return folder


def test_a_model_is_loaded_by_folder_file_or_id(trained):
    store = trained.path.parent.parent
    loaded = uniclip.load(trained.path)
    texts = loaded.embed_texts(TEXTS)
    assert texts.shape == (2, 16)
    for model in (
        uniclip.load(str(trained.weights_path)),
        uniclip.load(trained.id, store=store),
        uniclip.load(trained.id[:5], store=store),
    ):
        np.testing.assert_array_equal(model.embed_texts(TEXTS), texts)
    images = np.zeros((3, 3, 40, 32), np.uint8)
    assert loaded.embed_images(images).shape == (3, 16)


def test_a_loaded_model_is_on_the_cpu_and_starts_no_decoders(trained, monkeypatch):
    """On a machine with a GPU and spare cores, too."""
    monkeypatch.setattr(distributed.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(cores, "detect_device", lambda: "cuda")
    monkeypatch.setattr(cores, "count_process_cores", lambda: 8)
    loaded = uniclip.load(trained.path)
    assert loaded.config.runtime.device == "cpu"
    assert cores.derive_num_workers(loaded.config) == 0


def test_the_best_weights_are_those_of_the_best_step(trained):
    tensors, metadata = tensor_file.decode(trained.best_weights_path)
    assert metadata["step"] == trained.read_outcome().best_step
    best = uniclip.load(trained.path, best=True)
    state = tensor_file.bundle_modules(best.embedder, best.method).state_dict()
    assert all(torch.equal(state[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize("run_id", ["zzzz", ""])
def test_a_missing_run_is_one_line(trained, tmp_path, run_id):
    opened(trained.path.parent.parent, tiny(seed=1))
    with pytest.raises(UserError, match="one run of store"):
        uniclip.load(run_id, store=trained.path.parent.parent)
    with pytest.raises(UserError, match="no run at"):
        uniclip.load(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no spec.json"):
        uniclip.load(tmp_path)


@pytest.mark.parametrize("name", ["weights.safetensors", "tokenizer.json"])
def test_damaged_and_missing_files_are_one_line(trained, tmp_path, name):
    folder = RunFolder(tmp_path / trained.id)
    folder.path.mkdir()
    for file in ("spec.json", "tokenizer.json", "weights.safetensors", "outcome.json"):
        (folder.path / file).write_bytes((trained.path / file).read_bytes())
    original_bytes = (folder.path / name).read_bytes()
    for damaged_bytes in (
        original_bytes[:-40],
        b"",
        original_bytes[:200] + b"\xff" + original_bytes[201:],
    ):
        (folder.path / name).write_bytes(damaged_bytes)
        with pytest.raises(UserError, match="damaged") as error:
            uniclip.load(folder.path)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="damaged"):
        run.execute_run(folder, tiny(), claimed(folder), evaluations=EVALUATIONS)
    (folder.path / name).unlink()
    with pytest.raises(UserError, match="missing"):
        uniclip.load(folder.path)


def test_weights_of_another_configuration_are_refused(trained, tmp_path):
    folder = opened(tmp_path, tiny(model={"embed_dim": 32}), name=trained.id)
    for file in ("tokenizer.json", "weights.safetensors"):
        (folder.path / file).write_bytes((trained.path / file).read_bytes())
    with pytest.raises(UserError, match="does not fit the configuration"):
        uniclip.load(folder.path)


@pytest.mark.parametrize("run", [None, 5, b"store/runs/x", ["x"]], ids=repr)
def test_what_is_no_path_is_refused_in_one_line(run, tmp_path):
    with pytest.raises(TypeError, match="^run is of type .*: give a run's folder or file"):
        uniclip.load(run)
    with pytest.raises(TypeError, match="^store is of type int"):
        uniclip.load("abcd", store=5)
    with pytest.raises(UserError, match="^there is no store"):
        uniclip.load("abcd", store=tmp_path / "none")
