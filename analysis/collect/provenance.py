"""Provenance of runs: which code ran where and when, and the files that a run left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from uniclip.store import ClaimRecord, Outcome, RunFolder


@dataclass(frozen=True, kw_only=True)
class RunProvenance:
    """Where a run comes from: its last attempt, or the one that published its outcome."""

    claim: ClaimRecord
    end_time: float | None
    """Seconds since the epoch; None while it is not known."""
    files: tuple[tuple[str, str], ...]
    """(label, path relative to the folder of runs) of the files that exist."""
    unreadable_images: int
    """Training images that were replaced since they cannot be read."""
    config: dict[str, Any]
    """The configuration that the run id is a hash of."""
    data_fingerprint: dict[str, Any]
    """What the run id says of its data."""


def read_provenance(run: RunFolder, outcome: Outcome | None) -> RunProvenance | None:
    """Return the provenance of a run; None for one that was never started.

    Raises:
        UserError: for a damaged file, which it names.
    """
    attempt_numbers = run.list_attempts()
    if not attempt_numbers:
        return None
    attempt = run.get_attempt(attempt_numbers[-1] if outcome is None else outcome.attempt)
    claim = attempt.read_claim()
    if claim is None:
        return None
    spec = run.read_spec() if run.has_spec() else {}
    attempt_end, heartbeat = attempt.read_end(), attempt.read_heartbeat()
    last_record = attempt_end or heartbeat
    files = {
        "configuration": "spec.json",
        "log": f"attempts/{attempt.number}/log",
        "metrics": f"attempts/{attempt.number}/metrics.jsonl",
        "weights": "weights.safetensors",
    }
    return RunProvenance(
        claim=claim,
        end_time=None if last_record is None else last_record.time,
        files=tuple(
            (label, f"{run.id}/{name}") for label, name in files.items() if run.files.has_file(name)
        ),
        unreadable_images=(
            outcome.unreadable_images
            if outcome is not None
            else heartbeat.unreadable_images
            if heartbeat is not None
            else 0
        ),
        config=dict(spec.get("config", {})),
        data_fingerprint=dict(spec.get("data", {})),
    )
