"""What would resolve a contrast: the next look, the seeds that are needed, and their run time."""

from __future__ import annotations

import math

from analysis.collect.frame import SweepData
from analysis.collect.run_time import format_duration
from analysis.results.results import Results
from analysis.statistics.effects import LookResult
from analysis.statistics.looks import estimate_required_seeds
from analysis.statistics.power import MAX_SEEDS
from analysis.statistics.verdicts import NO_VERDICT, UNRESOLVED, judge
from uniclip.store import Contrast


def estimate_seconds_per_seed(sweep_data: SweepData) -> float | None:
    """Return the run time of one more seed of every arm, one run after another.

    It is measured on the finished runs of an arm, else predicted from its probe; None if an arm has
    neither.
    """
    costs, total = sweep_data.costs, 0.0
    for _, rows in costs.groupby("arm"):
        means = [
            float(rows[column].mean())
            for column in ("wall_seconds", "predicted_seconds")
            if column in rows
        ]
        known_means = [mean for mean in means if not math.isnan(mean)]
        if not known_means:
            return None
        total += known_means[0]
    return total or None


def describe_more_seeds(sweep_data: SweepData, num_more: int) -> str:
    """Return a number of further seeds with their run time: "2 more seeds, about 8 min"."""
    seconds = estimate_seconds_per_seed(sweep_data)
    text = f"{num_more} more seed{'s' * (num_more > 1)}"
    if seconds is None:
        return text
    return f"{text}, about {format_duration(num_more * seconds)} on one worker"


def describe_next_look(sweep_data: SweepData, look: LookResult) -> str:
    """Return when the next verdict is made; empty after the last look."""
    next_look = look.next_look
    if next_look is None:
        return ""
    more_text = describe_more_seeds(sweep_data, next_look.num_seeds - look.num_finished)
    ordinal = "first" if look.reached is None else "next"
    return f"{ordinal} look at {next_look.num_seeds} seeds ({more_text})"


def describe_resolution(results: Results, contrast: Contrast) -> str:
    """Return what would resolve an unresolved contrast; empty for every other one."""
    effect = results.effects[contrast.name]
    verdict, look = judge(effect, contrast), effect.look
    if look is None or verdict.word not in (UNRESOLVED, NO_VERDICT):
        return ""
    if effect.spread is None:
        return ""
    last_look, required = look.looks[-1].num_seeds, estimate_required_seeds(effect)
    if required is None:
        return f"more than {MAX_SEEDS} seeds would be needed to resolve it"
    if required <= look.num_finished:
        return "its next look is expected to resolve it" if look.next_look else ""
    more_text = describe_more_seeds(results.sweep_data, required - look.num_finished)
    is_within = look.margin is not None and abs(effect.mean or 0.0) < look.margin
    target = "" if is_within else " (if it is as large as estimated)"
    text = f"about {required} seeds would resolve it{target}: {more_text}"
    return text if required <= last_look else f"{text}; the last look is at {last_look}"
