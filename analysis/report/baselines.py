"""Sentences on the baselines: whether the reference arm is better than they are."""

from __future__ import annotations

from collections.abc import Sequence

from analysis import formatting
from analysis.results.baselines import Baseline
from analysis.results.results import Results
from analysis.statistics.effects import MIN_SEEDS_FOR_INTERVAL
from analysis.statistics.verdicts import ScoreKey
from uniclip.store import is_better


def describe_baselines(results: Results) -> list[str]:
    """Return a sentence for each primary score; a score is named where there are several."""
    is_named = len(results.primary_scores) > 1
    return [
        f"On {results.format_heading(key)}: {sentence}" if is_named else sentence
        for key in results.primary_scores
        if (sentence := _describe_on_score(results, key))
    ]


def _describe_on_score(results: Results, key: ScoreKey) -> str:
    """Return whether the reference arm scores better than its baselines; empty without any.

    It decides nothing: an arm is better by the verdict of the contrast of the two, or, where the
    plan has none, if it is the best arm and the reference is significantly worse (as for bold).
    """
    reference = results.plan.get_arm(results.plan.reference)
    reference_mean = results.compute_mean(reference.name, key)
    baselines = results.baselines[key]
    if reference_mean is None or not baselines:
        return ""
    number_format = results.get_score_format(key)
    reference_text = f"{reference.label} ({number_format.format_with_unit(reference_mean)})"
    term = "simpler arm" if reference.role == "crossed" else "baseline"
    better_baselines = [b for b in baselines if _find_sign(results, b, key) == -1]
    kind = results.sweep_data.get_score_kind(*key)
    leading_baselines = [b for b in baselines if is_better(b.mean, reference_mean, kind)]
    word = "higher" if results.observations[key].higher_is_better else "lower"
    if better_baselines:
        baseline_texts = "; ".join(_describe_baseline(results, b, key) for b in better_baselines)
        return f"{reference.label} loses to {term}s: {baseline_texts}."
    if not leading_baselines:
        return f"No {term} scores {word} than {reference_text}."
    num_more = len(leading_baselines) - 1
    more_text = f", and {num_more} more {term}s score {word}" if num_more else ""
    if num_more == 1:
        more_text = f", and 1 more {term} scores {word}"
    best_text = _describe_baseline(results, leading_baselines[0], key)
    return (
        f"{reference_text} is not the best: {best_text}"
        f"{more_text}; {_describe_untold_differences(results, leading_baselines, key)}."
    )


def _find_sign(results: Results, baseline: Baseline, key: ScoreKey) -> int | None:
    """Return -1 if the baseline is better, +1 if worse, 0 if not significant, None if untested."""
    if baseline.comparison is not None:
        return baseline.comparison.effect.sign
    best_comparison = results.best_comparisons.get(key)
    if best_comparison is None or best_comparison.best_arm != baseline.arm:
        return None
    if results.plan.reference in best_comparison.worse_arms:
        return -1
    return 0 if results.plan.reference in best_comparison.tied_arms else None


def _describe_untold_differences(
    results: Results, leading_baselines: Sequence[Baseline], key: ScoreKey
) -> str:
    """Return why no higher baseline counts as better."""
    signs = [_find_sign(results, b, key) for b in leading_baselines]
    if all(sign is None for sign in signs):
        if _awaits_first_look(results, key):
            return "no verdict yet"
        fewest_seeds = min(
            len(results.observations[key].values.get(b.arm, {})) for b in leading_baselines
        )
        too_few = fewest_seeds < MIN_SEEDS_FOR_INTERVAL
        return "too few seeds to test a difference" if too_few else "no contrast compares them"
    if len(signs) == 1:
        return "the difference is not significant with these seeds"
    return "no difference that is tested is significant with these seeds"


def _awaits_first_look(results: Results, key: ScoreKey) -> bool:
    looks = [e.look for e in results.get_effects(key).values() if e.look is not None]
    return bool(looks) and all(look.reached is None for look in looks)


def _describe_baseline(results: Results, baseline: Baseline, key: ScoreKey) -> str:
    cost_text = formatting.format_forward_passes(
        results.plan.forward_passes, [baseline.arm], [results.plan.reference]
    )
    label = results.get_arm_label(baseline.arm)
    mean_text = results.get_score_format(key).format_with_unit(baseline.mean)
    details = [cost_text] if cost_text != formatting.NOT_STATED else []
    if baseline.comparison is not None and baseline.comparison.verdict.sign:
        contrast, verdict = baseline.comparison.contrast, baseline.comparison.verdict
        details.append(f"{contrast.label}: {verdict.text}")
    details_text = f" ({'; '.join(details)})" if details else ""
    return f"{label} scores {mean_text}{details_text}"
