"""The page of a sweep that is executed, as bytes that a server can send at once.

Whoever asks gets the newest state that is ready. If it is old, a thread reads the next one
meanwhile, so that an answer never waits for the store, except for the first one. While the store
cannot be read, the last state stays, and its field `error` says why.
"""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from analysis.page.html import encode_json
from sweeps.monitor.page_source import PageSource, render_status_page
from uniclip.errors import UserError
from uniclip.store import Plan, Store

MIN_AGE_SECONDS = 1.5
"""Age from which on a state is read anew."""
MAX_READING_SHARE = 0.1
"""Largest part of the time in which a state is read."""
READING_ERRORS = (UserError, OSError, RuntimeError)
"""Errors of reading a store: damaged, forbidden and vanished files, and links that form a loop."""
STORE_URL, DATA_URL = "../../store/", "data.json"
"""Where files of the store and newer data are, relative to the page."""


@dataclass(frozen=True)
class PageData:
    """The payload of a page, ready to be sent."""

    tag: str
    """Differs if anything but the time differs."""
    json: bytes
    compressed: bytes
    """The same, by gzip."""


class LivePage:
    """The page of one sweep."""

    def __init__(self, store: Store, plan: Plan, num_workers: int = 1) -> None:
        self._store, self._num_workers = store, num_workers
        self._source = self._make_source(plan)
        self._reading = threading.Lock()
        self._data: PageData | None = None
        self._payload: Mapping[str, Any] = {}
        self._next_reading = 0.0

    def get_data(self) -> PageData:
        """Return the newest data that are ready.

        Raises:
            UserError, OSError, RuntimeError: there are none yet, and the store cannot be read.
        """
        if self._data is None:
            with self._reading:
                if self._data is None:
                    self._read()
        elif time.monotonic() > self._next_reading and self._reading.acquire(blocking=False):
            threading.Thread(target=self._read_and_release, daemon=True).start()
        assert self._data is not None
        return self._data

    def render(self) -> bytes:
        """Return the page as HTML.

        Raises:
            UserError, OSError, RuntimeError: as `get_data`.
        """
        self.get_data()
        return render_status_page(self._source.plan, self._payload, data_url=DATA_URL).encode()

    def _read_and_release(self) -> None:
        try:
            self._read()
        except READING_ERRORS as error:
            self._put(self._payload, describe_error(error))
        finally:
            self._reading.release()

    def _read(self) -> None:
        start = time.monotonic()
        try:
            plan = self._store.get_sweep(self._source.plan.sweep_id).read_plan()
            if plan is not None and plan != self._source.plan:
                self._source = self._make_source(plan)
            self._put(self._source.read_payload())
        finally:
            seconds = time.monotonic() - start
            self._next_reading = start + max(MIN_AGE_SECONDS, seconds / MAX_READING_SHARE)

    def _put(self, payload: Mapping[str, Any], error: str = "") -> None:
        """Take a payload as the newest one, with the error of reading a newer one, or ""."""
        payload = {**payload, "error": error}
        content = encode_json({k: v for k, v in payload.items() if k != "generated"})
        tag = blake2b(content.encode(), digest_size=8).hexdigest()
        if self._data is None or self._data.tag != tag:
            time_text = encode_json({"generated": payload.get("generated")})
            body = f"{time_text[:-1]},{content[1:]}".encode()
            self._payload = payload
            self._data = PageData(tag, body, gzip.compress(body, 1))

    def _make_source(self, plan: Plan) -> PageSource:
        return PageSource(self._store, plan, num_workers=self._num_workers, store_url=STORE_URL)


def describe_error(error: Exception) -> str:
    """Return an error of reading the store in one line."""
    return " ".join(str(error).split()) or type(error).__name__
