"""A thread that looks at sweeps once a minute and posts what is new to a webhook.

It looks at the sweeps that the command runs, one after the other: a tuning runs several. It only
reads the store, apart from the list of what was sent. A sweep neither waits for it nor
ends with it: an error of the network or the server is one line at the end of the command.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

from sweeps.claims.status import inspect_runs
from sweeps.monitor.notifications import SweepNotifications, SweepStates
from sweeps.monitor.webhook import post_lines
from uniclip.store import Store

INTERVAL_SECONDS = 60.0
"""Shortest time between two messages."""
TIMEOUT_SECONDS = 10.0
"""Time that a server has for each answer."""


@dataclass(kw_only=True, eq=False)
class Notifier:
    """Posts the notifications of sweeps while a command runs them; a context manager."""

    url: str | None = field(repr=False)
    """The webhook; None: nothing is posted."""
    store: Store
    sweep_ids: list[str]
    """What is watched, in the order in which it is run; what has ended is removed."""
    notifications: SweepNotifications
    print_line: Callable[[str], None]
    """Prints a line for the user, when the command ends."""
    interval: float = INTERVAL_SECONDS
    timeout: float = TIMEOUT_SECONDS
    is_done: bool = field(default=False, init=False)
    """Whether nothing of the sweep is left to run, as the command found."""
    problem: str = field(default="", init=False)
    """Why the last message was not sent; empty if it was."""
    _last_post: float = field(default=float("-inf"), init=False)
    _is_stopped: threading.Event = field(default_factory=threading.Event, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)

    def watch(self, sweep_id: str) -> None:
        """Watch a sweep that the command runs next."""
        if sweep_id not in self.sweep_ids:
            self.sweep_ids.append(sweep_id)

    def __enter__(self) -> Notifier:
        if self.url is None:
            return self
        self._thread = threading.Thread(target=self._run, name="notifier", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let the thread post what is left; it has an interval and two timeouts, at the longest.

        After an error, Ctrl-C included, nothing is waited for.
        """
        self._is_stopped.set()
        if error is None and self._thread is not None:
            delay = max(0.0, self._last_post + self.interval - time.monotonic())
            if self.is_done and delay > 1:
                self.print_line(
                    f"note: the last notification is sent in {delay:.0f} s (Ctrl-C leaves it out)"
                )
            self._thread.join(delay + 2 * self.timeout)
            if self.problem or self._thread.is_alive():
                reason = self.problem or "no answer"
                self.print_line(f"note: the last notification was not sent ({reason})")

    def _run(self) -> None:
        while not self._is_stopped.is_set():
            self._post_news()
            self._is_stopped.wait(self.interval)
        time.sleep(max(0.0, self._last_post + self.interval - time.monotonic()))
        self._post_news()

    def _post_news(self) -> None:
        """Post what was not sent yet; whatever goes wrong becomes `problem`."""
        assert self.url is not None
        try:
            sweeps = [s for s in map(self._inspect, list(self.sweep_ids)) if s is not None]
            if not sweeps:
                return
            news = self.notifications.collect(sweeps, time.time(), is_last=self.is_done)
            self.problem = ""
            if news:
                self._last_post = time.monotonic()
                self.problem = post_lines(self.url, [n.line for n in news], self.timeout)
            if not self.problem:
                self.notifications.mark_sent(news)
                for sweep in sweeps[:-1]:
                    if sweep.has_ended:
                        self.sweep_ids.remove(sweep.plan.sweep_id)
        except Exception as error:  # of the store, say: the sweep goes on
            self.problem = type(error).__name__

    def _inspect(self, sweep_id: str) -> SweepStates | None:
        """Return the states of a sweep's runs; None if its plan is not written yet."""
        plan = self.store.get_sweep(sweep_id).read_plan()
        if plan is None:
            return None
        states = inspect_runs(self.store, plan.required_evaluations(), trust_heartbeat=True)
        return SweepStates(plan=plan, states=states)
