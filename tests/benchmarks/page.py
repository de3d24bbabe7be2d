"""Speed and memory of a page of 10,000 cells and 500 curves, in Chromium.

    python -m tests.benchmarks.page

Printed are the seconds from the start of loading until the page is drawn and those of CPU in its
thread, the bytes of the file, the memory of the page after garbage collection (of its JavaScript,
and of the whole process), and the median and longest seconds in which the server answers a refresh,
also while it makes newer data ready (busy).
"""

from __future__ import annotations

import math
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from statistics import median
from typing import Any, cast

import psutil

from analysis.page.html import list_interactive_sections, render_page
from sweeps.monitor.page_source import PageSource
from sweeps.server.page_server import PageServer
from tests.helpers import page_store
from tests.helpers.browser import Browser, open_browser
from uniclip.store import Plan, Store

NUM_ARMS, NUM_SEEDS, NUM_CURVES, NUM_RECORDS, NUM_QUANTITIES = 100, 100, 500, 200, 8
LOAD_END = "return performance.getEntriesByType('navigation')[0].loadEventEnd"
LIMITS = {
    "seconds": 2.0,
    "cpu_seconds": 2.0,
    "heap_mb": 150.0,
    "memory_mb": 150.0,
    "file_mb": 15.0,
    **dict.fromkeys(("refresh_seconds", "longest_refresh_seconds"), 0.1),
    **dict.fromkeys(("busy_refresh_seconds", "longest_busy_refresh_seconds"), 0.1),
}
REFRESHES = 40


def make_payload() -> dict[str, Any]:
    """Return a payload of 10,000 cells, of which 500 have curves."""
    names = [f"arm-{i}" for i in range(NUM_ARMS)]
    runs = [f"{i:016x}" for i in range(NUM_ARMS * NUM_SEEDS)]
    arms = [
        {"name": n, "label": f"Arm {n}", "role": "crossed", "color": "#0072B2", "dash": [],
         "width": 1.4}
        for n in names
    ]  # fmt: skip
    columns = [
        "arm",
        "seed",
        "run",
        "status",
        "step",
        "total_steps",
        "location",
        "reason",
        "advice",
    ]
    rows = [
        [i % NUM_ARMS, i // NUM_ARMS, run, "complete" if i % 7 else "failed", 1000 + i, 20000,
         f"node{i % 40}", "" if i % 7 else "CUDA out of memory",
         "none" if i % 7 else "logs, then retry"]
        for i, run in enumerate(runs)
    ]  # fmt: skip
    steps = list(range(0, NUM_RECORDS * 50, 50))
    keys = [f"quantity_{k}" for k in range(NUM_QUANTITIES)]
    curves = {
        run: {
            "train": {
                "step": steps,
                "seconds": [round(0.1 * step * (1 + i % 9 / 100), 3) for step in steps],
                "values": {
                    k: [round(math.exp(-step / 3000) + i % 13 / 100, 5) for step in steps]
                    for k in keys
                },
            }
        }
        for i, run in enumerate(runs[:NUM_CURVES])
    }
    values = [round(0.3 + (i * 7919 % 1000) / 5000, 5) for i in range(len(runs))]
    scores = [
        {"dataset": "d", "name": f"s{k}", "label": f"score {k}", "unit": "%", "factor": 100.0,
         "decimals": 1, "direction": 1, "is_primary": k == 0, "cells": values,
         "arms": {n: {"mean": 0.4, "text": "40.0 \u00b1 0.2", "num_seeds": 100} for n in names}}
        for k in range(6)
    ]  # fmt: skip
    return {
        "generated": 0,
        "sweep": {"id": "large", "title": "A large sweep", "reference": names[0]},
        "store_url": None,
        "arms": arms,
        "progress": {
            "num_cells": len(rows), "num_ended": 8571, "done_fraction": 0.86, "gpu_hours": None,
            "counts": {"complete": 8571, "failed": 1429},
        },
        "cells": {"columns": columns, "rows": rows},
        "curves": {
            "quantities": [{"key": k, "label": k, "phase": "train"} for k in keys],
            "runs": curves, "notes": [],
        },
        "scores": scores,
        "configs": {"reference": {"a": "1"}, "arms": {n: {"a": n} for n in names}},
        "environments": {"list": [{"host": "h"}], "runs": dict.fromkeys(runs, 0)},
        "costs": {"labels": ["training (s)"], "runs": {run: [1.5] for run in runs}},
        "files": {}, "logs": {},
        "usage": {"quantities": [], "runs": {}, "notes": []},
    }  # fmt: skip


def measure_page(browser: Browser, url: str, repetitions: int) -> dict[str, float]:
    """Return the median seconds until the page is drawn, those of CPU, and its memory in MB."""
    seconds, cpu_seconds = [], []
    browser.driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
    for _ in range(repetitions):
        browser.driver.get("about:blank")
        before = read_metrics(browser)["TaskDuration"]
        browser.open(url)
        browser.wait(lambda: browser.run(LOAD_END))
        seconds.append(browser.run(LOAD_END) / 1000)
        cpu_seconds.append(read_metrics(browser)["TaskDuration"] - before)
    browser.driver.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
    return {
        "seconds": median(seconds),
        "cpu_seconds": median(cpu_seconds),
        "heap_mb": read_metrics(browser)["JSHeapUsedSize"] / 1e6,
        "memory_mb": measure_renderer(browser.driver.service.process.pid) / 1e6,
    }


def read_metrics(browser: Browser) -> dict[str, float]:
    """Return Chromium's measurements of the page."""
    metrics = browser.driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return {m["name"]: m["value"] for m in metrics}


def measure_renderer(driver_pid: int) -> int:
    """Return the bytes of the process of the page that it shares with no other one."""
    children = psutil.Process(driver_pid).children(recursive=True)
    renderers = [p for p in children if "--type=renderer" in p.cmdline()]
    return max(int(p.memory_full_info().uss) for p in renderers)


class ChangingSource:
    """Stands for the reading of a store: each state differs from the one before."""

    def __init__(self, plan: Plan, payload: dict[str, Any]) -> None:
        self.plan, self._payload = plan, payload

    def read_payload(self) -> dict[str, Any]:
        """Return the next state."""
        return {**self._payload, "generated": time.time(), "state": time.time()}


def measure_refresh(payload: dict[str, Any], folder: Path, *, is_busy: bool) -> list[float]:
    """Return the seconds in which the server answers refreshes with new data.

    Args:
        payload: the data.
        folder: a new folder, for a small store.
        is_busy: whether the server makes new data ready all the time meanwhile.
    """
    store, plan = page_store.write_store(folder)
    server = PageServer(Store(folder), (plan,))
    page = server.find_page(plan.sweep_id)
    assert page is not None
    page._source = cast(PageSource, ChangingSource(plan, payload))
    page.get_data()
    page._next_reading = math.inf
    threading.Thread(target=server.serve_forever, daemon=True).start()
    seconds = []
    for _ in range(REFRESHES):
        if is_busy:
            page._next_reading = 0.0
        start = time.perf_counter()
        request = urllib.request.Request(f"{server.get_page_url(plan.sweep_id)}data.json")
        request.add_header("Accept-Encoding", "gzip")
        with urllib.request.urlopen(request) as response:
            assert len(response.read()) > 10_000
        seconds.append(time.perf_counter() - start)
    server.shutdown()
    return seconds


def main(repetitions: int = 3) -> dict[str, float]:
    """Print and return what was measured."""
    payload = make_payload()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        page = render_page(payload, key_facts={}, sections=list_interactive_sections())
        path.write_text(page)
        with open_browser() as browser:
            measured = measure_page(browser, path.as_uri(), repetitions)
        measured["file_mb"] = path.stat().st_size / 1e6
        for name, is_busy in (("refresh", False), ("busy_refresh", True)):
            seconds = measure_refresh(payload, Path(folder) / name, is_busy=is_busy)
            measured[f"{name}_seconds"] = median(seconds)
            measured[f"longest_{name}_seconds"] = max(seconds)
    for name, value in measured.items():
        print(f"{name}: {value:.3g} (limit {LIMITS[name]:g})")
    return measured


if __name__ == "__main__":
    main()
