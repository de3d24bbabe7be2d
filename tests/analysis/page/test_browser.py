"""The page in a browser: sorting, filtering, reading curves, following numbers; nothing leaks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis.page.html import list_interactive_sections, render_page
from tests.helpers.browser import Browser, open_browser, require_browser
from tests.helpers.page_store import HOSTILE, TRACEBACK

CELLS = "#now tbody tr[data-index] th"
ARMS = "#compare .data-table tbody tr[data-index] th"


@pytest.fixture(scope="module")
def browser(payload: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    require_browser()
    path = tmp_path_factory.mktemp("static") / "page.html"
    path.write_text(render_page(payload, key_facts={}, sections=list_interactive_sections()))
    with open_browser() as opened:
        opened.open(path.as_uri())
        yield opened
        assert opened.run("return window.hacked === undefined")
        assert opened.list_errors() == []
        assert [url for url in opened.list_requests() if not url.startswith("file:///")] == []


def test_rows_are_sorted_and_filtered(browser: Browser) -> None:
    names = browser.list_texts(CELLS)
    assert names[:2] == ["full/0", "no-awareness/0"]
    assert len(names) == 6
    browser.click("#now thead th:nth-child(3) button")
    assert browser.find("#now thead th:nth-child(3)").get_attribute("aria-sort") == "descending"
    assert browser.list_texts(CELLS)[-2:] == ["no-awareness/1", "clip/1"], "no step: last"
    search = browser.find("#now input[type=search]")
    search.send_keys("clip fail")
    assert browser.list_texts(CELLS) == ["clip/1"]
    assert browser.find("#now .count").text == "1 of 6 cells"
    search.clear()
    search.send_keys(" ")
    browser.click("#now .chips button[data-status=complete]")
    assert len(browser.list_texts(CELLS)) == 4
    browser.click("#now .chips button[data-status='']")


def test_a_failed_cell_shows_its_traceback_and_hostile_text_stays_text(browser: Browser) -> None:
    browser.run(
        "[...document.querySelectorAll('#now tbody button')]"
        ".find((b) => b.textContent === 'clip/1').click()"
    )
    assert browser.find("dialog pre.traceback").get_attribute("textContent") == TRACEBACK
    assert HOSTILE in browser.find("dialog pre.log").get_attribute("textContent")
    assert HOSTILE in browser.list_texts("dialog dd")
    browser.click("dialog .close")
    assert HOSTILE in browser.list_texts(ARMS)
    assert browser.find_all("main img") == []


def test_a_curve_is_read_by_hovering_and_by_keys(browser: Browser) -> None:
    from selenium.webdriver import ActionChains, Keys

    plot = browser.show(browser.find("#curves .u-over"))
    ActionChains(browser.driver).move_to_element(plot).perform()
    text = browser.find("#curves .tooltip").text
    assert text.startswith("steps: 100")
    assert "UniCLIP, all components" in text
    assert "2 seeds, " in text
    chart = browser.find("#curves .chart")
    chart.send_keys(Keys.ARROW_RIGHT)
    assert browser.find("#curves .tooltip").text.startswith("steps: 150")


def test_a_number_leads_to_its_runs_and_a_run_to_its_files(
    browser: Browser, payload: dict[str, Any]
) -> None:
    number = "#compare .data-table tbody td button"
    text = browser.find(number).text
    assert text == payload["scores"][0]["arms"]["full"]["text"]
    browser.click(number)
    assert text in browser.find("dialog p").text
    assert [b.text for b in browser.find_all("dialog td button")] == ["full/0", "full/1"]
    browser.click("dialog td button")
    run = payload["cells"]["rows"][0][payload["cells"]["columns"].index("run")]
    links = browser.find_all("dialog .files a")
    assert [link.text for link in links] == ["configuration", "metrics"]
    assert f"store/runs/{run}/spec.json" in links[0].get_attribute("href")
    browser.click("dialog .close")


@pytest.mark.parametrize("width", [390, 2560])
def test_no_width_scrolls_sideways(browser: Browser, width: int) -> None:
    browser.set_width(width)
    browser.wait(
        lambda: browser.run("return document.documentElement.scrollWidth <= window.innerWidth")
    )
    assert browser.run("return window.innerWidth") == width
    assert browser.list_texts(CELLS)[0] == "full/0"
    browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize(("width", "is_shown"), [(2560, True), (420, False)])
def test_columns_that_have_no_room_are_hidden(browser: Browser, width: int, is_shown: bool) -> None:
    code = "return [...document.querySelectorAll(arguments[0])].filter((e) => e.offsetWidth)"
    heads, cells = "#now thead th", "#now tbody tr[data-index='0'] > *"
    browser.set_width(width)
    browser.wait(
        lambda: ("run" in browser.run(f"{code}.map((e) => e.textContent)", heads)) == is_shown
    )
    shown = browser.run(f"{code}.map((e) => e.textContent)", heads)
    assert shown[:3] == ["cell", "status", "step"]
    widths = browser.run(f"{code}.map((e) => e.offsetWidth)", heads)
    assert browser.run(f"{code}.map((e) => e.offsetWidth)", cells) == widths
    box = "document.querySelector('#now .rows')"
    assert browser.run(f"return {box}.scrollWidth <= {box}.clientWidth")
    browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_two_cells_are_compared(browser: Browser) -> None:
    headings = browser.list_texts("#compare h4")
    assert headings == ["Configuration", "Scores", "Costs", "Machine and code"]
    assert "method.awareness" in browser.list_texts("#compare table.small td")


def test_the_use_of_the_machine_is_drawn(browser: Browser, tmp_path: Path) -> None:
    labels = browser.run(
        "return [...document.querySelectorAll('#system .chart')].map((c) => c.ariaLabel)"
    )
    assert [label.partition(" against")[0] for label in labels] == [
        "CPU (% of one core)",
        "memory (GB)",
    ]
