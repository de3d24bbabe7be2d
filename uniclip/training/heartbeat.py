"""Heartbeats while a step, a validation, a checkpoint or an evaluation takes long.

They say that the process lives, not that it makes progress: step and phase stay as they were.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from uniclip.store import AttemptFolder

MAX_HEARTBEAT_AGE_S = 10.0
"""Age at which the last heartbeat is written again."""
CHECK_INTERVAL_S = 2.0
"""Seconds between two looks at that age: no heartbeat is older than both together."""


@contextmanager
def repeat_heartbeats(
    attempt: AttemptFolder,
    max_age_s: float = MAX_HEARTBEAT_AGE_S,
    interval_s: float = CHECK_INTERVAL_S,
) -> Iterator[None]:
    """Context in which a thread repeats the last heartbeat of `attempt` when it has become old."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(interval_s):
            with suppress(OSError):  # a full disk; the next look tries again
                attempt.repeat_heartbeat(max_age_s)

    thread = threading.Thread(target=repeat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
