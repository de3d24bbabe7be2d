"""Values that follow from others, and values that end with another choice."""

from __future__ import annotations

from typing import Any

import pytest

from uniclip.config import build_run_config, complete_run_values, image_model
from uniclip.config.compose import apply_overrides, flatten
from uniclip.config.derived import fill_derived_values, open_derived_values
from uniclip.config.image_model import ImageModelFacts
from uniclip.errors import UserError

TINY_OPTIONS = {"depths": [1, 1, 1, 1], "conv_mlp": True}


def make_values(data: str = "csv", **image: Any) -> dict[str, Any]:
    """Return what a preset composes to, with every key."""
    return complete_run_values(
        {
            "data": {"name": data},
            "model": {
                "image": {
                    "name": "convnext_atto",
                    "image_size": 32,
                    "options": TINY_OPTIONS,
                    **image,
                },
                "text": {"tokenizer": "bpe", "vocab_size": 500},
            },
            "method": {"name": "clip"},
        }
    )


@pytest.fixture(autouse=True)
def native_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every model be made for 224 pixels, without asking timm."""

    def answer(
        name: str, options: Any, image_size: int | None, *, asks_always: bool = False
    ) -> ImageModelFacts:
        return ImageModelFacts(image_size=image_size or 224)

    monkeypatch.setattr(image_model, "query_image_model", answer)


def resolve(values: dict[str, Any], **overrides: Any) -> dict[str, Any]:
    apply_overrides(values, {k.replace("__", "."): v for k, v in overrides.items()})
    from uniclip.config.binding import to_builtins

    return flatten(to_builtins(build_run_config(values)))


@pytest.mark.parametrize("size", [32, 48, 224])
def test_images_of_a_table_have_the_size_of_the_encoders_input(size: int) -> None:
    assert resolve(make_values(image_size=size))["data.image_size"] == size
    assert resolve(make_values(), model__image__image_size=size)["data.image_size"] == size
    assert resolve(make_values(), data__image_size=100)["data.image_size"] == 100
    assert resolve(make_values(), data__image_size=None)["data.image_size"] == 32


@pytest.mark.parametrize(("data", "size"), [("openmoji", 64), ("scenes", 32), ("mix", 64)])
def test_embedded_data_keep_their_size(data: str, size: int) -> None:
    assert resolve(make_values(data, image_size=224))["data.image_size"] == size


def test_another_encoder_has_its_own_size_and_none_of_the_presets_options() -> None:
    values = resolve(make_values(), model__image__name="resnet18")
    assert values["model.image.options"] == {}
    assert values["model.image.image_size"] == values["data.image_size"] == 224


def test_what_the_user_gives_for_another_encoder_stays() -> None:
    overrides = {
        "model__image__options__drop_path_rate": 0.1,
        "model__image__name": "resnet18",
        "model__image__image_size": 64,
    }
    values = resolve(make_values(), **overrides)
    assert values["model.image.options.drop_path_rate"] == 0.1
    assert not any(key.startswith("model.image.options.depths") for key in values)
    assert values["model.image.image_size"] == values["data.image_size"] == 64
    whole = resolve(make_values(), model__image__name="resnet18", model__image__options={"a": 1})
    assert whole["model.image.options.a"] == 1


def test_the_same_name_changes_nothing() -> None:
    same = resolve(make_values(), model__image__name="convnext_atto")
    assert same == resolve(make_values())
    assert same["model.image.options.depths"] == TINY_OPTIONS["depths"]


def test_a_preset_of_the_user_may_leave_the_size_out() -> None:
    values = {"data": {"name": "csv"}, "method": {"name": "clip"}}
    config = build_run_config({**values, "model": {"image": {"name": "resnet18"}}})
    assert config.model.image.image_size == config.data.image_size == 224
    default = build_run_config(values)
    assert default.model.image.image_size == default.data.image_size == 32


def test_clips_tokenizer_has_its_own_vocabulary() -> None:
    assert resolve(make_values(), model__text__tokenizer="clip")["model.text.vocab_size"] == 49_408
    with pytest.raises(UserError, match="set model.text.vocab_size=49408 too"):
        resolve(make_values(), model__text__tokenizer="clip", model__text__vocab_size=500)
    assert resolve(make_values())["model.text.vocab_size"] == 500


def test_values_of_a_wrong_type_are_left_to_the_check_of_types() -> None:
    for values in (
        {"model": 3, "data": {"name": "csv"}},
        {"model": {"image": 3, "text": 4}, "data": {"name": "csv"}},
        {"model": {"image": {"name": 3}}, "data": {"name": "csv"}},
        {"model": {"image": {"name": "x", "options": 3}}, "data": {"name": "csv"}},
        {"model": {"image": {"image_size": "large"}}, "data": {"name": "csv"}},
        {"data": {"name": ["csv"]}},
        {"data": None},
    ):
        filled = fill_derived_values(values, 32)
        assert filled.keys() == values.keys()
        with pytest.raises(UserError):
            build_run_config({"method": {"name": "clip"}, **values})


def test_complete_values_are_null_where_they_follow() -> None:
    values = make_values()
    assert values["data"]["image_size"] is None
    assert values["model"]["image"]["image_size"] == 32
    given = {"model": {"image": {"name": "resnet18"}}, "data": {"name": "csv", "image_size": 9}}
    complete = {"model": {"image": {"image_size": 1}}, "data": {"name": "csv", "image_size": 9}}
    opened = open_derived_values(complete, given)
    assert opened["model"]["image"]["image_size"] is None
    assert opened["data"]["image_size"] == 9
