"""Estimated costs of cells: from past runs if there are any, else from probes of the arms."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from statistics import median
from typing import Any

from analysis.collect.run_time import SECONDS_PER_STEP, format_duration, measure_run_time
from sweeps.costs.audit_scope import is_of_world_size, parse_device_type
from sweeps.costs.fine_tuning import count_pending_steps
from uniclip.config.compose import flatten
from uniclip.io.atomic import append_jsonl, read_jsonl
from uniclip.io.hashing import digest
from uniclip.store import Arm, Cell, Plan, RunFolder, Store, SweepFolder

RELATIVE_UNCERTAINTY = 0.25
"""Assumed relative uncertainty of an estimate from a probe or from few runs."""
MAX_PAST_RUNS = 8
"""Past runs of one cost class that are read at most."""
MIN_RUNS_FOR_RANGE = 3
"""Past runs that are needed to take the range of an estimate from them."""
BYTES_PER_PARAMETER = 8
"""Bytes that remain on the disk: the float32 weights of the last step and of the best one."""
COST_HEADINGS = ("time", "GPU-hours", "peak memory", "checkpoint size")
"""Headings of `format_cost_columns`."""


@dataclass(frozen=True, kw_only=True)
class CostEstimate:
    """The estimated cost of one cell; None: not measured."""

    seconds: float
    """Wall seconds of a run without interruptions."""
    low: float
    high: float
    """Range of the wall seconds."""
    source: str
    """What the estimate is from: "past runs" or "probe"."""
    step_seconds: float | None = None
    """Wall seconds per training step."""
    memory_bytes: float | None = None
    """Peak memory: of the device if it has its own, else of the process."""
    checkpoint_bytes: float | None = None
    """Size of one checkpoint while the run is active."""
    stored_bytes: float | None = None
    """Bytes on the disk when the run has finished."""


@dataclass(frozen=True, kw_only=True)
class TotalCost:
    """The estimated cost of several runs, one after another."""

    num_runs: int
    num_unmeasured_arms: int
    """Arms without an estimate; their runs are not in the sums."""
    seconds: float
    low: float
    high: float
    """Wall seconds, and their range."""
    sources: tuple[str, ...]


def estimate_costs(
    store: Store, plan: Plan, exclude: Collection[str] = (), world_size: int | None = None
) -> dict[str, CostEstimate]:
    """Return arm -> estimated cost of one of its cells; arms without measurements are left out.

    Only measurements on the device type of the plan count. Arms of the same cost class (they differ
    in the random stream alone) have the same estimate.

    Args:
        store: the store of the sweep.
        plan: the plan.
        exclude: runs that are not used, because they are the ones to be predicted.
        world_size: processes of a run: measurements of another number do not count. None: all do.
    """
    folder = store.get_sweep(plan.sweep_id)
    is_measured_alike = partial(_is_measured_on, parse_device_type(plan.device), world_size)
    arm_probes = read_probes(folder, plan.device, world_size)
    stored_plan = folder.read_plan()  # it may have cells of more seeds
    cells = [*plan.cells, *(stored_plan.cells if stored_plan is not None else ())]
    arm_by_run = {c.run_id: c.arm for c in cells if c.run_id not in exclude}
    arms_by_cost_class: dict[str, list[Arm]] = {}
    for arm in plan.arms:
        arms_by_cost_class.setdefault(compute_cost_class(arm), []).append(arm)
    cost_estimates = {}
    for arms in arms_by_cost_class.values():
        names = [arm.name for arm in arms]
        past_estimate = _estimate_from_past_runs(
            store,
            [run for run, arm_name in arm_by_run.items() if arm_name in names],
            is_measured_alike,
            partial(count_pending_steps, plan, arms[0]),
        )
        for arm in arms:
            probe = next((arm_probes[n] for n in (arm.name, *names) if n in arm_probes), None)
            if past_estimate is not None:
                cost_estimates[arm.name] = past_estimate
            elif probe is not None:
                steps = (flatten(plan.base_config) | arm.config_diff)["train.steps"]
                steps += count_pending_steps(plan, arm)
                cost_estimates[arm.name] = _estimate_from_probe(probe, steps)
    return cost_estimates


def read_probes(
    folder: SweepFolder, device: str, world_size: int | None = None
) -> dict[str, dict[str, Any]]:
    """Return arm -> its newest probe (`ablations.audit.audit.ProbeRecord`) on such a device.

    world_size: processes of a run, None: any number.
    """
    is_measured_alike = partial(_is_measured_on, parse_device_type(device), world_size)
    return {p["arm"]: p for p in read_jsonl(folder.probes_path) if is_measured_alike(p)}


def _is_measured_on(
    device_type: str, world_size: int | None, measurement: Mapping[str, Any]
) -> bool:
    """Return whether a probe, or a run of a numerics class, is of such a device and world size."""
    recorded = measurement.get("world_size")
    return measurement.get("device") == device_type and is_of_world_size(recorded, world_size)


def compute_cost_class(arm: Arm) -> str:
    """Return a key that is equal for arms of equal cost: the random stream is left out."""
    return digest({key: value for key, value in arm.config_diff.items() if key != "stream"})


def sum_costs(
    cells: Iterable[Cell], runs: Collection[str], cost_estimates: Mapping[str, CostEstimate]
) -> TotalCost:
    """Return the estimated cost of some runs; a run that several arms share counts once."""
    arm_by_run = {c.run_id: c.arm for c in cells if c.run_id in runs}
    run_estimates = [cost_estimates[a] for a in arm_by_run.values() if a in cost_estimates]
    return TotalCost(
        num_runs=len(arm_by_run),
        num_unmeasured_arms=len({a for a in arm_by_run.values() if a not in cost_estimates}),
        seconds=sum(e.seconds for e in run_estimates),
        low=sum(e.low for e in run_estimates),
        high=sum(e.high for e in run_estimates),
        sources=tuple(sorted({e.source for e in run_estimates})),
    )


def describe_total_cost(
    cells: Iterable[Cell],
    runs: Collection[str],
    cost_estimates: Mapping[str, CostEstimate],
    max_parallel_runs: int,
    gpus_per_run: int = 0,
) -> str:
    """Return the estimated wall time of some runs in parallel, and their GPU-hours, as text.

    Args:
        cells: the cells of the plan.
        runs: ids of the runs.
        cost_estimates: arm -> estimated cost of one of its runs.
        max_parallel_runs: runs that are executed in parallel.
        gpus_per_run: GPUs of one run; 0 for runs on CPUs.
    """
    if not runs:
        return "nothing to run"
    total = sum_costs(cells, runs, cost_estimates)
    if total.num_unmeasured_arms:
        measured_time = format_duration(total.seconds / max_parallel_runs)
        measured_text = f"; the rest {measured_time}" if total.seconds else ""
        return f"not measured for {total.num_unmeasured_arms} arms{measured_text}"
    num_parallel = min(max_parallel_runs, total.num_runs)
    expected, shortest, longest = (
        format_duration(seconds / num_parallel)
        for seconds in (total.seconds, total.low, total.high)
    )
    gpu_hours = total.seconds * gpus_per_run / 3600
    gpu_hours_text = f", {gpu_hours:.2g} GPU-hours" if gpus_per_run else ""
    return (
        f"{total.num_runs} runs in about {expected} ({shortest} to {longest}) on "
        f"{num_parallel} workers{gpu_hours_text} (from {' and '.join(total.sources)})"
    )


def format_cost_columns(cost_estimate: CostEstimate | None, gpus_per_run: int) -> tuple[str, ...]:
    """Return an estimate as the columns under `COST_HEADINGS`."""
    if cost_estimate is None:
        return ("not measured", "", "", "")
    expected, shortest, longest = (
        format_duration(seconds)
        for seconds in (cost_estimate.seconds, cost_estimate.low, cost_estimate.high)
    )
    gpu_hours = f"{cost_estimate.seconds * gpus_per_run / 3600:.2g}" if gpus_per_run else ""
    byte_counts = (cost_estimate.memory_bytes, cost_estimate.checkpoint_bytes)
    sizes = ("" if size is None else f"{size / 1e6:,.0f} MB" for size in byte_counts)
    return (f"{expected} ({shortest} to {longest})", gpu_hours, *sizes)


def to_cost_record(cost_estimate: CostEstimate | None, gpus_per_run: int) -> dict[str, Any]:
    """Return an estimate as JSON values, with its GPU-hours."""
    if cost_estimate is None:
        return {"cost_estimate": None}
    gpu_hours = cost_estimate.seconds * gpus_per_run / 3600
    return {"cost_estimate": {**asdict(cost_estimate), "gpu_hours": gpu_hours}}


def record_estimates(
    folder: SweepFolder,
    cells: Iterable[Cell],
    runs: Collection[str],
    cost_estimates: Mapping[str, CostEstimate],
    gpus_per_run: int,
) -> None:
    """Append the estimated costs of runs to the sweep's file, before the runs are executed.

    The first estimate of a run is kept. A line holds the run, its GPUs, the time (seconds since the
    epoch) and the fields of `CostEstimate`.
    """
    recorded_runs = {record["run"] for record in read_jsonl(folder.cost_estimates_path)}
    arm_by_run: dict[str, str] = {}
    for cell in cells:
        arm_by_run.setdefault(cell.run_id, cell.arm)
    for run, arm in arm_by_run.items():
        if run in runs and run not in recorded_runs and arm in cost_estimates:
            record = {"run": run, "gpus_per_run": gpus_per_run, "time": time.time()}
            append_jsonl(folder.cost_estimates_path, {**record, **asdict(cost_estimates[arm])})


def _estimate_from_past_runs(
    store: Store,
    runs: Collection[str],
    is_measured_alike: Callable[[Mapping[str, Any]], bool],
    count_missing_steps: Callable[[RunFolder], float],
) -> CostEstimate | None:
    """Return the estimate from those of the runs that finished in a fitting numerics class.

    is_measured_alike: returns whether a numerics class fits. count_missing_steps: returns the
    training steps that cost as much as what a run still lacks.
    """
    finished_runs = list(
        islice(
            _iterate_finished_runs(store, runs, is_measured_alike, count_missing_steps),
            MAX_PAST_RUNS,
        )
    )
    if not finished_runs:
        return None
    seconds = [productive_seconds for productive_seconds, _ in finished_runs]
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
    store: Store,
    runs: Collection[str],
    is_measured_alike: Callable[[Mapping[str, Any]], bool],
    count_missing_steps: Callable[[RunFolder], float],
) -> Iterator[tuple[float, Mapping[str, float]]]:
    """Yield productive seconds and measured costs of the runs that finished in a fitting class."""
    for run_id in runs:
        run = store.get_run(run_id)
        outcome = run.read_outcome() if run.is_readable() else None
        if outcome is None or outcome.kind != "trained":
            continue
        run_time = measure_run_time(run, outcome)
        if is_measured_alike(outcome.numerics_class) and run_time is not None:
            missing_seconds = count_missing_steps(run) * outcome.cost.get(SECONDS_PER_STEP, 0.0)
            yield run_time.productive_seconds + missing_seconds, outcome.cost


def _estimate_from_probe(probe: Mapping[str, Any], steps: float) -> CostEstimate:
    """Return the estimate of a run of so many training steps, those of fine-tuning among them."""
    step_seconds, fixed_seconds = probe["seconds_per_step"], probe["setup_and_eval_seconds"]
    fastest_step, slowest_step = probe.get("step_seconds_range", (step_seconds, step_seconds))
    seconds = step_seconds * steps + fixed_seconds
    return CostEstimate(
        seconds=seconds,
        low=min(fastest_step * steps + fixed_seconds, seconds * (1 - RELATIVE_UNCERTAINTY)),
        high=max(slowest_step * steps + fixed_seconds, seconds * (1 + RELATIVE_UNCERTAINTY)),
        source="probe",
        step_seconds=step_seconds,
        memory_bytes=_compute_memory_bytes(probe),
        checkpoint_bytes=probe.get("checkpoint_bytes"),
        stored_bytes=_compute_stored_bytes(probe),
    )


def _compute_memory_bytes(probe: Mapping[str, Any]) -> float | None:
    """Return the peak memory of a run: on a CPU with the copy of the state that is written to a
    checkpoint and the best weights, which a probe does not have."""
    memory_bytes: float | None = probe.get("peak_memory_bytes")
    if memory_bytes is None or probe.get("device") != "cpu":
        return memory_bytes
    checkpoint_bytes: float = probe.get("checkpoint_bytes", 0)
    return memory_bytes + checkpoint_bytes


def _compute_stored_bytes(costs: Mapping[str, Any]) -> float | None:
    return costs["parameters"] * BYTES_PER_PARAMETER if "parameters" in costs else None
