"""open_clip's JSON of a model: heads and normalization that weights do not state."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

from tests.helpers import published_models
from uniclip.checkpoints import published
from uniclip.checkpoints.open_clip_config import OpenClipConfig, read_open_clip_config
from uniclip.errors import UserError

MODEL: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 64, "head_width": 16, "layers": 1},
    "text_cfg": {"context_length": 16, "width": 64, "heads": 4, "layers": 1},
}
PREPROCESS = {"mean": [0.5, 0.4, 0.3], "std": [0.5, 0.5, 0.25]}


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_features_are_those_of_open_clip(tmp_path: Path) -> None:
    """Narrow heads and another normalization: neither is seen in the shapes of the weights."""
    torch.manual_seed(0)
    original = CLIP(**MODEL).eval()
    torch.save({"epoch": 1, "state_dict": original.state_dict()}, tmp_path / "epoch_1.pt")
    path = write(tmp_path / "c.json", {"model_cfg": MODEL, "preprocess_cfg": PREPROCESS})
    model = published.load_model(
        tmp_path / "epoch_1.pt", open_clip_config=read_open_clip_config(path)
    )
    mean, std = (torch.tensor(PREPROCESS[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    images, texts = published_models.pictures(32), published_models.TEXTS
    tokens = torch.from_numpy(model.tokenizer.encode(texts, 16)).long()
    with torch.no_grad():
        of_images = original.encode_image((images / 255 - mean) / std, normalize=True)
        of_texts = original.encode_text(tokens, normalize=True)
    assert abs(model.embed_images(images.numpy()) - of_images.numpy()).max() < 1e-5
    assert abs(model.embed_texts(texts) - of_texts.numpy()).max() < 1e-5
    without = published.load_model(tmp_path / "epoch_1.pt")
    assert abs(without.embed_texts(texts) - of_texts.numpy()).max() > 0.01


def test_heads_that_are_not_stated_are_those_of_open_clip(tmp_path: Path) -> None:
    """Its default is a number of heads for texts, and a width of heads for images."""
    towers = {"vision_cfg": {"width": 1280}, "text_cfg": {"width": 640, "layers": 1}}
    stated = read_open_clip_config(write(tmp_path / "c.json", towers))
    defaults = CLIPVisionCfg().head_width, CLIPTextCfg().heads
    assert (stated.image_head_width, stated.text_heads) == defaults


def test_empty_options_are_none(tmp_path: Path) -> None:
    """open_clip makes the same model of them; others are refused."""
    options: dict[str, Any] = {"act_kwargs": {}, "norm_kwargs": {}}
    towers = {name: {**MODEL[name], **options} for name in ("vision_cfg", "text_cfg")}
    content = {**MODEL, **towers}
    assert str(CLIP(**content)) == str(CLIP(**MODEL))
    stated = read_open_clip_config(write(tmp_path / "c.json", content))
    assert stated == read_open_clip_config(write(tmp_path / "m.json", MODEL))
    towers["text_cfg"]["act_kwargs"] = {"approximate": "tanh"}
    with pytest.raises(UserError, match=r"text_cfg.act_kwargs=\{'approximate'.* is not imported"):
        read_open_clip_config(write(tmp_path / "c.json", {**MODEL, **towers}))


def test_a_file_of_open_clips_own_folder_has_no_frame(tmp_path: Path) -> None:
    path = write(tmp_path / "ViT.json", {**MODEL, "quick_gelu": True})
    assert read_open_clip_config(path) == OpenClipConfig(
        quick_gelu=True, image_head_width=16, text_heads=4
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "is damaged"),
        ({"model_cfg": {"vision_cfg": {}}}, "is damaged"),
        ({**MODEL, "vision_cfg": {"head_width": "16"}}, "is damaged"),
        ({**MODEL, "vision_cfg": {"timm_model_name": "resnet18"}}, "timm_model_name=resnet18"),
        ({**MODEL, "vision_cfg": {"pool_type": "avg"}}, r"vision_cfg\.pool_type=avg is not"),
        ({**MODEL, "text_cfg": {"no_causal_mask": True}}, r"text_cfg\.no_causal_mask=True is not"),
    ],
)
def test_what_cannot_be_imported_is_refused(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_open_clip_config(write(tmp_path / "c.json", content))
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no such file"):
        read_open_clip_config(tmp_path / "other.json")
