"""Findings of a review, and the cells that would answer them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Literal

from uniclip.config.overrides import format_override
from uniclip.store import Plan

if TYPE_CHECKING:
    from analysis.results.results import Results

Severity = Literal["major", "minor"]


def has_evaluated_models(plan: Plan) -> bool:
    """Return whether this package evaluates the models of the runs, or could."""
    if not plan.is_scored_by_program:
        return True
    command = plan.base_config.get("runtime", {}).get("command", {})
    return bool(command.get("definition", {}).get("checkpoint"))


@dataclass(frozen=True, kw_only=True)
class CommandWords:
    """A command line, by what it changes of the one that made the sweep."""

    command: Literal["run", "tune", "report"] = "run"
    changes: tuple[str, ...] = ()
    """`key=value` words that are added, or replace those of their key."""
    same_sweep: bool = True
    """Whether it extends the sweep, so that its id stands for its words."""
    plan: Plan | None = None
    """The sweep that it changes; None = the one that is reviewed."""


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """The cheapest cells that answer a finding."""

    description: str
    """What they are, and what they would show."""
    commands: tuple[CommandWords, ...] = ()
    """Empty if no command makes them: then `description` says what to write."""
    runs: Mapping[str, float]
    """Arm -> number of runs, in runs of the reviewed sweep: one with twice the steps counts 2."""
    num_evaluations: int = 0
    """Runs that are evaluated once more, without training."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that a reviewer would attack."""

    check: str
    """Name of the check, a key of `analysis.review.checks.CHECKS`."""
    title: str
    severity: Severity
    """major: it can change the conclusion; minor: it limits how far the conclusion reaches."""
    evidence: tuple[str, ...]
    """What was found: arms, scores and numbers."""
    reason: str
    """Why a reviewer would ask."""
    remedy: Remedy


@dataclass(frozen=True, kw_only=True)
class ReviewInput:
    """What a sweep is reviewed by."""

    results: Results
    related_plans: Sequence[Plan]
    """The other plans of the store with the same ablation and finished runs."""
    further_seeds: Mapping[str, Sequence[int]]
    """Arm -> seeds outside the plan with which the store has a finished run of the arm."""

    @property
    def plan(self) -> Plan:
        """The plan of the sweep."""
        return self.results.plan

    @property
    def compared_arms(self) -> list[str]:
        """The arms of the primary contrasts, in the plan's order; all, if there are none."""
        used = {arm for c in self.results.primary_contrasts for arm in c.weights}
        names = [arm.name for arm in self.plan.arms]
        return [name for name in names if name in used] or names

    def select_arms(self, arms: Sequence[str]) -> tuple[str, ...]:
        """Return the word that restricts a command to some arms; nothing if these are all."""
        names = [arm.name for arm in self.plan.arms]
        if set(arms) == set(names):
            return ()
        return (f"arms=[{','.join(name for name in names if name in arms)}]",)


def list_new_seeds(plan: Plan, num_seeds: int, finished_seeds: Collection[int] = ()) -> list[int]:
    """Return the next seeds without a gap: none of the plan, of its tuning, or finished."""
    used = {*plan.seeds, *finished_seeds, *(plan.tuning.seeds if plan.tuning is not None else ())}
    ranges = (range(first, first + num_seeds) for first in count(max(plan.seeds) + 1))
    return list(next(seeds for seeds in ranges if used.isdisjoint(seeds)))


def format_seeds(seeds: Sequence[int]) -> str:
    """Return the word that chooses seeds."""
    return f"seeds=[{','.join(map(str, seeds))}]"


def format_word(key: str, value: object) -> str:
    """Return the word that sets a key to a number, a truth value, null or a text."""
    if isinstance(value, str):
        return format_override(key, value)
    return f"{key}={'null' if value is None else str(value).lower()}"


def join_names(names: Sequence[str], limit: int = 4) -> str:
    """Return names, the first of them if there are many."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
