"""Python's search for reference cycles, paused while many records are made that have none.

It looks through all objects that were made since, whenever some thousands more exist, and finds
nothing: that takes as long as reading the records.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def pause_garbage_collection() -> Iterator[None]:
    """Search for no cycles in the block; objects without cycles are freed as ever.

    What is left of them counts as old afterwards, or the first search would look through it.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            if not gc.get_freeze_count():
                gc.freeze()
                gc.unfreeze()  # into the oldest generation
            gc.enable()
