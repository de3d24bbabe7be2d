"""CLIPModel and SiglipModel in folders: imported completely, with the library's own features."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from tests.helpers import library_folders, published_models
from tests.helpers.library_folders import CAPTIONS
from tests.helpers.small_models import train_small_tokenizer
from tests.helpers.small_runs import tiny
from uniclip.checkpoints import published
from uniclip.config.binding import to_builtins
from uniclip.errors import UserError
from uniclip.training.state import TrainState

CLOSE = 1e-5
PIXELS = published_models.pictures(32)


def normalized(rows: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(rows, dim=-1)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_features_are_the_librarys_own(kind, tmp_path):
    write = {"clip": library_folders.write_clip, "siglip": library_folders.write_siglip}[kind]
    original = write(tmp_path)
    model = published.load_model(tmp_path)
    length = 24 if kind == "clip" else 16
    tokens = PreTrainedTokenizerFast.from_pretrained(tmp_path)(
        CAPTIONS, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
    )["input_ids"]
    encoder = model.embedder.image_encoder
    with torch.no_grad():
        images = original.get_image_features((PIXELS / 255 - encoder.mean) / encoder.std)
        if kind == "clip":  # which looks for the end token by the largest id unless told another
            states = original.text_model(input_ids=tokens).last_hidden_state
            ends = (tokens == 1).int().argmax(1)
            texts = original.text_projection(states[torch.arange(len(tokens)), ends])
        else:
            texts = original.get_text_features(input_ids=tokens)
            texts = getattr(texts, "pooler_output", texts)
    images = getattr(images, "pooler_output", images)
    embedded_images = torch.from_numpy(model.embed_images(PIXELS.numpy()))
    assert (embedded_images - normalized(images)).abs().max() < CLOSE
    embedded_texts = torch.from_numpy(model.embed_texts(CAPTIONS))
    assert (embedded_texts - normalized(texts)).abs().max() < CLOSE
    assert embedded_texts.std(0).max() > 100 * CLOSE
    assert model.image_text_scale() == pytest.approx(original.logit_scale.exp().item())
    assert model.image_text_bias() == (original.logit_bias.item() if kind == "siglip" else 0)


def test_another_normalization_is_read(tmp_path):
    library_folders.write_siglip(tmp_path)
    values = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.5, 0.5]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(values))
    encoder = published.load_model(tmp_path).embedder.image_encoder
    assert encoder.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert encoder.std.flatten().tolist() == [0.5, 0.5, 0.5]


def test_an_incomplete_model_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    library_folders.write_clip(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    del tensors["vision_model.post_layernorm.bias"]
    save_file(tensors, path)
    with pytest.raises(UserError, match=r"norm\.bias is missing"):
        published.load_model(tmp_path)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_a_run_starts_from_a_folder(kind, tmp_path):
    """Both encoders and their projections: the embeddings of the first step are the library's."""
    write = {"clip": library_folders.write_clip, "siglip": library_folders.write_siglip}[kind]
    write(tmp_path)
    model = published.load_model(tmp_path)
    imported = to_builtins(model.config.model)
    run_config = tiny(model=imported, method={"name": "clip"}, pretrained=str(tmp_path))
    state = TrainState(run_config, model.tokenizer)
    parts = ["image_encoder", "image_head", "text_encoder", "text_head"]
    assert state.loaded_parts == dict.fromkeys(parts)
    tokens = torch.from_numpy(model.tokenizer.encode(CAPTIONS, 16))
    with torch.no_grad():
        embedder = state.embedder.eval()
        assert torch.equal(embedder.encode_text(tokens), model.embedder.encode_text(tokens))
    other = {**imported, "text": {**to_builtins(tiny().model.text)}}
    message = r"its text encoder|vocabulary of its own"
    with pytest.raises(UserError, match=message):
        TrainState(
            tiny(model=other, method={"name": "clip"}, pretrained=str(tmp_path)),
            train_small_tokenizer(),
        )
