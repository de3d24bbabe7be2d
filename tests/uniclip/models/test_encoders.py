"""Encoders: any timm model on uint8 pixels; a text model that depends on words, not on padding."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from uniclip.config import ImageConfig, TextConfig
from uniclip.errors import UserError
from uniclip.models.encoders import ImageEncoder, TextEncoder

SMALL = {"depths": [1, 1, 1, 1], "dims": [8, 8, 16, 24], "patch_size": 2}
IMAGES = {
    "convnext": (ImageConfig(name="convnext_atto", options=SMALL), 24),
    "resnet": (
        ImageConfig(
            name="resnet18",
            options={
                "layers": [1, 1, 1, 1],
                "channels": [8, 8, 16, 16],
                "stem_width": 8,
                "stem_type": "deep_tiered",
                "norm_layer": "groupnorm1",
            },
        ),
        16,
    ),
    "vit": (
        ImageConfig(
            name="vit_tiny_patch16_224",
            options={"patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2},
        ),
        24,
    ),
}
TEXT = TextConfig(width=16, layers=2, heads=2, context_length=12, vocab_size=300)


def vocabulary(bos=0, eos=1, pad=2, size=300):
    return SimpleNamespace(bos=bos, eos=eos, pad=pad, vocab_size=size)


def make_images(n=4, side=32):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (n, 3, side, side), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("name", list(IMAGES))
def test_image_models_give_one_vector_per_image(name):
    config, features = IMAGES[name]
    encoder = ImageEncoder(config)
    out = encoder(make_images())
    assert out.shape == (4, features)
    assert encoder.num_features == features
    assert encoder.training
    assert out.std(0).max() > 0
    assert all("head.fc" not in name for name, _ in encoder.named_parameters())


def test_pixels_are_normalized_by_the_models_mean_and_std():
    encoder = ImageEncoder(IMAGES["vit"][0])
    cfg = encoder.body.pretrained_cfg
    assert cfg["mean"] == (0.5, 0.5, 0.5)  # differs from ImageNet's
    inputs_to_body = []
    encoder.body.register_forward_pre_hook(lambda module, inputs: inputs_to_body.append(inputs[0]))
    encoder(make_images())
    torch.testing.assert_close(inputs_to_body[0], (make_images().float() / 255 - 0.5) / 0.5)
    assert not any("mean" in name or "std" in name for name in encoder.state_dict())


def test_image_size_is_passed_to_models_that_have_one():
    config, _ = IMAGES["vit"]
    assert ImageEncoder(config).body.patch_embed.img_size == (32, 32)
    larger = ImageEncoder(ImageConfig(name=config.name, image_size=48, options=config.options))
    assert larger(make_images(side=48)).shape == (4, 24)


def test_the_same_seed_gives_the_same_weights():
    for config, _ in IMAGES.values():
        weights = []
        for _ in range(2):
            torch.manual_seed(3)
            weights.append(ImageEncoder(config).state_dict())
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


INVALID_CONFIGS = [
    (ImageConfig(name="convnext_ato"), "convnext_atto"),
    (ImageConfig(name="convnext_atto", options={"deptsh": [1]}), "deptsh"),
    (ImageConfig(name="vit_tiny_patch16_224", options={"deptsh": [1]}), "deptsh"),
    (ImageConfig(name="vit_tiny_patch16_224", options={"img_size": 64}), "model.image.image_size"),
    (ImageConfig(name="vit_tiny_patch16_224", options={"global_pool": ""}), "one vector"),
]


@pytest.mark.parametrize(("config", "message"), INVALID_CONFIGS, ids=lambda x: str(x)[:30])
def test_invalid_image_models_raise_one_line(config, message):
    with pytest.raises(UserError, match=message) as caught:
        ImageEncoder(config)
    assert "\n" not in str(caught.value)


def tokens(*rows, pad=2, length=None):
    width = length or max(map(len, rows))
    return torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows])


@pytest.mark.parametrize(
    "ids", [dict(), dict(bos=297, eos=298, pad=299), dict(bos=0, eos=2, pad=1)]
)
def test_one_word_changes_the_text_and_padding_does_not(ids):
    special_ids = vocabulary(**ids)
    torch.manual_seed(0)
    encoder = TextEncoder(TEXT, special_ids).eval()

    def encode(words, length=None):
        row = [special_ids.bos, *words, special_ids.eos]
        return encoder(tokens(row, pad=special_ids.pad, length=length))[0]

    base = encode([10, 20, 30])
    for changed in (
        [11, 20, 30],
        [10, 21, 30],
        [10, 20, 31],
        [10, 20],
        [20, 10, 30],
        [250, 20, 30],
    ):
        assert (encode(changed) - base).abs().max() > 1e-2
    for length in (6, 9, 12):
        torch.testing.assert_close(encode([10, 20, 30], length), base, rtol=1e-5, atol=1e-5)
    together = encoder(
        tokens(
            [special_ids.bos, 10, 20, 30, special_ids.eos],
            [special_ids.bos, *range(40, 49), special_ids.eos],
            pad=special_ids.pad,
        )
    )
    torch.testing.assert_close(together[0], base, rtol=1e-5, atol=1e-5)


def test_special_ids_and_size_come_from_the_tokenizer():
    special_ids = TextEncoder(TEXT, vocabulary(bos=5, eos=6, pad=7, size=41)).body.config
    assert (special_ids.bos_token_id, special_ids.eos_token_id, special_ids.pad_token_id) == (
        5,
        6,
        7,
    )
    assert special_ids.vocab_size == 41
    assert special_ids.attention_dropout == 0
    assert (
        special_ids.hidden_size,
        special_ids.num_hidden_layers,
        special_ids.max_position_embeddings,
    ) == (16, 2, 12)


@pytest.mark.parametrize("ids", [dict(eos=0), dict(pad=300)])
def test_ambiguous_special_ids_are_rejected(ids):
    with pytest.raises(AssertionError):
        TextEncoder(TEXT, vocabulary(**ids))


def test_text_gradients_are_deterministic():
    gradients = []
    for _ in range(2):
        torch.manual_seed(0)
        encoder = TextEncoder(TEXT, vocabulary())
        encoder(tokens([0, 10, 20, 1], [0, 30, 1])).square().sum().backward()
        gradients.append([p.grad for p in encoder.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients))
