"""Records of the store with plausible values, for tests."""

from __future__ import annotations

from typing import Any

from uniclip.store import ClaimRecord, Outcome


def make_claim_record(**changes: Any) -> ClaimRecord:
    """Return a claim record with these fields changed."""
    fields: dict[str, Any] = {
        "host": "here", "boot_id": "boot", "pid": 1, "start_ticks": 1, "source_hash": "s",
        "training_hash": "t", "numerics_class": {"device": "cpu"}, "time": 1.0,
    }  # fmt: skip
    return ClaimRecord(**{**fields, **changes})


def make_outcome(**changes: Any) -> Outcome:
    """Return an outcome with these fields changed."""
    fields: dict[str, Any] = {
        "kind": "trained", "step": 3, "attempt": 1, "training_hash": "t", "source_hash": "s",
        "numerics_class": {}, "weights_digest": "00", "best_step": 3, "cost": {"seconds": 1.0},
    }  # fmt: skip
    return Outcome(**{**fields, **changes})
