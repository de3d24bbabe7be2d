"""Published files are read in all their forms, without executing code in them."""

from __future__ import annotations

import sys

import pytest
import safetensors.torch
import torch

from tests.helpers import published_models
from uniclip.checkpoints.read import read_checkpoint
from uniclip.errors import UserError

TENSORS = {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.tensor(3)}


def equals_expected(tensors):
    return tensors.keys() == TENSORS.keys() and all(
        torch.equal(tensors[k], TENSORS[k]) for k in tensors
    )


def check_refused(path, match, **options):
    with pytest.raises(UserError, match=match) as caught:
        read_checkpoint(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("wrap", [None, "model", "state_dict", "model_state_dict"])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_state_dict_is_read_bare_or_in_a_training_checkpoint(tmp_path, wrap, legacy):
    path = tmp_path / "x.pth"
    saved = {wrap: TENSORS, "epoch": 3, "optimizer": {"state": {0: TENSORS}}} if wrap else TENSORS
    torch.save(saved, path, _use_new_zipfile_serialization=not legacy)
    contents = read_checkpoint(path)
    assert equals_expected(contents.tensors)
    assert not contents.is_openai


def test_safetensors_are_detected_by_content(tmp_path):
    safetensors.torch.save_file(TENSORS, tmp_path / "x.bin")
    assert equals_expected(read_checkpoint(tmp_path / "x.bin").tensors)


def test_half_precision_becomes_single_and_the_parallel_prefix_is_removed(tmp_path):
    torch.save({f"module.{k}": v for k, v in TENSORS.items()}, tmp_path / "x.pt")
    assert equals_expected(read_checkpoint(tmp_path / "x.pt").tensors)
    torch.save({"a.weight": TENSORS["a.weight"].half(), "b": TENSORS["b"]}, tmp_path / "h.pt")
    tensors = read_checkpoint(tmp_path / "h.pt").tensors
    assert equals_expected(tensors)
    assert tensors["a.weight"].dtype == torch.float32


def test_a_yacs_configuration_is_read_without_yacs(tmp_path):
    path = tmp_path / "yfcc14m.pth"
    published_models.save_with_configuration(TENSORS, path)
    assert "yacs.config" not in sys.modules
    assert equals_expected(read_checkpoint(path).tensors)
    assert "yacs.config" not in sys.modules


def test_no_other_class_is_unpickled(tmp_path):
    flag, path = tmp_path / "ran", tmp_path / "evil.pth"
    torch.save({"model": TENSORS, "config": published_models.Evil(f"touch {flag}")}, path)
    message = check_refused(path, "not unpickled")
    assert "system" in message
    assert not flag.exists()


def test_the_yacs_class_is_allowed_only_while_reading(tmp_path):
    path = tmp_path / "yfcc14m.pth"
    published_models.save_with_configuration(TENSORS, path)
    read_checkpoint(path)
    with pytest.raises(Exception, match="yacs"):
        torch.load(path, weights_only=True)


def test_a_torchscript_archive_must_be_allowed(tmp_path):
    path = tmp_path / "ViT-B-32.pt"
    model = published_models.clip(quick=True)
    published_models.scripted(model, path)
    message = check_refused(path, "allow_torchscript=true")
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
def test_a_file_that_is_not_a_checkpoint_is_one_line(tmp_path, data, match):
    path = tmp_path / "x.pt"
    path.write_bytes(data)
    check_refused(path, match)


def test_truncated_files_are_one_line(tmp_path):
    torch.save(TENSORS, tmp_path / "whole.pt")
    safetensors.torch.save_file(TENSORS, tmp_path / "whole.safetensors")
    for name in ("whole.pt", "whole.safetensors"):
        data = (tmp_path / name).read_bytes()
        (tmp_path / "cut").write_bytes(data[: len(data) - 20])
        check_refused(tmp_path / "cut", "cut")


def test_a_value_that_is_not_a_tensor_is_named(tmp_path):
    torch.save({"a": TENSORS["b"], "names": ["x"]}, tmp_path / "x.pt")
    check_refused(tmp_path / "x.pt", "'names'")
    torch.save([1, 2], tmp_path / "y.pt")
    check_refused(tmp_path / "y.pt", "has no state dict")
    check_refused(tmp_path / "none.pt", "no checkpoint at")
    check_refused(tmp_path, "no checkpoint at")
