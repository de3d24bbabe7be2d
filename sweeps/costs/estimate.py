"""What cells cost: from past runs where there are any, else from probes, else "not measured"."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from statistics import median
from typing import Any

from analysis.collect.run_time import SECONDS_PER_STEP, format_duration, measure_run_time
from sweeps.costs.audit_scope import parse_device_type
from uniclip.config.compose import flatten
from uniclip.identity import digest
from uniclip.io.atomic import append_jsonl, read_jsonl
from uniclip.store import Arm, Cell, Plan, Store

RELATIVE_UNCERTAINTY = 0.25
"""How far off a price may be that few steps or few runs tell, as a share of it."""
MAX_PAST_RUNS = 8
"""So many past runs of one cost class are looked at."""
MIN_RUNS_FOR_RANGE = 3
"""Fewer past runs than this tell no spread of their own."""
BYTES_PER_PARAMETER = 8
"""On the disk for good: float32, as they were at the end and at the best validation."""


@dataclass(frozen=True, kw_only=True)
class CostEstimate:
    """What one cell takes, and where the numbers come from; None: not measured."""

    seconds: float
    """Wall time, undisturbed."""
    low: float
    high: float
    """Between these it should lie."""
    source: str
    step_seconds: float | None = None
    memory_bytes: float | None = None
    """At the peak: of the device if it has its own memory, else of the process."""
    checkpoint_bytes: float | None = None
    """One checkpoint, while it runs."""
    stored_bytes: float | None = None
    """On the disk when it is finished."""


@dataclass(frozen=True, kw_only=True)
class TotalCost:
    """What some runs take together."""

    num_runs: int
    num_unmeasured_arms: int
    """Arms of which nothing is known."""
    seconds: float
    low: float
    high: float
    """One after another, of the runs of which something is known."""
    sources: tuple[str, ...]


def estimate_costs(
    store: Store, plan: Plan, exclude: Collection[str] = ()
) -> dict[str, CostEstimate]:
    """The price of a cell of each arm; arms of which nothing is known are left out.

    What was taken on another kind of device than the plan asks for tells nothing. Arms of one cost
    class (what differs is the seed, or the stream of random draws) have one price.
    Runs in `apart` are not looked at: they are to be foretold, and some may have ended already.
    """
    arm_probes, device_type = (
        read_probes(store, plan),
        parse_device_type(plan.base_config["runtime"]["device"]),
    )
    stored_plan = store.get_sweep(plan.sweep_id).read_plan()  # it may know more seeds
    cells = [*plan.cells, *(stored_plan.cells if stored_plan is not None else ())]
    arm_by_run = {c.run_id: c.arm for c in cells if c.run_id not in exclude}
    arms_by_cost_class: dict[str, list[str]] = {}
    for arm in plan.arms:
        arms_by_cost_class.setdefault(compute_cost_class(arm), []).append(arm.name)
    cost_estimates = {}
    for arm_names in arms_by_cost_class.values():
        past_estimate = _estimate_from_past_runs(
            store, [run for run, arm in arm_by_run.items() if arm in arm_names], device_type
        )
        for name in arm_names:
            arm = plan.get_arm(name)
            probe = next((arm_probes[n] for n in (name, *arm_names) if n in arm_probes), None)
            cost_estimate = past_estimate or (
                None if probe is None else _estimate_from_probe(plan, arm, probe)
            )
            if cost_estimate is not None:
                cost_estimates[name] = cost_estimate
    return cost_estimates


def read_probes(store: Store, plan: Plan) -> dict[str, dict[str, Any]]:
    """Arm -> its newest probe on the kind of device that the plan asks for."""
    device_type = parse_device_type(plan.base_config["runtime"]["device"])
    records = read_jsonl(store.get_sweep(plan.sweep_id).probes_path)
    return {p["arm"]: p for p in records if p.get("device") == device_type}


def compute_cost_class(arm: Arm) -> str:
    """Equal for arms that cost the same: what changes only the random draws is passed over."""
    return digest({key: value for key, value in arm.config_diff.items() if key != "stream"})


def sum_costs(
    plan: Plan, runs: Collection[str], cost_estimates: Mapping[str, CostEstimate]
) -> TotalCost:
    """What runs of a plan take together; a run that several arms share is paid once."""
    arm_by_run = {c.run_id: c.arm for c in plan.cells if c.run_id in runs}
    run_estimates = [cost_estimates[a] for a in arm_by_run.values() if a in cost_estimates]
    return TotalCost(
        num_runs=len(arm_by_run),
        num_unmeasured_arms=len({a for a in arm_by_run.values() if a not in cost_estimates}),
        seconds=sum(p.seconds for p in run_estimates),
        low=sum(p.low for p in run_estimates),
        high=sum(p.high for p in run_estimates),
        sources=tuple(sorted({p.source for p in run_estimates})),
    )


def describe_total_cost(
    plan: Plan,
    runs: Collection[str],
    cost_estimates: Mapping[str, CostEstimate],
    max_parallel_runs: int,
    gpus_per_run: int = 0,
) -> str:
    """How long the runs that are still to be run should take, in words.

    devices: GPUs that one run holds.
    """
    if not runs:
        return "nothing to run"
    total_cost = sum_costs(plan, runs, cost_estimates)
    if total_cost.num_unmeasured_arms:
        measured_text = (
            f"; the rest {format_duration(total_cost.seconds / max_parallel_runs)}"
            if total_cost.seconds
            else ""
        )
        return f"not measured for {total_cost.num_unmeasured_arms} arms{measured_text}"
    num_parallel = min(max_parallel_runs, total_cost.num_runs)
    shortest, longest = (
        format_duration(total_cost.low / num_parallel),
        format_duration(total_cost.high / num_parallel),
    )
    gpu_hours_text = (
        f", {total_cost.seconds * gpus_per_run / 3600:.2g} GPU-hours" if gpus_per_run else ""
    )
    return (
        f"{total_cost.num_runs} runs in about {format_duration(total_cost.seconds / num_parallel)} ({shortest} to {longest}) on "
        f"{num_parallel} slots{gpu_hours_text} (from {' and '.join(total_cost.sources)})"
    )


COST_HEADINGS = ("time", "GPU-hours", "memory", "checkpoint")


def format_cost_columns(cost_estimate: CostEstimate | None, gpus_per_run: int) -> tuple[str, ...]:
    """A price in words, under `HEADINGS`."""
    if cost_estimate is None:
        return ("not measured", "", "", "")
    gpu_hours_text = f"{cost_estimate.seconds * gpus_per_run / 3600:.2g}" if gpus_per_run else ""
    byte_counts = (cost_estimate.memory_bytes, cost_estimate.checkpoint_bytes)
    size_columns = ("" if size is None else f"{size / 1e6:,.0f} MB" for size in byte_counts)
    time_column = f"{format_duration(cost_estimate.seconds)} ({format_duration(cost_estimate.low)} to {format_duration(cost_estimate.high)})"
    return (time_column, gpu_hours_text, *size_columns)


def to_cost_record(cost_estimate: CostEstimate | None, gpus_per_run: int) -> dict[str, Any]:
    """A price for machines."""
    if cost_estimate is None:
        return {"price": None}
    return {
        "price": {**asdict(cost_estimate), "gpu_hours": cost_estimate.seconds * gpus_per_run / 3600}
    }


def record_estimates(
    store: Store,
    plan: Plan,
    runs: Collection[str],
    cost_estimates: Mapping[str, CostEstimate],
    gpus_per_run: int,
) -> None:
    """Write down what runs should take, before they are run; what was said first stands.

    A line of `prices.jsonl` each: run, devices, time, and the fields of `Price`.
    """
    folder = store.get_sweep(plan.sweep_id)
    recorded_runs = {p["run"] for p in read_jsonl(folder.cost_estimates_path)}
    for cell in _iterate_unique_runs(plan):
        if cell.run_id in runs and cell.run_id not in recorded_runs and cell.arm in cost_estimates:
            estimate_record = asdict(cost_estimates[cell.arm])
            append_jsonl(
                folder.cost_estimates_path,
                {
                    "run": cell.run_id,
                    "devices": gpus_per_run,
                    "time": time.time(),
                    **estimate_record,
                },
            )


def _iterate_unique_runs(plan: Plan) -> Iterator[Cell]:
    seen_runs = set()
    for cell in plan.cells:
        if cell.run_id not in seen_runs:
            seen_runs.add(cell.run_id)
            yield cell


def _estimate_from_past_runs(
    store: Store, runs: Collection[str], device_type: str
) -> CostEstimate | None:
    """The price of such a run by those of them that have ended on this kind of device."""
    finished_runs = list(islice(_iterate_finished_runs(store, runs, device_type), MAX_PAST_RUNS))
    if not finished_runs:
        return None
    seconds = [useful for useful, _ in finished_runs]
    median_seconds = median(seconds)
    too_few = len(seconds) < MIN_RUNS_FOR_RANGE
    median_costs = {
        key: median(c[key] for _, c in finished_runs if key in c) for key in finished_runs[0][1]
    }
    return CostEstimate(
        seconds=median_seconds,
        low=median_seconds * (1 - RELATIVE_UNCERTAINTY) if too_few else min(seconds),
        high=median_seconds * (1 + RELATIVE_UNCERTAINTY) if too_few else max(seconds),
        source="past runs",
        step_seconds=median_costs.get(SECONDS_PER_STEP),
        memory_bytes=median_costs.get("peak_memory_bytes"),
        checkpoint_bytes=median_costs.get("checkpoint_bytes"),
        stored_bytes=_compute_stored_bytes(median_costs),
    )


def _iterate_finished_runs(
    store: Store, runs: Collection[str], device_type: str
) -> Iterator[tuple[float, Mapping[str, float]]]:
    """Useful seconds and costs of those runs that were trained to their end on such a device."""
    for run_id in runs:
        run = store.get_run(run_id)
        outcome = run.read_outcome()
        if outcome is None or outcome.kind != "trained":
            continue
        run_time = measure_run_time(run, outcome)
        if outcome.numerics_class.get("device") == device_type and run_time is not None:
            yield run_time.productive_seconds, outcome.cost


def _estimate_from_probe(plan: Plan, arm: Arm, probe: Mapping[str, Any]) -> CostEstimate:
    """The price of a cell by a few steps of its arm."""
    steps = (flatten(plan.base_config) | arm.config_diff)["train.steps"]
    step_seconds, fixed_seconds = probe["seconds_per_step"], probe["fixed_seconds"]
    fastest_step, slowest_step = probe.get("step_spread", (step_seconds, step_seconds))
    seconds = step_seconds * steps + fixed_seconds
    return CostEstimate(
        seconds=seconds,
        low=min(fastest_step * steps + fixed_seconds, seconds * (1 - RELATIVE_UNCERTAINTY)),
        high=max(slowest_step * steps + fixed_seconds, seconds * (1 + RELATIVE_UNCERTAINTY)),
        source="probe",
        step_seconds=step_seconds,
        memory_bytes=probe.get("peak_memory_bytes"),
        checkpoint_bytes=probe.get("checkpoint_bytes"),
        stored_bytes=_compute_stored_bytes(probe),
    )


def _compute_stored_bytes(costs: Mapping[str, Any]) -> float | None:
    return costs["parameters"] * BYTES_PER_PARAMETER if "parameters" in costs else None
