"""Patch dropout: timm's own result for the same patches, in training only, the same over ranks."""

from __future__ import annotations

import pytest
import timm
import torch

from tests.helpers.small_runs import claimed, of_method, opened, tiny
from tests.helpers.training_runs import equal_weights, get_weights, stop_after
from uniclip.config import ImageConfig
from uniclip.data.loader import TrainingBatches
from uniclip.distributed import ProcessGroup
from uniclip.errors import UserError
from uniclip.models.encoders import ImageEncoder
from uniclip.models.patch_dropout import insert_patch_dropout
from uniclip.training import trainer

VIT = {"embed_dim": 16, "depth": 2, "num_heads": 2, "patch_size": 8}
IMAGE = {"name": "vit_tiny_patch16_224", "image_size": 32, "options": VIT}
NAMES = {
    "vit_tiny_patch16_224": VIT,
    "vit_base_patch16_siglip_224": VIT,
    "eva02_tiny_patch14_224": VIT,
    "vit_small_patch16_dinov3": VIT,
}


def build_model(name, **options):
    torch.manual_seed(0)
    return timm.create_model(name, img_size=32, num_classes=0, **NAMES[name], **options)


@pytest.mark.parametrize("name", NAMES)
def test_the_features_are_timms_for_the_same_patches(name, monkeypatch):
    """Positions, rotary ones too, are those of the patches that are kept."""
    ours, peer = build_model(name), build_model(name, patch_drop_rate=0.5)
    peer.load_state_dict(ours.state_dict())
    noise = torch.randn(3, 16)
    monkeypatch.setattr(torch, "randn", lambda *shape, **options: noise)
    pixels = torch.arange(3 * 3 * 32 * 32).view(3, 3, 32, 32) / 1e4
    layer = insert_patch_dropout(ours)
    layer.kept_patches = noise.argsort(1)[:, :8].sort().values
    with torch.no_grad():
        torch.testing.assert_close(ours.train()(pixels), peer.train()(pixels), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(ours(pixels), ours.eval()(pixels), atol=1e-4)
        torch.testing.assert_close(ours(pixels), peer.eval()(pixels))


@pytest.mark.parametrize(
    "method",
    [
        "uniclip",
        pytest.param("slip", marks=pytest.mark.slow),
        pytest.param("declip", marks=pytest.mark.slow),
    ],
)
def test_methods_train_on_the_kept_patches_and_resume(method, tmp_path):
    def make(rate):
        train = {"steps": 3, "patch_drop_rate": rate}
        return of_method(method, train=train, model={"image": IMAGE})

    whole = trainer.train_model(make(0.5))
    assert not equal_weights(get_weights(whole), get_weights(trainer.train_model(make(0.0))))
    run = opened(tmp_path, make(0.5))
    trainer.train_model(make(0.5), attempt=claimed(run), stop=stop_after(2))
    resumed = trainer.train_model(make(0.5), attempt=claimed(run))
    assert equal_weights(get_weights(resumed), get_weights(whole))


def test_patches_do_not_depend_on_workers_processes_and_chunks():
    train = {"patch_drop_rate": 0.75}
    batches, _ = trainer.setup_training(tiny(train=train, model={"image": IMAGE}))
    one = batches.build_batch(3)
    assert one.kept_patches.shape == (2, 16, 4)
    assert not torch.equal(*one.kept_patches)
    chunks = one.split_chunks(3)
    assert torch.equal(torch.cat([c.kept_patches for c in chunks], 1), one.kept_patches)
    tokenizer = trainer.build_tokenizer(batches.config.model.text, ["a disc"] * 9)
    parts = []
    for rank in (0, 1, 2):
        process_group = ProcessGroup(rank, 3)
        part = TrainingBatches(batches.config, batches.split, tokenizer, process_group)
        part.num_patches = batches.num_patches
        parts.append(part.build_batch(3).kept_patches)
    assert torch.equal(torch.cat(parts, 1), one.kept_patches)
    workers = tiny(train=train, model={"image": IMAGE}, runtime={"num_workers": 2})
    (other,) = trainer.setup_training(workers)[0].iterate_batches(3, 4)
    assert torch.equal(other.kept_patches, one.kept_patches)


def test_without_the_key_there_is_no_field():
    batches, state = trainer.setup_training(tiny(model={"image": IMAGE}))
    assert batches.build_batch(0).kept_patches is None
    assert isinstance(state.embedder.image_encoder.body.patch_drop, torch.nn.Identity)


def test_a_method_that_does_not_pass_the_patches_is_refused():
    encoder = ImageEncoder(ImageConfig(**IMAGE))
    assert encoder.enable_patch_dropout() == 16
    pixels = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    with pytest.raises(UserError, match="does not pass Batch.kept_patches"):
        encoder(pixels)
    assert encoder.eval()(pixels).shape == (1, 16)


def test_encoders_without_patches_and_locked_ones_are_refused():
    with pytest.raises(UserError, match="needs a vision Transformer of timm, and model.image.name"):
        trainer.setup_training(tiny(train={"patch_drop_rate": 0.5}))
    with pytest.raises(UserError, match="does nothing with lock=image"):
        tiny(train={"patch_drop_rate": 0.5}, model={"image": IMAGE}, lock="image")
    with pytest.raises(UserError, match=r"train\.patch_drop_rate must be below 1, got 1"):
        tiny(train={"patch_drop_rate": 1}, model={"image": IMAGE})
