"""Use of CPU, GPU and memory over time, as the heartbeats of runs sampled it."""

from __future__ import annotations

from typing import Any

from analysis.page.curves import encode_numbers
from uniclip.store import Plan, Store

QUANTITIES = {
    "cpu_percent": ("CPU (% of one core)", 1.0),
    "memory_bytes": ("memory (GB)", 1e-9),
    "gpu_percent": ("GPU (%)", 1.0),
    "gpu_memory_bytes": ("GPU memory (GB)", 1e-9),
}
"""Field of a sample -> label and factor of what is shown."""
MAX_SAMPLES, MAX_RUNS = 300, 500


def encode_usage(store: Store, plan: Plan) -> dict[str, Any]:
    """Return the samples of every run, an attempt after the other.

    Returns:
        quantities: key and label of what was sampled.
        runs: run id -> hours since the run began, and values by quantity.
        notes: sentences on what is left out.
    """
    run_ids = list(plan.required_evaluations())
    encoded: dict[str, dict[str, Any]] = {}
    num_sampled, is_thinned = 0, False
    for run_id in run_ids:
        run = store.get_run(run_id)
        samples = run.read_usage() if run.is_readable() else []
        if not samples:
            continue
        num_sampled += 1
        if len(encoded) < MAX_RUNS:
            stride = -(-len(samples) // MAX_SAMPLES)
            is_thinned |= stride > 1
            encoded[run_id] = _encode_samples(samples[::stride])
    used = {key for run in encoded.values() for key in run["values"]}
    notes = ["Of long runs every k-th sample is shown."] if is_thinned else []
    if len(encoded) < num_sampled:
        notes.append(f"The first {len(encoded)} of {num_sampled:,} runs are shown.")
    return {
        "quantities": [{"key": k, "label": v[0]} for k, v in QUANTITIES.items() if k in used],
        "runs": encoded,
        "notes": notes,
    }


def _encode_samples(samples: list[dict[str, Any]]) -> dict[str, Any]:
    start = samples[0]["time"]
    return {
        "hours": encode_numbers([(s["time"] - start) / 3600 for s in samples]),
        "values": {
            key: encode_numbers([s.get(key, float("nan")) * factor for s in samples])
            for key, (_, factor) in QUANTITIES.items()
            if any(key in s for s in samples)
        },
    }
