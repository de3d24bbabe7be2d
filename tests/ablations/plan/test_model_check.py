"""Encoders are checked when a sweep is planned."""

from __future__ import annotations

from typing import Any

import pytest

from ablations.plan import model_check
from ablations.plan.model_check import (
    check_image_models,
    check_optimizers,
    check_pretrained_models,
    describe_image_sizes,
)
from tests.helpers.small_runs import tiny
from uniclip.config.image_model import ImageModelFacts
from uniclip.errors import UserError


def facts(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    """Let timm say the same of every model."""
    monkeypatch.setattr(model_check, "query_image_model", lambda *a, **k: ImageModelFacts(**fields))


def test_an_error_names_the_arm_if_there_are_several(monkeypatch: pytest.MonkeyPatch) -> None:
    facts(monkeypatch, error="unknown model")
    with pytest.raises(UserError, match="^unknown model$"):
        check_image_models({"one": tiny()})
    with pytest.raises(UserError, match="^arm one: unknown model$"):
        check_image_models({"one": tiny(), "two": tiny()})


def test_gradient_caching_with_batch_norm_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    facts(monkeypatch, has_batch_norm=True)
    chunked = tiny(train={"grad_cache_chunks": 2})
    check_image_models({"one": tiny(), "locked": tiny(train={"grad_cache_chunks": 2}, lock="both")})
    with pytest.raises(UserError, match="train.grad_cache_chunks=2 needs encoders without batch"):
        check_image_models({"one": chunked})
    facts(monkeypatch, has_batch_norm=False)
    check_image_models({"one": chunked})


def test_patch_dropout_without_patches_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    facts(monkeypatch, has_patch_tokens=False)
    dropping = tiny(train={"patch_drop_rate": 0.5})
    check_image_models({"one": tiny()})
    with pytest.raises(UserError, match="train.patch_drop_rate needs a vision Transformer"):
        check_image_models({"one": dropping})
    facts(monkeypatch, has_patch_tokens=True)
    check_image_models({"one": dropping})
    facts(monkeypatch, is_known=False)
    check_image_models({"one": dropping})


def test_timm_is_asked_about_another_optimizer_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def describe_problem(name: str, options: dict[str, Any]) -> str | None:
        asked.append((name, options))
        return "unknown optimizer" if name == "lambb" else None

    monkeypatch.setattr(model_check.optimizer, "describe_problem", describe_problem)
    lion = {"optimizer": "lion", "optimizer_options": {"caution": True}}
    check_optimizers({"adamw": tiny(), "lion": tiny(train=lion)})
    assert asked == [("lion", {"caution": True})]
    unknown = tiny(train={"optimizer": "lambb"})
    with pytest.raises(UserError, match="^unknown optimizer$"):
        check_optimizers({"one": unknown})
    with pytest.raises(UserError, match="^arm one: unknown optimizer$"):
        check_optimizers({"one": unknown, "two": tiny()})


def test_a_folder_that_does_not_suit_an_arm_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        model_check.pretrained_folder,
        "describe_problem",
        lambda config: "another encoder" if config.pretrained == "clip" else None,
    )
    other = tiny(pretrained="clip")
    check_pretrained_models({"one": tiny()})
    with pytest.raises(UserError, match="^another encoder$"):
        check_pretrained_models({"one": other})
    with pytest.raises(UserError, match="^arm one: another encoder$"):
        check_pretrained_models({"two": tiny(), "one": other})


def test_activation_checkpointing_with_batch_norm_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    facts(monkeypatch, has_batch_norm=True)
    train = {"activation_checkpointing": True}
    check_image_models({"locked": tiny(train=train, lock="image")})
    with pytest.raises(UserError, match="activation_checkpointing=true needs encoders without"):
        check_image_models({"one": tiny(train=train)})


def test_both_sizes_are_shown_and_enlarged_images_are_said() -> None:
    same = tiny(data={"name": "scenes", "image_size": 32})
    small = tiny(data={"name": "scenes", "image_size": 16})
    sentences = describe_image_sizes({"a": same, "b": same, "c": small})
    assert sentences[0] == "images of 32 px; convnext_atto takes 32 px"
    assert "are enlarged, data.image_size=32 would keep their detail" in sentences[1]
    assert len(sentences) == 2
