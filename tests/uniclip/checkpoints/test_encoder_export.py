"""Each encoder is loaded back by its own library, with the same features."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForTextEncoding, AutoTokenizer

from tests.helpers import library_folders, published_models
from tests.helpers.library_folders import CAPTIONS, text_values
from tests.helpers.small_runs import tiny
from uniclip.checkpoints import exporting
from uniclip.checkpoints.pretrained import PretrainedModel
from uniclip.data.text.build import build_tokenizer
from uniclip.training.state import TrainState

PIXELS = published_models.pictures(32)


def build(text_kind, folder, method="clip") -> PretrainedModel:
    """Return a model that starts from a folder and from a random timm model."""
    library_folders.write_text_model(text_kind, folder)
    text = text_values(folder, pretrained=True)
    image = {"name": "resnet10t", "image_size": 32, "options": {}}
    config = tiny(model={"image": image, "text": text, "embed_dim": 8}, method={"name": method})
    state = TrainState(config, build_tokenizer(config.model.text, ()))
    state.modules.eval()
    return state.pretrained


@pytest.mark.parametrize("kind", ["bert", "t5"])
def test_encoders_are_loaded_back_by_their_libraries(kind, tmp_path):
    model = build(kind, tmp_path / "original")
    folder = exporting.export(model, tmp_path / "exported", "encoders")
    encoder, embedder = model.embedder.image_encoder, model.embedder
    image = timm.create_model(f"local-dir:{folder / 'image'}", pretrained=True, num_classes=0)
    assert image.pretrained_cfg["mean"] == pytest.approx(encoder.mean.flatten().tolist())
    auto_class = AutoModelForTextEncoding if kind == "t5" else AutoModel
    text = auto_class.from_pretrained(folder / "text").eval()
    tokens = AutoTokenizer.from_pretrained(folder / "text")(
        CAPTIONS, padding=True, return_tensors="pt"
    )
    ids, mask = tokens["input_ids"], tokens["attention_mask"]
    projections = load_file(folder / "projections.safetensors")
    with torch.no_grad():
        features = image.eval()((PIXELS / 255 - encoder.mean) / encoder.std)
        states = text(input_ids=ids, attention_mask=mask).last_hidden_state
        pooled = embedder.text_encoder.pool(states, ids)
        assert (features - encoder(PIXELS)).abs().max() < 1e-5
        rows = torch.nn.functional.normalize(pooled @ projections["text_head.weight"].T, dim=-1)
    assert (rows - torch.from_numpy(model.embed_texts(CAPTIONS))).abs().max() < 1e-5


def test_other_heads_are_left_out(tmp_path):
    model = build("bert", tmp_path / "original", method="uniclip")
    folder = exporting.export(model, tmp_path / "exported", "encoders")
    assert sorted(path.name for path in folder.iterdir()) == ["image", "text"]
