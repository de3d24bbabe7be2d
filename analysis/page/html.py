"""The page of a sweep as one HTML file that loads nothing.

Style, code and data are embedded. The Content-Security-Policy allows exactly these, by their
hashes: text that a run, a label or a caption contains cannot become code, and the page sends
nothing anywhere. A page that is served may also ask its server for newer data.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analysis import formatting
from uniclip.store import Plan

STYLES = ("report.css", "page/page.css", "page/uplot/uPlot.min.css")
SCRIPTS = (
    *("page/uplot/uPlot.iife.min.js", "page/elements.js", "page/format.js", "page/payload.js"),
    *("page/data_table.js", "page/chart.js", "page/run_dialog.js", "page/now.js"),
    *("page/curves.js", "page/compare.js", "page/system.js", "page/main.js"),
)
"""Files in `analysis/data`, in the order in which the page has them."""
JSON_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}
"""Characters with which HTML could end a block of data, and how JSON writes them."""


INTERACTIVE_SECTIONS = {
    "now": "Now",
    "curves": "Curves",
    "compare": "Compare",
    "system": "System",
}
"""Sections that the page draws from its payload; anchor -> title."""


@dataclass(frozen=True, kw_only=True)
class PageSection:
    """A part of the page."""

    anchor: str
    title: str
    body: Markup = Markup("")
    """HTML; empty for the sections of `INTERACTIVE_SECTIONS`."""


def render_page(
    payload: Mapping[str, Any],
    *,
    key_facts: Mapping[str, str],
    sections: Sequence[PageSection],
    footer: Sequence[str] = (),
    data_url: str = "",
) -> str:
    """Return the page.

    Args:
        payload: as `analysis.page.payload.build_payload` returns it.
        key_facts: names and values below the title.
        sections: parts of the page, in order.
        footer: paragraphs at the end.
        data_url: where newer payloads are, relative to the page; "" for a page that stays as it is.
    """
    style, script = _read_assets(STYLES), _read_assets(SCRIPTS)
    template = _get_environment().get_template("page/page.html.jinja")
    page = template.render(
        title=payload["sweep"]["title"],
        sweep_id=payload["sweep"]["id"],
        policy=build_policy(is_live=bool(data_url)),
        style=Markup(style),  # noqa: S704
        script=Markup(script),  # noqa: S704
        payload=Markup(encode_json(payload)),  # noqa: S704
        key_facts=key_facts,
        sections=sections,
        footer=footer,
        data_url=data_url,
    )
    return page.encode(errors="replace").decode()  # a title may have half a character


def collect_key_facts(plan: Plan, num_complete_cells: int | None = None) -> dict[str, str]:
    """Return the facts below the title of a page."""
    return {
        "data": plan.data,
        "budget": plan.budget,
        "design": plan.design.replace("_", " "),
        "seeds": ", ".join(str(s) for s in plan.seeds),
        "arms": str(len(plan.arms)),
        **(
            {}
            if num_complete_cells is None
            else {"cells complete": f"{num_complete_cells} of {len(plan.cells)}"}
        ),
        "primary score": " and ".join(
            formatting.format_score_label(m.metric) for m in plan.primary_metrics
        ),
    }


def render_list(store: str, links: Sequence[Any]) -> str:
    """Return a page with links to the pages of sweeps.

    Args:
        store: the folder of the store.
        links: objects with id, title and detail.
    """
    style = Markup(_read_assets(STYLES))  # noqa: S704
    template = _get_environment().get_template("page/list.html.jinja")
    return template.render(store=store, links=links, style=style)


def render_leaderboard(
    models: Sequence[str], sections: Sequence[Any], differences: Sequence[Any]
) -> str:
    """Return the page of a leaderboard, which loads nothing.

    Args:
        models: names of the models.
        sections: objects with title, headings, rows, published and notes.
        differences: objects with name and cells.
    """
    style = Markup(_read_assets(STYLES))  # noqa: S704
    policy = f"default-src 'none'; style-src {_hash(_read_assets(STYLES))}"
    template = _get_environment().get_template("page/leaderboard.html.jinja")
    return template.render(
        models=models, sections=sections, differences=differences, style=style, policy=policy
    )


def list_interactive_sections(**titles: str) -> list[PageSection]:
    """Return the sections that the page draws itself; `titles` replaces titles by anchor."""
    return [
        PageSection(anchor=anchor, title=titles.get(anchor, title))
        for anchor, title in INTERACTIVE_SECTIONS.items()
    ]


def build_policy(*, is_live: bool) -> str:
    """Return the Content-Security-Policy of the page; a live one may ask its own server."""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {_hash(_read_assets(SCRIPTS))}",
            f"style-src {_hash(_read_assets(STYLES))}",
            "img-src data:",
            f"connect-src {chr(39)}{'self' if is_live else 'none'}{chr(39)}",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def encode_json(value: Any) -> str:
    """Return JSON that can stand in a script element; numbers that are not finite are null."""
    try:
        text = msgspec.json.encode(value, enc_hook=_to_builtin).decode()
    except UnicodeEncodeError:  # half a character, as in the name of a file that is no UTF-8
        text = json.dumps(_drop_non_finite(value), separators=(",", ":"))
    for character, escape in JSON_ESCAPES.items():
        text = text.replace(character, escape)
    return text


def _to_builtin(value: Any) -> Any:
    """Return a value of a subclass, such as a float of NumPy, as one of the built-in type."""
    for builtin_type in (float, int, str):
        if isinstance(value, builtin_type):
            return builtin_type(value)
    raise TypeError(f"no JSON: {type(value).__name__}")


@cache
def _read_assets(names: tuple[str, ...]) -> str:
    folder = files("analysis") / "data"
    return "\n".join(folder.joinpath(name).read_text(encoding="utf-8") for name in names)


def _hash(text: str) -> str:
    digest = hashlib.sha256(f"\n{text}\n".encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _drop_non_finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _drop_non_finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_drop_non_finite(item) for item in value]
    return value


@cache
def _get_environment() -> Environment:
    return Environment(
        loader=PackageLoader("analysis", "data"), autoescape=True, undefined=StrictUndefined
    )
