"""The HTML page: it loads nothing, and text is escaped."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

from analysis.figures.build import ReportFigure
from analysis.page.payload import describe_sweep
from analysis.report.build import ReportResult
from analysis.report.html import collect_warnings, render_html, render_table
from analysis.results.planted_effects import CheckStatus, PlantedEffectResult
from analysis.results.results import Results
from analysis.tables import build_tables
from analysis.tables.table import Table, TableCell, make_row
from tests.analysis.tables.test_effects import add_reversed_score
from uniclip.store import Store

LOADING_ATTRIBUTES = {"src", "href", "srcset", "data", "poster", "action", "xlink:href"}


class LinkCollector(HTMLParser):
    """Collects everything that a browser would load."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.targets += [v or "" for k, v in attrs if k in LOADING_ATTRIBUTES]
        self.targets += [v or "" for k, v in attrs if k == "style" and "url(" in (v or "")]


def test_the_page_loads_nothing(built_report: tuple[Store, str, ReportResult]) -> None:
    page = (built_report[2].folder / "report.html").read_text()
    links = LinkCollector()
    links.feed(page)
    assert "iframe" not in links.tags
    assert [v for v in links.targets if re.match(r"(https?:)?//", v.strip())] == []
    assert "@import" not in page
    assert re.findall(r"url\(", page) == []
    assert "connect-src &#39;none&#39;" in page
    images = [v for v in links.targets if v.startswith("data:image/")]
    assert len(images) == 6
    for image in images:
        text = base64.b64decode(image.split(",", 1)[1])
        assert not re.search(rb"(?:href|src)=.https?:|url\(.?https?:", text)
    assert "CC BY-SA 4.0" in page


def test_text_is_escaped() -> None:
    odd_text = "50 % of a_b & <c> | *d*"
    row = make_row(odd_text, TableCell(text="1", bold=True, tone="bad", link="#runs-<a>"))
    table = Table(
        name="odd", title="<T>", headings=("name", "<x>"), rows=(row,), records=(), notes=("<n>",)
    )
    page = render_table(table)
    assert "50 % of a_b &amp; &lt;c&gt; | *d*" in page
    assert '<td class="num"><strong><span class="bad"><a href="#runs-&lt;a&gt;">1</a>' in page
    assert "<figcaption>&lt;T&gt;</figcaption>" in page
    assert '<th class="num">&lt;x&gt;</th>' in page
    assert "<li>&lt;n&gt;</li>" in page


def test_sections_without_content_are_left_out(complete_results: Results, tmp_path: Path) -> None:
    figure = {"title": "F", "caption": "", "skip_reason": "no <input>"}
    names = ("effects", "interactions", "curves", "examples", "temperatures")
    planted = [
        PlantedEffectResult(description="it <helps>", status=CheckStatus.FAILED, detail="p = 1")
    ]
    tables = build_tables(complete_results)
    page = render_html(
        complete_results,
        tables,
        [ReportFigure(name=name, **figure) for name in names],
        ["One <sentence>."],
        planted,
        tables[0],
        tmp_path,
        {"sweep": describe_sweep(complete_results.plan)},
    )
    assert re.findall(r'<a href="#(\w+)">', page.split("</nav>")[0]) == [
        "summary", "effects", "scores", "compare", "setup", "training", "curves", "examples",
        "components", "costs", "system", "now", "runs",
    ]  # fmt: skip
    assert "<li>One &lt;sentence&gt;.</li>" in page
    assert 'No figure "F": no &lt;input&gt;.' in page
    assert "Planted effects" not in page, "the plan has none"
    assert "cells complete <b>33 of 33</b>" in page
    assert collect_warnings(complete_results) == []


def test_the_card_of_a_mixed_verdict_is_neither_good_nor_bad(
    complete_results: Results, tmp_path: Path
) -> None:
    tables = build_tables(complete_results)
    names = ("effects", "interactions", "curves", "examples", "temperatures")
    figures = [ReportFigure(name=n, title="F", caption="", skip_reason="none") for n in names]
    payload = {"sweep": describe_sweep(complete_results.plan)}
    pages = [
        render_html(results, tables, figures, [], [], tables[0], tmp_path, payload)
        for results in (complete_results, add_reversed_score(complete_results))
    ]
    assert [page.count('<div class="card good">') for page in pages] == [1, 0]
    assert "mixed" in pages[1]
