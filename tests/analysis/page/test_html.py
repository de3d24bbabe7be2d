"""The page as HTML: it loads nothing, allows only its own code, and escapes what it shows."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

import numpy as np
import pytest
from markupsafe import Markup

from analysis.page import html
from tests.helpers.page_store import HOSTILE
from uniclip.store import RunStatus


def render(payload: dict[str, Any], **options: Any) -> str:
    sections = html.list_interactive_sections(now="Cells")
    return html.render_page(payload, key_facts={"data": HOSTILE}, sections=sections, **options)


def test_code_and_style_are_those_that_the_policy_names(payload: dict[str, Any]) -> None:
    page = render(payload)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    policy = policy.replace("&#39;", "'")
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "connect-src 'none'" in policy
    assert "unsafe" not in policy
    assert "connect-src 'self'" in html.build_policy(is_live=True)


def test_the_page_has_no_inline_handlers_and_loads_nothing(payload: dict[str, Any]) -> None:
    page = render(payload, footer=[HOSTILE])
    markup = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)
    assert not re.search(r"<[^>]*\son\w+=", markup)
    assert not re.search(r"\b(src|srcset|data|action)=", re.sub(r"&lt;.*?&gt;", "", markup))
    assert not re.search(r"url\(|@import|https?://(?!github\.com/leeoniya)", page)
    assert page.count("<script") == 2


def test_data_cannot_end_their_element(payload: dict[str, Any]) -> None:
    page = render(payload)
    (text,) = re.findall(r'id="payload">(.*?)</script>', page, re.DOTALL)
    assert json.loads(text)["arms"][2]["label"] == HOSTILE
    assert "hacked" not in re.sub(re.escape(text), "", page).replace("window.hacked = 1", "", 2)


def test_numbers_that_are_not_finite_are_null() -> None:
    assert html.encode_json({"a": [float("nan"), {"b": float("inf")}, 1.5], "c": "<&>"}) == (
        '{"a":[null,{"b":null},1.5],"c":"\\u003c\\u0026\\u003e"}'
    )


def test_subclasses_and_names_that_are_no_text_are_encoded() -> None:
    """Numbers of NumPy, states, and the name of a file that is no UTF-8."""
    values = [np.float64(0.5), np.float64("nan"), RunStatus.FAILED, Markup("<b>"), True]
    assert html.encode_json(values) == '[0.5,null,"failed","\\u003cb\\u003e",true]'
    assert html.encode_json(["\udcff<", float("nan")]) == '["\\udcff\\u003c",null]'
    with pytest.raises(TypeError, match="no JSON: object"):
        html.encode_json(object())


def test_the_list_of_sweeps_escapes_titles() -> None:
    class Link:
        id, title, detail = "a-smoke-00000000", HOSTILE, "1 cell"

    page = html.render_list("store", [Link()])
    assert '<a href="sweep/a-smoke-00000000/">' in page
    assert "<script>" not in page
