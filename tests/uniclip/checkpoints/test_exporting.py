"""Exported models are read by open_clip and transformers and give the same features."""

from __future__ import annotations

import numpy as np
import open_clip
import pytest
import torch
from transformers import AutoTokenizer, CLIPModel

from tests.helpers.published_models import MEAN, STD, TEXTS, pictures
from tests.helpers.small_runs import tiny
from uniclip import methods
from uniclip.checkpoints import exporting, importing
from uniclip.checkpoints.exporting import export
from uniclip.checkpoints.pretrained import PretrainedModel
from uniclip.data.text.build import build_tokenizer
from uniclip.errors import UserError
from uniclip.models.embedder import build_embedder

CLIP_TEXT = {
    "width": 64, "layers": 2, "heads": 1, "context_length": 77, "vocab_size": 49408,
    "tokenizer": "clip",
}  # fmt: skip
VIT = {"patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 1}


def build_model(image="vit_base_patch32_clip_quickgelu_224", options=VIT, method="clip", **text):
    """Return a model as after training: built from a configuration, with another scale."""
    text_rows = {**CLIP_TEXT, **text}
    config = tiny(
        model={
            "image": {"name": image, "image_size": 32, "options": options},
            "text": text_rows,
            "embed_dim": 16,
        },
        method={"name": method},
    )
    vocabulary = build_tokenizer(config.model.text, ["a red disc", "a blue cross"] * 9)
    method = methods.build_method(config)
    embedder = build_embedder(config, vocabulary, method.head_type).eval()
    with torch.no_grad():
        for parameter in embedder.parameters():  # so that norms and biases have an effect
            parameter.add_(torch.randn(parameter.shape, generator=GENERATOR) * 0.05)
        if hasattr(method, "log_scale"):
            method.log_scale.fill_(3.5)
    return PretrainedModel(embedder, method, vocabulary, config)


GENERATOR = torch.Generator().manual_seed(0)


@pytest.fixture(scope="module", params=["quickgelu", "gelu"])
def pretrained(request):
    if request.param == "quickgelu":
        return build_model()
    return build_model(image="vit_base_patch32_clip_224", activation="gelu")


def features(pretrained):
    pixels = pictures(32)
    images, texts = pretrained.embed_images(pixels.numpy()), pretrained.embed_texts(TEXTS)
    assert min(np.ptp(images, axis=0).max(), np.ptp(texts, axis=0).max()) > 1e-3
    return (pixels / 255 - MEAN) / STD, images, texts


def run_transformers(folder, pretrained, pixels):
    """Return the outputs of transformers' model, which must have no missing or unexpected keys."""
    other_model, info = CLIPModel.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    tokens = torch.from_numpy(pretrained.tokenizer.encode(TEXTS, 77))
    with torch.no_grad():
        return other_model.eval()(input_ids=tokens, pixel_values=pixels)


def test_open_clip_gives_the_same_embeddings(pretrained, tmp_path):
    pixels, images, texts = features(pretrained)
    folder = export(pretrained, tmp_path / "out", "open_clip")
    other_model, _, prepare = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    other_model.eval()
    with torch.no_grad():
        image_rows = other_model.encode_image(pixels, normalize=True).numpy()
        text_rows = other_model.encode_text(open_clip.tokenize(TEXTS), normalize=True).numpy()
    assert np.abs(image_rows - images).max() < 1e-5
    assert np.abs(text_rows - texts).max() < 1e-5
    assert other_model.logit_scale.item() == pytest.approx(3.5, abs=1e-6)
    assert prepare.transforms[-1].mean == pytest.approx(open_clip.OPENAI_DATASET_MEAN)


def test_transformers_gives_the_same_embeddings(pretrained, tmp_path):
    pixels, images, texts = features(pretrained)
    folder = export(pretrained, tmp_path / "out", "transformers")
    out = run_transformers(folder, pretrained, pixels)
    assert np.abs(out.image_embeds.numpy() - images).max() < 1e-5
    assert np.abs(out.text_embeds.numpy() - texts).max() < 1e-5
    cosines = out.text_embeds @ out.image_embeds.T
    assert torch.allclose(out.logits_per_text, cosines * np.exp(3.5), atol=1e-3)


def test_an_exported_model_is_imported_again(tmp_path):
    pretrained = build_model()
    _, images, texts = features(pretrained)
    folder = export(pretrained, tmp_path / "out", "open_clip")
    again = importing.load_model(folder / "open_clip_model.safetensors", quick_gelu=True)
    assert np.abs(again.embed_images(pictures(32).numpy()) - images).max() < 1e-6
    assert np.abs(again.embed_texts(TEXTS) - texts).max() < 1e-6


def test_open_clip_and_our_import_keep_the_bias_of_siglip(tmp_path):
    pretrained = build_model(method="siglip")
    with torch.no_grad():
        pretrained.method.bias.fill_(-11.25)
    folder = export(pretrained, tmp_path / "out", "open_clip")
    other_model = open_clip.create_model(f"local-dir:{folder}").eval()
    pixels, images, texts = features(pretrained)
    with torch.no_grad():
        logits, _ = other_model.get_logits(pixels, open_clip.tokenize(TEXTS))
    expected = pretrained.image_text_scale() * images @ texts.T + pretrained.image_text_bias()
    assert np.abs(logits.numpy() - expected).max() < 1e-3
    again = importing.load_model(folder / "open_clip_model.safetensors", quick_gelu=True)
    assert (again.image_text_bias(), other_model.logit_bias.item()) == (-11.25, -11.25)
    check_refused(tmp_path / "no", "transformers", "no bias of the logits", {"method": "siglip"})


CONVNEXT = {"depths": [1, 1, 1, 1], "dims": [8, 8, 16, 16]}
REFUSED = {
    "not a linear projection": {"method": "uniclip"},
    "not CLIP's vision Transformer": {"image": "convnext_atto", "options": CONVNEXT},
    "CLIP's vision Transformer": {"image": "vit_tiny_patch16_224", "options": VIT},
    r"such as vision_model\.blocks\.0\.ls1\.gamma": {"options": {**VIT, "init_values": 1e-5}},
    r"such as vision_model\.blocks\.0\.attn\.k_norm": {"options": {**VIT, "qk_norm": True}},
    r"such as vision_model\..*\.k_proj\.bias": {"options": {**VIT, "qkv_bias": False}},
    r"such as vision_model\.embeddings\.position": {"options": {**VIT, "no_embed_class": True}},
    r"such as vision_model\.emb.*\.position_embedding\.weight": {
        "options": {**VIT, "reg_tokens": 2}
    },
    "activation, ReLU": {"options": {**VIT, "act_layer": "relu"}},
    "activation, GELUTanh": {"options": {**VIT, "act_layer": "gelu_tanh"}},
}
ONLY_TRANSFORMERS = {
    "vocabulary": {"tokenizer": "bpe", "vocab_size": 300},
    "different activations": {"activation": "gelu"},
    "layer_norm_eps": {"layer_norm_eps": 1e-12},
    "heads": {"options": {**VIT, "num_heads": 2}},
}
"""Settings that open_clip fixes and transformers' configuration can state."""


def check_refused(folder, target_format, reason, changes):
    with pytest.raises(UserError, match=reason) as caught:
        export(build_model(**changes), folder, target_format)
    assert "\n" not in str(caught.value)
    assert not folder.exists()


@pytest.mark.parametrize("reason", REFUSED)
@pytest.mark.parametrize("target_format", ["open_clip", "transformers"])
def test_unsupported_models_are_refused_with_a_reason(reason, target_format, tmp_path):
    check_refused(tmp_path / "out", target_format, reason, REFUSED[reason])


@pytest.mark.parametrize("reason", ONLY_TRANSFORMERS)
def test_models_that_only_transformers_supports(reason, tmp_path):
    check_refused(tmp_path / "out", "open_clip", reason, ONLY_TRANSFORMERS[reason])
    pretrained = build_model(**ONLY_TRANSFORMERS[reason])
    pixels, images, texts = features(pretrained)
    folder = export(pretrained, tmp_path / "out", "transformers")
    out = run_transformers(folder, pretrained, pixels)
    assert np.abs(out.image_embeds.numpy() - images).max() < 1e-5
    assert np.abs(out.text_embeds.numpy() - texts).max() < 1e-5


def test_an_unknown_format_and_an_existing_folder_are_refused(tmp_path):
    pretrained = build_model()
    with pytest.raises(UserError, match="did you mean open_clip"):
        export(pretrained, tmp_path / "out", "openclip")
    with pytest.raises(UserError, match="exists; name a new folder"):
        export(pretrained, tmp_path, "open_clip")


@pytest.mark.parametrize("changes", [{}, ONLY_TRANSFORMERS["vocabulary"]], ids=["clip", "bpe"])
def test_the_exported_tokenizer_gives_the_same_ids(changes, tmp_path):
    pretrained = build_model(**changes)
    folder = export(pretrained, tmp_path / "out", "transformers")
    other_model = AutoTokenizer.from_pretrained(folder)
    for text in (*TEXTS, "caf\u00e9  Two"):
        expected_ids = pretrained.tokenizer.encode([text], 77)[0].tolist()
        assert other_model(text, truncation=True).input_ids == expected_ids
    padded = other_model(["a", "a b c"], padding=True, return_tensors="pt").input_ids
    with torch.no_grad():
        rows = CLIPModel.from_pretrained(folder).eval().get_text_features(input_ids=padded)
    rows = torch.nn.functional.normalize(rows.pooler_output, dim=-1).numpy()
    assert np.abs(rows - pretrained.embed_texts(["a", "a b c"])).max() < 1e-5


def test_the_command_exports_a_run_or_explains_itself(tmp_path, monkeypatch, capsys):
    pretrained = build_model()
    monkeypatch.setattr("uniclip.checkpoints.load.load", lambda run: pretrained)
    assert exporting.main(["run", str(tmp_path / "out"), "open_clip"]) == 0
    assert (tmp_path / "out" / "open_clip_model.safetensors").exists()
    assert exporting.main(["run", str(tmp_path / "out"), "open_clip"]) == 2
    assert "exists; name a new folder" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        exporting.main(["run"])
    assert "usage: uniclip-export" in capsys.readouterr().err
