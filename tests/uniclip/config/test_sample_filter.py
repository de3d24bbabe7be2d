"""The language of `data.where`: what it accepts, what it refuses, and what it never does."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uniclip.config import WebdatasetData
from uniclip.config.sample_filter import MissingFieldError, SampleFilter
from uniclip.errors import UserError

FIELDS = {
    "similarity": 0.31,
    "width": 300,
    "height": 200,
    "LANGUAGE": "en",
    "NSFW": "UNLIKELY",
    "caption": "a red fox",
    "caption_length": 9,
    "ok": True,
    "nothing": None,
}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("similarity > 0.28", True),
        ("similarity > 0.28 and min(width, height) >= 256", False),
        ("similarity > 0.5 or LANGUAGE == 'en'", True),
        ("not NSFW in ('LIKELY', 'NSFW')", True),
        ("NSFW not in ['UNLIKELY']", False),
        ("0.5 < width / height <= 2", True),
        ("max(width, height) / min(width, height) < 1.4", False),
        ("'fox' in caption", True),
        ("ok == true", True),
        ("ok", True),
        ("abs(-width + 1) == 299", True),
        ("(similarity < 0.1 or width > 100) and caption_length < 10", True),
    ],
)
def test_expressions(expression, expected):
    assert SampleFilter(expression).accepts(FIELDS) is expected


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "similarity >",
        "__import__('os').system('true') == 0",
        "open('x') == 1",
        "caption.__class__ == 1",
        "caption[0] == 'a'",
        "[x for x in caption] == 1",
        "(lambda: 1)() == 1",
        "f'{width}' == '300'",
        "width ** 99999 > 1",
        "(x := 1) == 1",
        "min(width) > 1",
        "width is height",
        "print(width) == 1",
        "width > 1" + " and width > 1" * 200,
        "(" * 400 + "width > 1" + ")" * 400,
    ],
)
def test_everything_else_is_refused_in_one_line(expression):
    with pytest.raises(UserError, match="cannot be read: write comparisons") as caught:
        WebdatasetData(path="x", where=expression)
    assert "\n" not in str(caught.value)


def test_a_text_after_in_is_refused_and_a_type_error_names_the_fields():
    with pytest.raises(UserError, match=r"write in \('english',\) for one of these values, or =="):
        SampleFilter("LANGUAGE in ('english')")
    with pytest.raises(MissingFieldError, match="^LANGUAGE$"):
        SampleFilter("width > 1 and LANGUAGE > 1").accepts(FIELDS)


@pytest.mark.parametrize("expression", ["absent > 1", "nothing > 1", "LANGUAGE > 1", "width/0 > 1"])
def test_a_sample_without_a_value_that_can_be_compared_is_no_answer(expression):
    with pytest.raises(MissingFieldError):
        SampleFilter(expression).accepts(FIELDS)
    with pytest.raises(MissingFieldError):
        SampleFilter(f"not ({expression})").accepts(FIELDS)
    with pytest.raises(MissingFieldError):
        SampleFilter(f"width > 0 or {expression}").accepts(FIELDS)


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_an_expression_or_a_user_error(text):
    try:
        SampleFilter(text).accepts(FIELDS)
    except (UserError, MissingFieldError):
        pass
