"""A finding of a review with the command lines that answer it, and their price."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from analysis.collect.run_time import format_duration
from analysis.review.finding import CommandWords, Finding, Remedy
from sweeps.config import stored_sweep
from sweeps.costs.estimate import CostEstimate
from uniclip.commands.definition import EXECUTOR
from uniclip.store import Plan, Store
from uniclip.store.sweep_records import IMPORTED

DEFAULT_STORE = "store"
TRAINING_SECTIONS = ("train.", "data.", "model.", "method.", "views.")
"""Sections of the configuration that a sweep of another program's runs does not have."""
TUNE_KEYS = (
    *("n_trials", "space", "sampler", "sampler_options", "pruner", "pruner_options", "storage"),
    *("tuning_seeds", "parallel_trials", "sampler_seed"),
)
"""Keys of `sweeps.tuning.tuner.TuneConfig`, which a sweep that is not tuned does not take."""


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

    Runs that were imported have no command that runs more of them, those of another program none
    that sets a key of this package's training.

    Args:
        finding: the finding.
        store: the store of the sweep.
        plan: the plan that was reviewed.
        cost_estimates: arm -> estimated cost of one of its runs.
        gpus_per_run: GPUs of one run; 0 for runs on CPUs.
    """
    return Proposal(
        finding=finding,
        command_lines=tuple(
            shlex.join(build_command_line(words, store, plan))
            for words in finding.remedy.commands
            if _is_applicable(words, plan)
        ),
        price=estimate_price(finding.remedy, cost_estimates, gpus_per_run),
    )


def _is_applicable(words: CommandWords, plan: Plan) -> bool:
    """Return whether a command exists for the runs of a plan."""
    if words.command == "report" or plan.executor not in (IMPORTED, EXECUTOR):
        return True
    if plan.executor == IMPORTED:
        return False
    keys = {word.partition("=")[0] for word in words.changes}
    has_checkpoint = bool(plan.base_config["runtime"]["command"]["definition"].get("checkpoint"))
    return (has_checkpoint or "benchmark" not in keys) and not any(
        key.startswith(TRAINING_SECTIONS) for key in keys
    )


def build_command_line(words: CommandWords, store: Store, plan: Plan) -> list[str]:
    """Return the words of a command line.

    A command that extends a sweep takes its id; one that makes another sweep takes the words that
    made it, with the changes (of a plan from before words were recorded, those that are known).
    """
    base_plan = words.plan or plan
    command = words.command
    store_words = [] if store.root == Store(DEFAULT_STORE).root else [f"store={store.root}"]
    if command == "report":
        return [command, base_plan.sweep_id, *store_words]
    is_tuned = base_plan.tuning is not None
    if words.same_sweep:
        return ["tune" if is_tuned else command, base_plan.sweep_id, *words.changes, *store_words]
    if base_plan.overrides:
        merged = stored_sweep.merge_overrides(base_plan, list(words.changes))
    else:
        merged = [*stored_sweep.format_known_words(base_plan).split(), *words.changes]
    if command == "run":
        merged = [word for word in merged if word.partition("=")[0] not in TUNE_KEYS]
    return [command, *merged, *store_words]


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
