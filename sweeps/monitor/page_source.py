"""The data of a sweep's page while the sweep is executed: what changes is read again.

The status of cells is read at each call. The files of runs (metrics, scores, logs) are read again
only if a cell has changed, and so that reading takes a small part of the time: cells run on the
same machine.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from analysis.collect.frame import SweepData, collect_plan_data
from analysis.page.html import collect_key_facts, list_interactive_sections, render_page
from analysis.page.payload import build_payload, encode_results
from sweeps.monitor.progress import ProgressMeter
from sweeps.monitor.status import CellRow, build_rows, to_records
from uniclip.store import Plan, Store

MIN_INTERVAL_SECONDS = 4.0
"""Shortest time between two readings of the files of runs."""
MAX_READING_SHARE = 0.05
"""Largest part of the time that reading them takes."""


class PageSource:
    """Reads what the page of one sweep shows.

    Attributes:
        plan: the plan of the sweep.
    """

    def __init__(
        self, store: Store, plan: Plan, *, num_workers: int = 1, store_url: str | None = None
    ) -> None:
        """Take the sweep.

        Args:
            store: its store.
            plan: its plan.
            num_workers: runs that are executed in parallel, for the estimate of the time.
            store_url: where files of the store are, relative to the page; None for no links.
        """
        self.store, self.plan, self.store_url = store, plan, store_url
        self._meter = ProgressMeter(store=store, num_workers=num_workers, started_at=None)
        self._sweep_data: SweepData | None = None
        self._results: dict[str, Any] = {}
        self._results_key: Hashable = None
        self._next_reading = 0.0

    def read_payload(self) -> dict[str, Any]:
        """Return the payload of the page (`analysis.page.payload`).

        Raises:
            UserError: a file of the store is damaged.
        """
        rows = build_rows(self.store, self.plan)
        self._update_results(rows)
        assert self._sweep_data is not None
        progress = self._meter.measure(self.plan, rows)
        return build_payload(
            self.store,
            self._sweep_data,
            cell_records=to_records(rows),
            progress={
                "num_ended": progress.num_ended,
                "done_fraction": round(progress.done_fraction, 4),
                "remaining_seconds": progress.remaining_seconds,
            },
            store_url=self.store_url,
            results=self._results,
            generated=round(time.time()),
        )

    def _update_results(self, rows: Sequence[CellRow]) -> None:
        """Read the files of runs again, if a cell has changed and the last time is long ago."""
        key = tuple(
            (row.run, row.status, row.attempt, row.state.heartbeat and row.state.heartbeat.time)
            for row in rows
        )
        start = time.monotonic()
        if self._sweep_data is not None and (
            key == self._results_key or start < self._next_reading
        ):
            return
        self._sweep_data = collect_plan_data(self.store, self.plan)
        self._results, self._results_key = encode_results(self.store, self._sweep_data), key
        seconds = time.monotonic() - start
        self._next_reading = start + max(MIN_INTERVAL_SECONDS, seconds / MAX_READING_SHARE)


def render_status_page(plan: Plan, payload: Mapping[str, Any], *, data_url: str = "") -> str:
    """Return the page of a sweep as HTML.

    Args:
        plan: plan of the sweep.
        payload: as `PageSource.read_payload` returns it.
        data_url: where newer data are, relative to the page; "" for a page that stays as it is.
    """
    return render_page(
        payload,
        key_facts=collect_key_facts(plan),
        sections=list_interactive_sections(),
        data_url=data_url,
    )
