"""Files of weights: their digests name a run, and only the planned files are read."""

from __future__ import annotations

import os

import pytest

from tests.helpers import library_folders
from tests.helpers.library_folders import text_values
from tests.helpers.small_runs import claimed, opened, tiny
from uniclip import identity
from uniclip.checkpoints import weight_files
from uniclip.checkpoints.load import load
from uniclip.errors import DataChangedError, UserError
from uniclip.run import execute_run
from uniclip.store import Store


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("encoders")
    library_folders.write_timm("resnet10t", path / "resnet10t.safetensors")
    library_folders.write_text_model("bert", path / "bert")
    return path


def config(folder, image=None, text=None, **sections):
    image_values = {"name": "resnet10t", "image_size": 32, "options": {}, "crop_pct": 1.0}
    image_values |= {"interpolation": "bicubic", "pretrained": image}
    model = {"image": image_values, "text": text or text_values(folder / "bert"), "embed_dim": 16}
    train = {"steps": 4, "batch_size": 8, "validate_every": 2, "layer_decay": 0.5}
    return tiny(model=model, method={"name": "clip"}, train=train, **sections)


def test_the_content_names_a_run_and_the_path_does_not(folder, tmp_path):
    scratch = weight_files.fingerprint(config(folder))
    assert set(scratch) == {"text_folder"}, "the tokenizer"
    path = folder / "resnet10t.safetensors"
    image = weight_files.fingerprint(config(folder, image=str(path)))
    os.link(path, tmp_path / "other.safetensors")
    linked = config(folder, image=str(tmp_path / "other.safetensors"))
    assert weight_files.fingerprint(linked) == image
    assert set(image) == {"text_folder", "image_pretrained"}
    text = text_values(folder / "bert", pretrained=True)
    weights = weight_files.fingerprint(config(folder, text=text))
    assert weights["text_folder"] != scratch["text_folder"]
    hashed = identity.build_spec(linked, image)["config"]["model"]
    assert str(tmp_path) not in str(hashed)
    assert str(folder) not in str(hashed)


def test_missing_weights_say_how_to_get_them(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    missing = config(folder, image=str(folder / "absent.safetensors"))
    with pytest.raises(UserError, match="no such file"):
        weight_files.fingerprint(missing)
    with pytest.raises(UserError, match="has no weights, such as"):
        weight_files.find_weight_files(tmp_path, "pretrained")
    with pytest.raises(UserError, match=r"both name weights of the image encoder"):
        config(folder, image="true", pretrained=str(folder / "resnet10t.safetensors"))


def test_training_resumes_with_the_same_bits(folder, tmp_path):
    """Pretrained encoders with dropout and layer-wise rates, stopped after each step."""
    text = text_values(folder / "bert", pretrained=True)
    run_config = config(
        folder,
        image=str(folder / "resnet10t.safetensors"),
        text=text,
        runtime={"checkpoint_seconds": 0},
    )
    digests = []
    for name, stops in (("whole", []), ("resumed", [True, True])):
        run = opened(tmp_path / name, run_config)
        for _ in stops:
            assert (
                execute_run(run, run_config, claimed(run), evaluations={}, stop=lambda: True)
                == "interrupted"
            )
        assert execute_run(run, run_config, claimed(run), evaluations={}) == "trained"
        digests.append(run.read_outcome().weights_digest)
    assert digests[0] == digests[1]
    model = load(Store(tmp_path / "whole").get_run(run.id).path)
    assert model.embed_texts(["a green cat"]).shape == (1, 16)
    assert model.config.model.text.name == "bert"


def test_files_that_changed_since_the_plan_are_not_read(folder, tmp_path):
    path = tmp_path / "image.safetensors"
    library_folders.write_timm("resnet10t", path)
    run_config = config(folder, image=str(path))
    run = opened(tmp_path / "store", run_config)
    library_folders.write_timm("resnet10t", path, num_classes=7)
    with pytest.raises(DataChangedError, match="has changed since the plan"):
        execute_run(run, run_config, claimed(run), evaluations={})
