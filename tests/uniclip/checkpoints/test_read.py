"""Other people's files: read without running them, in every form that they come in."""

from __future__ import annotations

import sys

import pytest
import safetensors.torch
import torch

from tests.helpers import published_models
from uniclip.checkpoints.read import read_checkpoint
from uniclip.errors import UserError

TENSORS = {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.tensor(3)}


def same(found):
    return found.keys() == TENSORS.keys() and all(torch.equal(found[k], TENSORS[k]) for k in found)


def refused(path, match, **options):
    with pytest.raises(UserError, match=match) as caught:
        read_checkpoint(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("wrap", [None, "model", "state_dict", "model_state_dict"])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_state_dict_is_found_bare_or_in_a_training_checkpoint(tmp_path, wrap, legacy):
    path = tmp_path / "x.pth"
    saved = {wrap: TENSORS, "epoch": 3, "optimizer": {"state": {0: TENSORS}}} if wrap else TENSORS
    torch.save(saved, path, _use_new_zipfile_serialization=not legacy)
    contents = read_checkpoint(path)
    assert same(contents.tensors)
    assert not contents.is_openai


def test_safetensors_by_content_and_not_by_name(tmp_path):
    safetensors.torch.save_file(TENSORS, tmp_path / "x.bin")
    assert same(read_checkpoint(tmp_path / "x.bin").tensors)


def test_half_precision_is_read_as_single_and_a_parallel_prefix_is_dropped(tmp_path):
    torch.save({f"module.{k}": v for k, v in TENSORS.items()}, tmp_path / "x.pt")
    assert same(read_checkpoint(tmp_path / "x.pt").tensors)
    torch.save({"a.weight": TENSORS["a.weight"].half(), "b": TENSORS["b"]}, tmp_path / "h.pt")
    found = read_checkpoint(tmp_path / "h.pt").tensors
    assert same(found)
    assert found["a.weight"].dtype == torch.float32


def test_a_yacs_configuration_is_a_plain_dictionary_and_yacs_is_not_imported(tmp_path):
    path = tmp_path / "yfcc14m.pth"
    published_models.save_with_configuration(TENSORS, path)
    assert "yacs.config" not in sys.modules
    assert same(read_checkpoint(path).tensors)
    assert "yacs.config" not in sys.modules


def test_no_other_class_is_unpickled(tmp_path):
    flag, path = tmp_path / "ran", tmp_path / "evil.pth"
    torch.save({"model": TENSORS, "config": published_models.Evil(f"touch {flag}")}, path)
    message = refused(path, "not unpickled")
    assert "system" in message
    assert not flag.exists()


def test_the_class_is_allowed_only_while_reading(tmp_path):
    path = tmp_path / "yfcc14m.pth"
    published_models.save_with_configuration(TENSORS, path)
    read_checkpoint(path)
    with pytest.raises(Exception, match="yacs"):
        torch.load(path, weights_only=True)


def test_a_torchscript_archive_only_with_trust(tmp_path):
    path = tmp_path / "ViT-B-32.pt"
    model = published_models.clip(quick=True)
    published_models.scripted(model, path)
    message = refused(path, "allow_torchscript=true")
    assert "torch.jit.load" in message
    contents = read_checkpoint(path, allow_torchscript=True)
    assert contents.is_openai
    masks = {"attn_mask"}  # which tracing keeps
    assert contents.tensors.keys() - masks == published_models.clip().state_dict().keys()
    converted = tmp_path / "converted.pt"
    torch.save(torch.jit.load(path, map_location="cpu").state_dict(), converted)
    assert read_checkpoint(converted).is_openai


@pytest.mark.parametrize(
    ("data", "match"),
    [(b"", "damaged"), (b"no checkpoint at all", "x.pt"), (b"PK\x03\x04broken", "x.pt")],
)
def test_what_is_no_checkpoint_is_one_line(tmp_path, data, match):
    path = tmp_path / "x.pt"
    path.write_bytes(data)
    refused(path, match)


def test_cut_files_are_one_line(tmp_path):
    torch.save(TENSORS, tmp_path / "whole.pt")
    safetensors.torch.save_file(TENSORS, tmp_path / "whole.safetensors")
    for name in ("whole.pt", "whole.safetensors"):
        data = (tmp_path / name).read_bytes()
        (tmp_path / "cut").write_bytes(data[: len(data) - 20])
        refused(tmp_path / "cut", "cut")


def test_what_holds_no_tensors_is_refused_by_key(tmp_path):
    torch.save({"a": TENSORS["b"], "names": ["x"]}, tmp_path / "x.pt")
    refused(tmp_path / "x.pt", "'names'")
    torch.save([1, 2], tmp_path / "y.pt")
    refused(tmp_path / "y.pt", "has no state dict")
    refused(tmp_path / "none.pt", "no checkpoint at")
    refused(tmp_path, "no checkpoint at")
