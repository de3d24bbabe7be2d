"""Weights of one encoder from its own library: timm's own features, and errors in one line."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.helpers import library_folders, published_models
from uniclip.checkpoints import tower_weights
from uniclip.config import ImageConfig
from uniclip.config.binding import bind
from uniclip.errors import UserError
from uniclip.models.encoders import ImageEncoder

CLOSE = 1e-5
SMALL_VIT = {"embed_dim": 32, "depth": 2, "num_heads": 2, "patch_size": 8}
PIXELS = published_models.pictures(64)


def build(name, path, image_size=64, **options):
    values = {"name": name, "image_size": image_size, "options": options, "pretrained": str(path)}
    return bind(ImageConfig, values, "model.image.")


@pytest.mark.parametrize(
    ("name", "options"),
    [("resnet10t", {}), ("vit_tiny_patch16_224", SMALL_VIT)],
)
def test_features_are_timms_own(name, options, tmp_path):
    path = tmp_path / "model.safetensors"
    size = {"img_size": 64} if "vit" in name else {}
    original = library_folders.write_timm(name, path, **options, **size)
    config = build(name, path, **options)
    encoder = ImageEncoder(config).eval()
    assert tower_weights.load_image_weights(encoder, config) == path
    original.reset_classifier(0)
    with torch.no_grad():
        expected = original((PIXELS / 255 - encoder.mean) / encoder.std)
        assert (encoder(PIXELS) - expected).abs().max() < CLOSE


def test_positions_are_resized_to_the_input(tmp_path):
    path = tmp_path / "model.safetensors"
    library_folders.write_timm("vit_tiny_patch16_224", path, img_size=32, **SMALL_VIT)
    config = build("vit_tiny_patch16_224", path, 64, **SMALL_VIT)
    encoder = ImageEncoder(config)
    tower_weights.load_image_weights(encoder, config)
    original = load_file(path)
    assert encoder.body.pos_embed.shape == (1, 1 + 64, 32)
    assert torch.equal(encoder.body.cls_token.detach(), original["cls_token"])


def test_missing_and_foreign_weights_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    library_folders.write_timm("vit_tiny_patch16_224", path, img_size=64, **SMALL_VIT)
    config = build("vit_tiny_patch16_224", path, **SMALL_VIT)
    tensors = load_file(path)
    for key in ("blocks.1.norm2.bias", "norm.weight"):
        save_file({k: v for k, v in tensors.items() if k != key}, path)
        with pytest.raises(UserError, match=f"Missing key.*{key}"):
            tower_weights.load_image_weights(ImageEncoder(config), config)
    save_file({**tensors, "extra.weight": torch.zeros(1)}, path)
    with pytest.raises(UserError, match=r"extra\.weight"):
        tower_weights.load_image_weights(ImageEncoder(config), config)
    other = build("resnet10t", path)
    with pytest.raises(UserError, match=r"is not of model\.image\.name=resnet10t"):
        tower_weights.load_image_weights(ImageEncoder(other), other)
    evil = tmp_path / "evil.pt"
    marker = tmp_path / "executed"
    torch.save({"weight": published_models.Evil(f"touch {marker}")}, evil)
    with pytest.raises(UserError, match="not unpickled"):
        tower_weights.load_image_weights(ImageEncoder(other), build("resnet10t", evil))
    assert not marker.exists()


def test_the_normalization_beside_the_weights_must_be_the_encoders(tmp_path):
    path = tmp_path / "model.safetensors"
    library_folders.write_timm("resnet10t", path)
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": {"mean": [0.1, 0.2, 0.3]}}))
    config = build("resnet10t", tmp_path)
    with pytest.raises(UserError, match=r"pretrained_cfg_overlay=\{mean:\[0.1,0.2,0.3\]\}"):
        tower_weights.load_image_weights(ImageEncoder(config), config)
    adapted = build("resnet10t", tmp_path, pretrained_cfg_overlay={"mean": [0.1, 0.2, 0.3]})
    tower_weights.load_image_weights(ImageEncoder(adapted), adapted)
