"""What would resolve a contrast: the next look, the seeds that are needed, and their run time."""

from __future__ import annotations

import math

from analysis.collect.frame import SweepData
from analysis.collect.run_time import format_duration
from analysis.results.results import Results
from analysis.statistics.effects import LookResult
from analysis.statistics.looks import estimate_required_seeds
from analysis.statistics.power import MAX_SEEDS
from analysis.statistics.verdicts import NO_VERDICT, UNRESOLVED, ScoreKey, judge
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
    more_text = _describe_missing_seeds(sweep_data, look, next_look.num_seeds)
    ordinal = "first" if look.reached is None else "next"
    return f"{ordinal} look at {next_look.num_seeds} seeds ({more_text})"


def _describe_missing_seeds(sweep_data: SweepData, look: LookResult, num_seeds: int) -> str:
    """Return how many of the first so many seeds are missing; which ones, if later ones are not."""
    missing = look.list_missing_seeds(num_seeds)
    text = describe_more_seeds(sweep_data, len(missing))
    if not any(seed > missing[0] for seed in look.finished_seeds):
        return text
    return f"{text}: seed{'s' * (len(missing) > 1)} {', '.join(map(str, missing))}"


def describe_resolutions(results: Results, contrast: Contrast) -> list[str]:
    """Return what would resolve a contrast on each primary score on which it is unresolved.

    The score is named if there are several, and what holds for all of them is said once.
    """
    texts = {
        results.format_heading(key): text
        for key in results.primary_scores
        if (text := describe_resolution(results, contrast, key))
    }
    num_scores = len(results.primary_scores)
    if num_scores == 1 or (len(texts) == num_scores and len(set(texts.values())) == 1):
        return list(dict.fromkeys(texts.values()))
    return [f"on {label} {text}" for label, text in texts.items()]


def describe_resolution(results: Results, contrast: Contrast, key: ScoreKey) -> str:
    """Return what would resolve a contrast that is unresolved on a score; empty for all others."""
    effect = results.get_effects(key)[contrast.name]
    verdict, look = judge(effect, contrast), effect.look
    if look is None or verdict.word not in (UNRESOLVED, NO_VERDICT):
        return ""
    if effect.spread is None:
        return ""
    last_look, required = look.looks[-1].num_seeds, estimate_required_seeds(effect)
    if required is None:
        return f"more than {MAX_SEEDS} seeds would be needed to resolve it"
    if not look.list_missing_seeds(required):
        return "its next look is expected to resolve it" if look.next_look else ""
    more_text = _describe_missing_seeds(results.sweep_data, look, required)
    is_within = look.margin is not None and abs(effect.mean or 0.0) < look.margin
    target = "" if is_within else " (if it is as large as estimated)"
    text = f"about {required} seeds would resolve it{target}: {more_text}"
    return text if required <= last_look else f"{text}; the last look is at {last_look}"
