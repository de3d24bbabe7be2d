"""Whether an image encoder is that of a checkpoint, and the words that choose it."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

import pytest

from uniclip.checkpoints.image_agreement import check_image_encoder, format_image_words
from uniclip.config import ImageConfig
from uniclip.config.overrides import parse_overrides
from uniclip.errors import UserError
from uniclip.models.encoders import ImageEncoder

OPTIONS = {"patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2, "mlp_ratio": 2.0}
VIT = ImageConfig(name="vit_base_patch32_clip_224", image_size=32, options=OPTIONS)
OTHER_STATS = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5]}
NORMALIZED = replace(VIT, options={**OPTIONS, "pretrained_cfg_overlay": OTHER_STATS})
UNSCALED = replace(VIT, options={**OPTIONS, "init_values": None, "qkv_bias": True})


def check(image: ImageConfig, checkpoint_image: ImageConfig) -> None:
    check_image_encoder(ImageEncoder(image), image, checkpoint_image)


def read_image(words: list[str]) -> ImageConfig:
    """Return the image encoder that words of a command line choose."""
    values = parse_overrides(words)
    return ImageConfig(**{k.removeprefix("model.image."): v for k, v in values.items()})


@pytest.mark.parametrize("checkpoint_image", [VIT, NORMALIZED, UNSCALED])
def test_the_words_of_an_error_choose_the_encoder(checkpoint_image: ImageConfig) -> None:
    check(checkpoint_image, checkpoint_image)
    other = ImageConfig(name="convnext_atto", image_size=32)
    message = r"body\.blocks\..* in the checkpoint and is absent in the model; set model"
    with pytest.raises(UserError, match=message) as error:
        check(other, checkpoint_image)
    words = shlex.split(str(error.value).partition("; set ")[2])
    assert words == shlex.split(format_image_words(checkpoint_image))
    assert read_image(words) == checkpoint_image


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 16}, "pos_embed has shape"),
        ({"options": {**OPTIONS, "num_heads": 4}}, "num_heads is 2, not 4: choose a timm model"),
        ({"name": "vit_base_patch32_clip_quickgelu_224"}, "act is GELU, not Quick"),
        ({"options": NORMALIZED.options}, "pixels by another mean and deviation: choose its"),
    ],
)
def test_what_shapes_do_not_determine_is_compared(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        check(replace(VIT, **changes), VIT)
    assert "\n" not in str(error.value)
