"""The audit of a sweep of commands: short runs of every arm, compared.

Every arm runs twice with one seed, so that a difference between arms is told from one between equal
runs. Checked are: an arm differs from the reference in the metrics or scores that it declares (or
in any one) and is equal in those that it declares; no two arms give the same; another seed gives
something else; and a run that is killed continues (`command.kill_at`). In a crossed or
leave-one-out design an arm without a component is compared with the one that has it too, by the
component's `manipulation_check: {kind: command, differ: [...], equal: [...]}`.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ablations.audit.command_probe import (
    CommandProbe,
    compare_quantity,
    measure_distance,
    probe_command,
    with_values,
)
from uniclip.commands.invocation import Invocation
from uniclip.store import Arm, AuditCheck, Component, Plan

Probes = Mapping[str, Sequence[CommandProbe]]
"""Arm -> its two short runs."""
NUM_RUNS = 2
"""Short runs of every arm."""
MAX_LISTED_QUANTITIES = 6


@dataclass(frozen=True, kw_only=True)
class CommandProbeRecord:
    """What one arm costs on one kind of device: a line of `probes.jsonl`."""

    arm: str
    device: str
    device_name: str
    seconds_per_step: float
    """Mean wall seconds of a step, from when its record was seen. Where the short runs did not show
    two steps at different times, an upper bound: all their seconds, which then count as setup, too.
    """
    step_seconds_range: tuple[float, float]
    """The same of the faster and of the slower of the short runs."""
    peak_memory_bytes: int | None
    """Peak memory of all processes of a short run; None if they compute on a device of its own
    memory, or ended before they were measured."""
    setup_and_eval_seconds: float
    """Wall seconds of a short run beside its steps, and of the evaluation of its checkpoint."""


@dataclass(frozen=True, kw_only=True)
class CommandAudit:
    """The checks of every arm, and what every arm costs."""

    checks: list[AuditCheck]
    probes: list[CommandProbeRecord]


def run_command_audit(
    plan: Plan,
    invocations: Mapping[str, Invocation],
    folder: Path,
    device: str,
    stop: Callable[[], bool],
) -> CommandAudit:
    """Audit the arms of a plan.

    Args:
        plan: The plan.
        invocations: Arm -> its program, with the first seed.
        folder: Folder of the short runs, which are deleted.
        device: Type of the device.
        stop: Returns True once the audit should stop.

    Raises:
        StopRequested: `stop` returned True.
        UserError: a short run failed.
    """
    definition = invocations[plan.reference].definition
    short = {n: with_values(i, definition.check_values) for n, i in invocations.items()}
    probes = {
        name: [
            probe_command(
                invocation,
                folder / f"{name}-{number}",
                stop,
                evaluate=_choose_evaluation(plan, name, invocation) if number == 0 else None,
            )
            for number in range(NUM_RUNS)
        ]
        for name, invocation in short.items()
    }
    checks: list[AuditCheck] = []
    for arm in plan.arms:
        is_equal = short[arm.name] == short[plan.reference]
        if is_equal and invocations[arm.name] != invocations[plan.reference]:
            checks.append(_build_unchecked(arm, plan.reference))
        else:
            checks += check_arm(plan, arm, probes)
    checked_components = {check.component for check in checks}
    for component in plan.components:
        if component.name not in checked_components:
            checks += _check_alone(plan, component, short[plan.reference], probes, folder, stop)
    other_seed = with_values(short[plan.reference], {}, seed_offset=1)
    seed_probe = probe_command(other_seed, folder / "other-seed", stop)
    checks.append(check_seed(plan.reference, probes[plan.reference], seed_probe))
    if definition.kill_at:
        values = definition.resume_values or definition.check_values
        long = with_values(invocations[plan.reference], values)
        whole = probe_command(long, folder / "whole", stop)
        killed = probe_command(long, folder / "killed", stop, kill_at=definition.kill_at)
        checks.append(check_resume(plan.reference, whole, killed))
    evaluation_seconds = probes[plan.reference][0].evaluation_seconds
    records = [
        _build_record(name, probes[name], short[name].total_steps, device, evaluation_seconds)
        for name in probes
    ]
    return CommandAudit(checks=checks, probes=records)


def _choose_evaluation(
    plan: Plan, arm: str, invocation: Invocation
) -> Callable[[Path], float] | None:
    """Return what evaluates the checkpoint of a short run; None if nothing evaluates it.

    That of the reference is evaluated on all data sets, which is timed; others are only opened.
    """
    if set(plan.base_config["benchmark"]) <= {invocation.definition.dataset}:
        return None
    from uniclip.commands.checkpoint import time_evaluation  # imports torch

    datasets = [n for n in plan.evaluation_hashes[arm] if n != invocation.definition.dataset]
    return partial(
        time_evaluation,
        invocation,
        runtime=plan.base_config["runtime"],
        names=datasets if arm == plan.reference else (),
    )


def _build_unchecked(arm: Arm, reference: str) -> AuditCheck:
    """Return what stands for the checks of an arm that is the reference in short runs.

    So is one that differs in its number of steps alone, which `check_values` sets for all.
    """
    return AuditCheck(
        arm=arm.name,
        name=f"differs from {reference}",
        passed=True,
        detail="not checked: command.check_values sets what it changes",
        component=next((name for name, is_on in arm.levels.items() if not is_on), None),
    )


def check_arm(plan: Plan, arm: Arm, probes: Probes) -> Iterator[AuditCheck]:
    """Yield the checks of one arm against the reference, its neighbours and earlier arms."""
    if arm.name != plan.reference:
        declared = plan.command_checks.get(arm.name, {})
        if arm.role != "noise" and not arm.levels:
            yield from _check_switch(
                arm.name, plan.reference, declared.get("differ", ()), probes, None
            )
        yield from _check_equal(arm.name, plan.reference, declared.get("equal", ()), probes, None)
    yield from _check_components(plan, arm, probes)
    for earlier in plan.arms[: plan.arms.index(arm)]:
        if earlier.name != plan.reference and not _list_differences(arm.name, earlier.name, probes):
            yield AuditCheck(
                arm=arm.name,
                name=f"not a duplicate of {earlier.name}",
                passed=False,
                detail="every reproducible metric and score is the same",
            )


def _check_components(plan: Plan, arm: Arm, probes: Probes) -> Iterator[AuditCheck]:
    """Yield the checks of each component that is off, against the arm where it alone is on."""
    components = {c.name: c for c in plan.components}
    for name, is_on in arm.levels.items():
        levels = {**arm.levels, name: True}
        neighbours = [a.name for a in plan.arms if a.levels == levels and a.name in probes]
        if is_on or not neighbours:
            continue
        declared = components[name].manipulation_check
        yield from _check_switch(arm.name, neighbours[0], declared.get("differ", ()), probes, name)
        yield from _check_equal(arm.name, neighbours[0], declared.get("equal", ()), probes, name)


def _check_alone(
    plan: Plan,
    component: Component,
    reference: Invocation,
    probes: Probes,
    folder: Path,
    stop: Callable[[], bool],
) -> Iterator[AuditCheck]:
    """Yield the checks of a component that no two arms of the plan differ in alone.

    The reference runs without it; in a fraction of a crossed design there is no such arm.
    """
    name = f"{plan.reference} without {component.name}"
    without = with_values(reference, component.off_overrides)
    runs = [probe_command(without, folder / f"without-{i}", stop) for i in range(NUM_RUNS)]
    both = {**probes, name: runs}
    declared = component.manipulation_check
    for check in (
        *_check_switch(name, plan.reference, declared.get("differ", ()), both, component.name),
        *_check_equal(name, plan.reference, declared.get("equal", ()), both, component.name),
    ):
        yield replace(check, arm=plan.reference, name=f"without {component.name}, {check.name}")


def _check_switch(
    arm: str, other: str, names: Sequence[str], probes: Probes, component: str | None
) -> Iterator[AuditCheck]:
    """Yield the check that an arm differs from another in what is declared, or in anything."""
    if names:
        for name in names:
            comparison = compare_quantity(name, probes[arm], probes[other])
            yield AuditCheck(
                arm=arm,
                name=f"{name} differs from {other}",
                passed=comparison.differs,
                detail=comparison.detail,
                component=component,
            )
        return
    differences = _list_differences(arm, other, probes)
    shown = ", ".join(differences[:MAX_LISTED_QUANTITIES])
    yield AuditCheck(
        arm=arm,
        name=f"differs from {other}",
        passed=bool(differences),
        detail=f"{shown} differ" if differences else "no reproducible metric or score differs",
        component=component,
    )


def _check_equal(
    arm: str, other: str, names: Sequence[str], probes: Probes, component: str | None
) -> Iterator[AuditCheck]:
    for name in names:
        comparison = compare_quantity(name, probes[arm], probes[other])
        yield AuditCheck(
            arm=arm,
            name=f"{name} equals {other}",
            passed=comparison.equals,
            detail=comparison.detail,
            component=component,
        )


def _list_differences(arm: str, other: str, probes: Probes) -> list[str]:
    """Return the reproducible quantities in which two arms differ."""
    names = dict.fromkeys([*probes[arm][0].list_quantities(), *probes[other][0].list_quantities()])
    comparisons = {name: compare_quantity(name, probes[arm], probes[other]) for name in names}
    return [n for n, c in comparisons.items() if c.differs and c.is_reproducible]


def check_seed(arm: str, probes: Sequence[CommandProbe], seed_probe: CommandProbe) -> AuditCheck:
    """Return the check that another seed gives something else."""
    comparisons = {
        name: compare_quantity(name, probes, [seed_probe, seed_probe])
        for name in probes[0].list_quantities()
    }
    differing = [n for n, c in comparisons.items() if c.differs and c.is_reproducible]
    same = [n for n, c in comparisons.items() if c.is_reproducible]
    unreproducible = [n for n in comparisons if n not in same]
    detail = f"{', '.join(differing[:MAX_LISTED_QUANTITIES])} differ with another seed"
    if not differing:
        detail = f"another seed changes none of {', '.join(same) or 'no reproducible metric'}"
    if unreproducible:
        listed = ", ".join(unreproducible[:MAX_LISTED_QUANTITIES])
        detail += f"; two runs of one seed differ in {listed}"
    return AuditCheck(arm=arm, name="the seed has an effect", passed=bool(differing), detail=detail)


def check_resume(arm: str, whole: CommandProbe, killed: CommandProbe) -> AuditCheck:
    """Return the check that a killed run continues, with what it has in common with a whole one.

    It fails only if the run starts again: equal bits are reported, not demanded.
    """
    names = whole.list_quantities()
    distances = {
        name: measure_distance(whole.get_quantity(name), killed.get_quantity(name))
        for name in names
    }
    differing = [f"{n} by {d:.3g}" for n, d in distances.items() if d]
    equality = (
        f"not bit by bit ({', '.join(differing[:MAX_LISTED_QUANTITIES])})"
        if differing
        else "bit by bit as without the kill"
    )
    continued = f"continued at step {killed.resumed_at}"
    return AuditCheck(
        arm=arm,
        name="a killed run continues",
        passed=killed.resumed_at > 1,
        detail=f"{continued}, {equality}"
        if killed.resumed_at > 1
        else "the run started again at step 1: see command.resume",
    )


def _build_record(
    arm: str,
    probes: Sequence[CommandProbe],
    num_steps: int,
    device: str,
    evaluation_seconds: float = 0.0,
) -> CommandProbeRecord:
    timed_seconds = [probe.timer.seconds_per_step for probe in probes]
    step_seconds = [s or p.total_seconds / num_steps for s, p in zip(timed_seconds, probes)]
    total_seconds = sum(probe.total_seconds for probe in probes) / len(probes)
    peak_bytes = max(probe.meter.peak_bytes for probe in probes)
    return CommandProbeRecord(
        arm=arm,
        device=device,
        device_name=platform.processor() or platform.machine(),
        seconds_per_step=sum(step_seconds) / len(step_seconds),
        step_seconds_range=(min(step_seconds), max(step_seconds)),
        peak_memory_bytes=(peak_bytes or None) if device == "cpu" else None,
        setup_and_eval_seconds=evaluation_seconds
        + max(0.0, total_seconds - sum(timed_seconds) / len(timed_seconds) * num_steps),
    )
