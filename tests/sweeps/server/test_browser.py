"""A live page in a browser: cells change while they are executed, without reloading."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps.server import live_page
from sweeps.server.page_server import PageRequestHandler, PageServer
from tests.helpers import ROOT, fake_sweep, page_store
from tests.helpers.browser import Browser, open_browser, require_browser
from tests.helpers.command_line import TINY
from uniclip.store import Store


def list_statuses(browser: Browser) -> list[str]:
    """Return the status of each cell, without its sign."""
    cells = "[...document.querySelectorAll('#now tbody .status')]"
    return list(browser.run(f"return {cells}.map((cell) => cell.lastChild.textContent)"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PageServer]:
    """Serve a store that is empty at first."""
    require_browser()
    server = PageServer(Store(tmp_path / "store"))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.slow
def test_cells_change_on_the_page_while_they_are_executed(server: PageServer) -> None:
    truth = fake_sweep.Truth(seeds=(0,))
    plan, store = page_store.make_plan(truth), server.store
    store.get_sweep(plan.sweep_id).write_plan(plan)
    with open_browser() as browser:
        browser.open(server.get_page_url(plan.sweep_id))
        browser.run("window.isSamePage = true")
        assert list_statuses(browser) == ["pending"] * 3
        fake_sweep.write_run(store, plan, plan.cells[0], truth)
        page_store.fail(store, plan.cells[1])
        browser.wait(lambda: list_statuses(browser)[1:] == ["failed", "pending"])
        browser.wait(lambda: list_statuses(browser)[0] != "pending")
        browser.wait(lambda: browser.find_all("#curves .u-over"))
        browser.click("#now tbody tr[data-index='1'] th button")
        traceback = browser.find("dialog pre.traceback").get_attribute("textContent")
        assert traceback == page_store.TRACEBACK
        assert browser.run("return window.isSamePage")
        assert browser.list_errors() == []
        assert [url for url in browser.list_requests() if not url.startswith(server.url)] == []


@pytest.mark.slow
def test_a_smoke_sweep_is_followed_from_the_first_cell_to_the_last(
    server: PageServer, tmp_path: Path
) -> None:
    words = [*TINY, "arms=[full,clip]", "seeds=1", "train.steps=40", f"store={server.store.root}"]
    command = [sys.executable, str(ROOT / "sweep.py"), "run", *words, "launcher.max_workers=1"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
        while not (sweeps := [f.id for f in server.store.iter_sweeps() if f.read_plan()]):
            assert process.poll() is None
            time.sleep(0.1)
        with open_browser() as browser:
            browser.open(server.get_page_url(sweeps[0]))
            browser.run("window.isSamePage = true")
            seen = set()
            while list_statuses(browser) != ["complete"] * 2:
                seen |= set(list_statuses(browser))
                assert process.poll() in (None, 0)
                time.sleep(0.2)
            assert {"pending", "running"} <= seen
            browser.wait(lambda: len(browser.list_texts("#curves .legend input")) == 2)
            from selenium.webdriver import ActionChains  # here: it need not be installed

            chart = browser.show(browser.find("#curves .chart"))
            ActionChains(browser.driver).move_to_element(chart).perform()
            browser.wait(lambda: "steps: " in browser.find("#curves .tooltip").text)
            browser.wait(lambda: browser.find_all("#system .u-over"))
            assert browser.run("return window.isSamePage")
            assert browser.list_errors() == []
        process.wait(timeout=300)


@pytest.mark.slow
def test_what_is_wrong_is_shown_until_it_is_right(
    server: PageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_page, "MAX_READING_SHARE", 1e9)
    store, plan = page_store.write_store(server.store.root)
    run = store.get_run(page_store.get_cell(plan, "no-awareness/1").run_id)

    def drop(*_: object) -> None:
        raise BrokenPipeError

    with open_browser() as browser:

        def wait_for(text: str, *, is_shown: bool = True) -> None:
            browser.wait(lambda: (text in browser.find("#freshness").text) == is_shown)

        browser.open(server.get_page_url(plan.sweep_id))
        requests: list[str] = []

        def has_polled_twice() -> bool:
            requests.extend(browser.list_requests())
            return sum(url.endswith("data.json") for url in requests) >= 2

        browser.wait(has_polled_twice)  # from now on its data are known, and answered by 304
        with monkeypatch.context() as patch:
            patch.setattr(PageRequestHandler, "_send_data", drop)
            wait_for("; the server does not answer")
        wait_for("; the server does not answer", is_shown=False)
        run.path.mkdir(exist_ok=True)
        (run.path / "outcome.json").write_text("{")
        wait_for("the store cannot be read: ")
        assert "live" not in browser.find("#freshness").text
        (run.path / "outcome.json").unlink()
        wait_for("live, last change")
