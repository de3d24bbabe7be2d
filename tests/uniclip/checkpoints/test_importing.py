"""Imported models give the features of the original; incomplete files are refused."""

from __future__ import annotations

import numpy as np
import open_clip
import pytest
import safetensors.torch
import torch
from open_clip.model import CLIPTextCfg, CLIPVisionCfg, CustomTextCLIP
from PIL import Image

from tests.helpers import published_models
from tests.helpers.published_models import MEAN, STD, TEXTS, pictures
from uniclip.checkpoints import importing
from uniclip.errors import UserError

CLOSE = 1e-5


def measure_difference(model, original, side):
    """Return the largest difference between our embeddings and open_clip's."""
    pixels = pictures(side)
    with torch.no_grad():
        images = original.encode_image((pixels / 255 - MEAN) / STD, normalize=True)
        texts = original.encode_text(open_clip.tokenize(TEXTS), normalize=True)
    differences = [
        np.abs(model.embed_images(pixels.numpy()) - images.numpy()).max(),
        np.abs(model.embed_texts(TEXTS) - texts.numpy()).max(),
    ]
    assert np.ptp(images.numpy(), axis=0).max() > 100 * CLOSE
    assert np.ptp(texts.numpy(), axis=0).max() > 100 * CLOSE
    return max(differences)


def save(tensors, path):
    torch.save(tensors, path)
    return path


def check_refused(path, match, **options):
    with pytest.raises(UserError, match=match) as caught:
        importing.load_model(path, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["ViT-B-32", "RN50"])
def test_open_clip_models_give_the_same_features(name, tmp_path):
    torch.manual_seed(0)
    original = open_clip.create_model(name).eval()
    for key, value in original.state_dict().items():
        if "running_var" in key or "bn" in key and key.endswith("weight"):
            value.uniform_(0.5, 1.5)  # so that batch norms and all branches have an effect
    model = importing.load_model(save(original.state_dict(), tmp_path / "x.pt"))
    assert measure_difference(model, original, 224) < CLOSE
    assert model.image_text_scale() == pytest.approx(1 / 0.07)
    assert model.config.runtime.device == "cpu", "no decoders are started for it"


@pytest.mark.parametrize("quick_gelu", [True, False])
def test_the_activation_is_an_argument(quick_gelu, tmp_path):
    original = published_models.clip(quick_gelu)
    path = save(original.state_dict(), tmp_path / "x.pt")
    assert (
        measure_difference(importing.load_model(path, quick_gelu=quick_gelu), original, 64) < CLOSE
    )
    assert (
        measure_difference(importing.load_model(path, quick_gelu=not quick_gelu), original, 64)
        > 10 * CLOSE
    )


def test_the_archive_of_openai_determines_its_activation(tmp_path):
    path = tmp_path / "ViT.pt"
    original = published_models.clip(quick=True)
    published_models.scripted(original, path)
    check_refused(path, "allow_torchscript=true")
    model = importing.load_model(path, allow_torchscript=True)
    assert model.config.model.text.activation == "quick_gelu"
    assert measure_difference(model, original, 64) < CLOSE


@pytest.mark.parametrize("form", ["safetensors", "half", "training", "separate text tower"])
def test_all_forms_of_a_clip_state_dict_are_read(form, tmp_path):
    original, path = published_models.clip(), tmp_path / "x.pt"
    if form == "safetensors":
        safetensors.torch.save_file(original.state_dict(), path)
    elif form == "half":
        original = original.half().float()
        save({k: v.half() for k, v in original.state_dict().items()}, path)
    elif form == "training":
        tensors = {f"module.{k}": v for k, v in original.state_dict().items()}
        save({"epoch": 1, "name": "run", "state_dict": tensors, "optimizer": {}}, path)
    else:
        image = CLIPVisionCfg(layers=2, width=128, patch_size=16, image_size=64)
        text = CLIPTextCfg(width=128, layers=2, heads=2)
        original = CustomTextCLIP(64, image, text).eval()
        assert "text.ln_final.weight" in original.state_dict()
        save(original.state_dict(), path)
    assert measure_difference(importing.load_model(path), original, 64) < CLOSE


def test_sizes_are_inferred_from_shapes(tmp_path):
    original = published_models.clip(
        width=192, layers=3, patch_size=8, image_size=40, mlp_ratio=2.0
    )
    model = importing.load_model(save(original.state_dict(), tmp_path / "x.pt"))
    assert model.config.model.image.image_size == 40
    assert measure_difference(model, original, 40) < CLOSE


def test_images_are_preprocessed_as_in_open_clip(tmp_path):
    original = published_models.clip()
    model = importing.load_model(save(original.state_dict(), tmp_path / "x.pt"))
    noise = np.random.default_rng(0).integers(0, 256, (90, 131, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    prepare = open_clip.image_transform(64, is_train=False)
    with torch.no_grad():
        expected = original.encode_image(prepare(image)[None], normalize=True).numpy()
    assert np.abs(model.embed_images([image]) - expected).max() < CLOSE


# ---- UniCL ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unicl():
    return published_models.Unicl()


@pytest.mark.parametrize("naming", ["main", "old", "benchmark"])
def test_unicl_in_its_three_namings(unicl, naming, tmp_path):
    path = tmp_path / "yfcc14m.pth"
    published_models.save_with_configuration(unicl.released(naming), path)
    model = importing.load_model(path)
    pixels = pictures(224)
    images, texts = unicl.images(pixels).numpy(), unicl.texts(TEXTS).numpy()
    assert np.ptp(images, axis=0).max() > 100 * CLOSE
    assert np.abs(model.embed_images(pixels.numpy()) - images).max() < CLOSE
    assert np.abs(model.embed_texts(TEXTS) - texts).max() < CLOSE
    assert model.image_text_scale() == pytest.approx(np.exp(4))


def test_unicl_resizes_to_256_before_it_crops_224(unicl, tmp_path):
    model = importing.load_model(save(unicl.released(), tmp_path / "x.pth"))
    bordered = np.zeros((256, 256, 3), np.uint8)
    bordered[:, :16] = bordered[:, -16:] = bordered[:16] = bordered[-16:] = (
        255  # removed by the crop
    )
    black = np.zeros((1, 3, 224, 224), np.uint8)
    assert np.allclose(model.embed_images([Image.fromarray(bordered)]), model.embed_images(black))


KEYS = {
    "main": [
        "logit_scale",
        "image_projection",
        "text_projection",
        "text_encoder.token_embedding.weight",
        "text_encoder.resblocks.1.attn.in_proj_bias",
        "text_encoder.ln_final.weight",
        "image_encoder.patch_embed.proj.weight",
        "image_encoder.layers.0.blocks.0.attn.relative_position_bias_table",
        "image_encoder.layers.2.downsample.reduction.weight",
        "image_encoder.norm.bias",
    ],
    "old": [
        "vision_projection",
        "text.positional_embedding",
        "visual.layers.3.blocks.0.norm1.bias",
    ],
    "benchmark": ["lang_projection", "lang_encoder.resblocks.0.mlp.c_fc.weight"],
}


@pytest.mark.parametrize(("naming", "key"), [(name, k) for name, ks in KEYS.items() for k in ks])
def test_a_missing_renamed_or_unexpected_key_is_named(unicl, naming, key, tmp_path):
    whole = unicl.released(naming)
    dropped = {k: v for k, v in whole.items() if k != key}
    check_refused(save(dropped, tmp_path / "x.pth"), f"{key} is missing")
    check_refused(
        save({**dropped, f"{key}_x": whole[key]}, tmp_path / "y.pth"), f"{key} is missing"
    )
    check_refused(
        save({**whole, f"{key}_x": whole[key]}, tmp_path / "z.pth"), f"{key}_x is unexpected"
    )


def test_a_text_tower_under_another_prefix_is_refused(unicl, tmp_path):
    """The loader of the release renames text.* to lang_encoder.*, which its model lacks."""
    mixed = {k.replace("text_encoder.", "lang_encoder."): v for k, v in unicl.released().items()}
    check_refused(save(mixed, tmp_path / "x.pth"), "is missing")


def test_a_tensor_of_another_shape_is_named(unicl, tmp_path):
    tensors = unicl.released()
    for key, value in [
        ("image_encoder.norm.bias", torch.zeros(7)),
        ("text_encoder.resblocks.0.mlp.c_fc.weight", torch.zeros(128, 512)),
        ("image_projection", torch.zeros(64)),
        ("text_encoder.token_embedding.weight", torch.zeros(49408)),
    ]:
        check_refused(save({**tensors, key: value}, tmp_path / "x.pth"), key)


def test_missing_and_unexpected_keys_of_clip_are_named(tmp_path):
    whole = published_models.clip().state_dict()
    for key in ("visual.proj", "visual.class_embedding", "transformer.resblocks.1.ln_2.bias"):
        dropped = {k: v for k, v in whole.items() if k != key}
        check_refused(save(dropped, tmp_path / "x.pt"), f"{key} is missing")
    check_refused(save({**whole, "logit_bia": torch.zeros(())}, tmp_path / "x.pt"), "logit_bia")


def test_the_bias_of_siglip_is_kept(tmp_path):
    whole = published_models.clip().state_dict()
    assert importing.load_model(save(whole, tmp_path / "y.pt")).image_text_bias() == 0
    path = save({**whole, "logit_bias": torch.tensor(-12.5)}, tmp_path / "x.pt")
    assert importing.load_model(path).image_text_bias() == -12.5
    wrong = save({**whole, "logit_bias": torch.zeros(2)}, tmp_path / "z.pt")
    check_refused(wrong, r"logit_bias has shape \(2,\), expected one number")


def test_other_models_are_refused(tmp_path):
    check_refused(save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "x.pt"), "fc.weight")
    other = published_models.clip().state_dict()
    other["token_embedding.weight"] = torch.zeros(300, 128)
    check_refused(save(other, tmp_path / "y.pt"), "300 tokens")


def test_importing_does_not_use_the_generator_of_torch(tmp_path):
    path = save(published_models.clip().state_dict(), tmp_path / "x.pt")
    before = torch.get_rng_state()
    importing.load_model(path)
    assert torch.equal(before, torch.get_rng_state())


def test_a_tensor_that_is_not_a_weight_is_named(tmp_path):
    state, key = published_models.clip().state_dict(), "ln_final.weight"
    for value, match in (
        (state[key].to_sparse(), "is not dense"),
        (torch.empty(128, device="meta"), "is on the device meta"),
        (state[key].to(torch.complex64), "is complex"),
        (state[key] * float("nan"), ".* not finite"),
        (state[key].double() * 1e300, ".* not finite"),  # in single precision
    ):
        check_refused(
            save({**state, key: value}, tmp_path / "x.pt"), rf"x\.pt: ln_final\.weight {match}"
        )


@pytest.mark.parametrize("scale", [[], [1.0, 2.0]])
def test_the_scale_must_be_one_number(scale, tmp_path):
    state = {**published_models.clip().state_dict(), "logit_scale": torch.tensor(scale)}
    check_refused(
        save(state, tmp_path / "x.pt"), r"logit_scale has shape \(\d,\), expected one number"
    )


def test_the_scale_may_be_a_vector_of_length_one(tmp_path):
    state = {**published_models.clip().state_dict(), "logit_scale": torch.tensor([3.0])}
    model = importing.load_model(save(state, tmp_path / "x.pt"))
    assert model.image_text_scale() == pytest.approx(np.exp(3))


def test_the_expected_shape_is_that_in_the_file(tmp_path):
    state = published_models.clip().state_dict()
    transposed = {**state, "visual.proj": state["visual.proj"].T.contiguous()}
    path = save(transposed, tmp_path / "x.pt")
    check_refused(path, r"visual\.proj has shape \(64, 128\), expected \(128, 64\)")
