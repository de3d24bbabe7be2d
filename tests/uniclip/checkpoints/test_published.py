"""Published models by file and by folder."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from tests.helpers import published_models
from uniclip.checkpoints import published
from uniclip.errors import UserError

PIXELS = published_models.pictures(64)


@pytest.mark.parametrize("quick", [False, True])
def test_a_folder_of_open_clip_states_its_activation(quick, tmp_path):
    original = published_models.clip(quick)
    tensors = {k: v.contiguous() for k, v in original.state_dict().items() if k != "attn_mask"}
    save_file(tensors, tmp_path / "open_clip_model.safetensors")
    model_cfg = {"quick_gelu": quick, "vision_cfg": {}, "text_cfg": {}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": model_cfg}))
    model = published.load_model(f"local-dir:{tmp_path}")
    with torch.no_grad():
        pixels = (PIXELS / 255 - published_models.MEAN) / published_models.STD
        expected = original.encode_image(pixels, normalize=True)
    assert (torch.from_numpy(model.embed_images(PIXELS.numpy())) - expected).abs().max() < 1e-5
    model_cfg["vision_cfg"] = {"timm_model_name": "resnet18"}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": model_cfg}))
    with pytest.raises(UserError, match="timm_model_name=resnet18"):
        published.load_model(tmp_path)


def test_another_folder_is_refused_with_the_keys_for_one_encoder(tmp_path):
    with pytest.raises(UserError, match=r"model\.text\.folder="):
        published.load_model(tmp_path)
