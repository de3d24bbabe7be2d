"""A finding of a review with the command lines that answer it, and their price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from analysis.collect.run_time import format_duration
from analysis.review.commands import format_command_lines, list_store_words
from analysis.review.finding import Finding, Remedy
from sweeps.costs.estimate import CostEstimate
from uniclip.store import Plan, Store


@dataclass(frozen=True, kw_only=True)
class Price:
    """The estimated price of a remedy."""

    num_runs: float
    """In runs of the sweep: a run with half the steps counts 0.5."""
    num_evaluations: int
    seconds: float | None
    """Worker seconds, one run after another; None if an arm was not measured."""
    gpu_hours: float | None
    """None on CPUs, or if an arm was not measured."""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A finding, the command lines that answer it, and their price."""

    finding: Finding
    command_lines: tuple[str, ...]
    """Without the program: "run ablation=components seeds=8"."""
    price: Price


def build_proposal(
    finding: Finding,
    store: Store,
    plan: Plan,
    cost_estimates: Mapping[str, CostEstimate],
    gpus_per_run: int,
) -> Proposal:
    """Return a finding with its command lines and their price.

    Args:
        finding: the finding.
        store: the store of the sweep.
        plan: the plan that was reviewed.
        cost_estimates: arm -> estimated cost of one of its runs.
        gpus_per_run: GPUs of one run; 0 for runs on CPUs.
    """
    return Proposal(
        finding=finding,
        command_lines=format_command_lines(finding, plan, list_store_words(store)),
        price=estimate_price(finding.remedy, cost_estimates, gpus_per_run),
    )


def estimate_price(
    remedy: Remedy, cost_estimates: Mapping[str, CostEstimate], gpus_per_run: int
) -> Price:
    """Return the price of a remedy; its seconds are unknown if an arm was not measured."""
    is_measured = all(arm in cost_estimates for arm in remedy.runs)
    seconds = (
        sum(cost_estimates[arm].seconds * count for arm, count in remedy.runs.items())
        if is_measured
        else None
    )
    return Price(
        num_runs=sum(remedy.runs.values()),
        num_evaluations=remedy.num_evaluations,
        seconds=seconds,
        gpu_hours=seconds * gpus_per_run / 3600 if seconds is not None and gpus_per_run else None,
    )


def describe_price(price: Price, cells: Mapping[str, float]) -> str:
    """Return a price as text: "2 cells (clip 2): about 4 min on one worker".

    Args:
        price: the price.
        cells: arm -> number of runs.
    """
    parts = []
    if price.num_runs:
        arms = ", ".join(f"{arm} {count:.3g}" for arm, count in [*cells.items()][:4])
        more = ", ..." if len(cells) > 4 else ""
        runs = f"{price.num_runs:.3g} runs of this sweep ({arms}{more})"
        parts.append(f"{runs}: {_describe_time(price)}")
    if price.num_evaluations:
        parts.append(f"{price.num_evaluations} runs evaluated once more, none trained")
    return "; ".join(parts) or "nothing to run"


def _describe_time(price: Price) -> str:
    if price.seconds is None:
        return "not measured (plan --probe measures it)"
    hours = f", {price.gpu_hours:.2g} GPU-hours" if price.gpu_hours is not None else ""
    return f"about {format_duration(price.seconds)} on one worker{hours}"
