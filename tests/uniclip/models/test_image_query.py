"""What timm says of image models."""

from __future__ import annotations

import json

import pytest

from uniclip.models.image_query import describe_image_model, get_native_image_size, main


@pytest.mark.parametrize(
    ("name", "size", "has_batch_norm"),
    [
        ("resnet18", 224, True),
        ("resnet18.a1_in1k", 224, True),
        ("mobilenetv3_small_050", 224, True),
        ("convnext_atto", 224, False),
        ("vit_tiny_patch16_224", 224, False),
        ("swin_tiny_patch4_window7_224", 224, False),
    ],
)
def test_a_model_is_built_at_the_size_it_was_made_for(name, size, has_batch_norm):
    expected = {"image_size": size, "error": None, "has_batch_norm": has_batch_norm}
    described = describe_image_model(name, {}, None)
    assert {key: described[key] for key in expected} == expected
    assert described["interpolation"] == "bicubic"
    assert 0.5 < described["crop_pct"] <= 1


@pytest.mark.parametrize(
    ("name", "options", "size", "message"),
    [
        ("resnet81", {}, None, "unknown model.image.name 'resnet81': did you mean resnet18"),
        ("qqqqqqqqqqqqq", {}, None, "of which the nearest are"),
        ("hf-hub:timm/resnet18.a1_in1k", {}, None, "names a file or a model of a hub"),
        (
            "resnet18",
            {"depths": [1]},
            None,
            "options do not suit model.image.name=resnet18: ResNet",
        ),
        ("vit_tiny_patch16_224", {"patch_size": 64}, 32, "model.image"),
        ("resnet18", {"img_size": 64}, 32, "options.img_size is set by model.image.image_size"),
        ("resnet18", {"num_classes": 10}, 32, "num_classes is not set here: the encoder has"),
        ("resnet18", {"pretrained": True}, 32, "write model.image.pretrained=true"),
        ("resnet18", {"global_pool": "none"}, 64, "model.image.options do not suit"),
        ("resnet18", {}, 7, "model.image.image_size must be at least 16"),
    ],
)
def test_what_cannot_be_built_is_one_short_line(name, options, size, message):
    error = describe_image_model(name, options, size)["error"]
    assert message in error
    assert "\n" not in error
    assert len(error) < 400


def test_the_shorter_side_of_an_oblong_model_counts():
    assert get_native_image_size("vit_base_patch16_sapiens2") == 768


def test_the_answer_is_the_last_line(capsys, monkeypatch):
    question = {"name": "resnet18", "options": {}, "image_size": 32}
    monkeypatch.setattr("sys.argv", ["image_query", json.dumps(question)])
    main()
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["image_size"] == 32
