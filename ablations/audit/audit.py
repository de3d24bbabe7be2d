"""The audit of a sweep: a few training steps of every arm, checked and measured."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from ablations.audit.arm_probe import ArmProbe, probe_arm, warm_up_caches
from ablations.audit.checks import check_arm, check_duplicate
from uniclip import distributed, evaluate, numerics
from uniclip.config import RunConfig
from uniclip.config.cores import derive_num_workers
from uniclip.store import Arm, AuditCheck, Plan


@dataclass(frozen=True, kw_only=True)
class ProbeRecord:
    """What one arm costs on one kind of device: a line of `probes.jsonl`."""

    arm: str
    device: str
    """Device type, such as cuda."""
    device_name: str
    """Model of the device."""
    seconds_per_step: float
    """Median wall seconds of a step with the data workers of a run, the wait for data included."""
    step_seconds_range: tuple[float, float]
    """The same of the fastest and of the slowest step."""
    compute_seconds_per_step: float
    """Median wall seconds of a step whose batch is ready."""
    data_seconds_per_step: float
    """Median wall seconds in which one process makes a batch."""
    num_workers: int
    """Data workers of a run."""
    setup_and_eval_seconds: float
    """Wall seconds of set-up, all validations and the evaluation."""
    flops_per_step: int
    parameters: int
    checkpoint_bytes: int
    peak_memory_bytes: int


@dataclass(frozen=True, kw_only=True)
class AuditResult:
    """The checks of every arm, and what every arm costs."""

    checks: list[AuditCheck]
    probes: list[ProbeRecord]


def run_audit(plan: Plan, configs: Mapping[str, RunConfig]) -> AuditResult:
    """Audit the arms of a plan.

    In a group of processes (`uniclip.distributed`) rank 0 calls this function while the others call
    `run_nonzero_rank`: steps are done and timed as those of a cell are.

    Args:
        plan: the plan.
        configs: arm -> its configuration, with one seed.
    """
    process_group = distributed.get_process_group()
    warm_up_caches(configs.values())
    reference = probe_arm(configs[plan.reference])
    evaluation_seconds = _time_evaluations(plan, reference)
    checks: list[AuditCheck] = []
    probes = []
    first_arm_by_digest: dict[str, Arm] = {}
    for arm in plan.arms:
        process_group.broadcast_object()  # the other ranks wait here while checks are made
        probe = reference if arm.name == plan.reference else probe_arm(configs[arm.name])
        arm_checks = check_arm(plan, arm, probe, reference)
        earlier_arm = first_arm_by_digest.setdefault(probe.weights_digest, arm)
        if earlier_arm is not arm:
            arm_checks.append(check_duplicate(plan, arm, earlier_arm, probe, arm_checks))
        checks += arm_checks
        probes.append(_build_probe_record(arm.name, probe, evaluation_seconds))
        del probe  # otherwise the peak memory of the next arm would include this one
    return AuditResult(checks=checks, probes=probes)


def run_nonzero_rank(plan: Plan, configs: Mapping[str, RunConfig]) -> None:
    """Take part in the steps of `run_audit`, which rank 0 calls."""
    process_group = distributed.get_process_group()
    warm_up_caches(configs.values())
    probe_arm(configs[plan.reference])
    for arm in plan.arms:
        process_group.broadcast_object()
        if arm.name != plan.reference:
            probe_arm(configs[arm.name])


def _build_probe_record(arm_name: str, probe: ArmProbe, evaluation_seconds: float) -> ProbeRecord:
    numerics_class = numerics.get_numerics_class(probe.config)
    num_workers = derive_num_workers(probe.config)
    data_seconds = median(probe.batch_seconds)
    compute_seconds = [s - b for s, b in zip(probe.step_seconds, probe.batch_seconds)]
    # While a step is computed, data workers make the next batches, each of them its own.
    step_seconds = [
        max(seconds, data_seconds / num_workers) if num_workers else seconds + batch
        for seconds, batch in zip(compute_seconds, probe.batch_seconds)
    ]
    return ProbeRecord(
        arm=arm_name,
        device=numerics_class["device"],
        device_name=numerics_class["device_name"],
        seconds_per_step=median(step_seconds),
        step_seconds_range=(min(step_seconds), max(step_seconds)),
        compute_seconds_per_step=median(compute_seconds),
        data_seconds_per_step=data_seconds,
        num_workers=num_workers,
        setup_and_eval_seconds=probe.setup_seconds + evaluation_seconds,
        flops_per_step=probe.step_flops,
        parameters=probe.state.count_parameters(),
        checkpoint_bytes=probe.checkpoint_bytes,
        peak_memory_bytes=probe.peak_memory_bytes,
    )


def _time_evaluations(plan: Plan, reference: ArmProbe) -> float:
    """Return the wall seconds of what a run does beside its steps: validations and benchmarks.

    But for fine-tuning, whose cost is that of training steps.
    """
    start, config = time.perf_counter(), reference.config
    for _ in range(-(-config.train.steps // config.train.validate_every)):
        reference.state.validate(lambda pretrained: evaluate.validate(pretrained, config.data))
    with reference.state.no_side_effects():
        for name in plan.evaluation_hashes[plan.reference]:
            if not evaluate.datasets.is_fine_tuning(name):
                evaluate.evaluate(name, reference.state.pretrained, config)
    return time.perf_counter() - start
