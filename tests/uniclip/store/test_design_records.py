"""Records of designs: what is written is read, and old plans lack the new fields."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from uniclip.store import Alias, Component, Contrast, FoldOver, Prediction
from uniclip.store.json_io import decode_record, to_json_bytes

CONTRAST = Contrast(
    name="main:a",
    label="A [+ B x C]",
    kind="main",
    weights={"full": 0.5, "none": -0.5},
    primary=True,
    aliases=(Alias(effect="b*c", coefficient=1.0),),
)


@pytest.mark.parametrize(
    "record",
    [
        CONTRAST,
        FoldOver(components=("all",), num_arms=8, separates="5 main effects"),
        Prediction(component="a", sign="null", reason="r"),
        Component(
            name="a",
            label="A",
            reason="r",
            off_overrides={"x": 0},
            manipulation_check={},
            requires=("b",),
            doses={"0.5": {"x": 1}},
        ),
    ],
)
def test_what_is_written_is_read(record: object) -> None:
    assert decode_record(type(record), to_json_bytes(record), Path("x")) == record


def test_a_contrast_of_an_older_plan_has_no_aliases() -> None:
    values = json.loads(to_json_bytes(CONTRAST))
    del values["aliases"]
    old = decode_record(Contrast, json.dumps(values).encode(), Path("x"))
    assert old.aliases == ()
    assert old.arms_by_sign == (["full"], ["none"])


@pytest.mark.parametrize(
    ("sign", "description"),
    [("positive", "a is positive"), ("null", "a is practically nothing")],
)
def test_a_prediction_is_described_by_what_it_is_on(sign: str, description: str) -> None:
    prediction = Prediction(component="a", sign=sign, reason="r")  # type: ignore[arg-type]
    assert prediction.description == description
