"""The configuration of the encoders: what belongs together, in one line."""

from __future__ import annotations

from typing import Any

import pytest

from uniclip.config import ImageConfig, TextConfig
from uniclip.config.binding import bind
from uniclip.errors import UserError


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"pretrained": True}, "needs model.text.folder="),
        ({"tokenizer": "folder"}, "needs model.text.folder="),
        ({"folder": "x", "pretrained": True}, "leave out model.text.tokenizer=bpe"),
        ({"options": {"a": 1}}, "for a model.text.name other than clip"),
        ({"pooling": "mean"}, "for a model.text.name other than clip"),
        ({"width": 30, "heads": 4}, "must be a multiple"),
    ],
)
def test_what_does_not_belong_together(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        bind(TextConfig, values, "model.text.")


def test_whether_weights_are_named() -> None:
    for value, source in ((True, "true"), (False, None), (None, None), ("x.pt", "x.pt")):
        assert bind(ImageConfig, {"pretrained": value}).weights_source == source
