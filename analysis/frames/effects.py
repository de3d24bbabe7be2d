"""Effects and verdicts of a sweep as data frames, and how the p-values were corrected."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.frames.tables import add_units, make_numeric, to_data_frame
from analysis.results.results import Results
from analysis.statistics.effects import ALPHA, compute_min_spread, paired_t
from analysis.statistics.looks import adjust_for_looks
from analysis.statistics.verdicts import ScoreKey, normalize_weights
from analysis.tables.effects import build_effect_table, build_other_effects_table
from uniclip.store import Contrast

VERDICT_COLUMNS = (
    *("label", "unit", "effect", "ci_low", "ci_high", "mde", "num_seeds"),
    *("p", "p_adjusted", "verdict", "verdict_seeds", "required_seeds"),
)
CORRECTION_COLUMNS = (
    *("contrast", "dataset", "score", "label", "look_seeds", "look_level", "p_look", "p_looks"),
    *("holm_factor", "p_adjusted", "alpha", "verdict", "comparison", "family_size"),
)


def tabulate_effects(results: Results) -> pd.DataFrame:
    """Return every contrast on every primary score: index (contrast, dataset, score).

    Among the columns are label, kind, unit, family (primary or exploratory), verdict, effect,
    ci_low and ci_high (interval of the contrast alone), p (uncorrected, all seeds), p_adjusted
    (Holm and looks; primary contrasts), mde, num_seeds, per_seed and runs. Numbers are unrounded,
    in the unit of the column `unit`: a share is a fraction, not percent.
    """
    if not results.plan.contrasts:
        index = pd.MultiIndex.from_arrays([[], [], []], names=["contrast", "dataset", "score"])
        columns = [*VERDICT_COLUMNS, "family", "kind"]
        empty = pd.DataFrame(columns=columns, index=index, dtype=float)
        empty.attrs |= {"title": "Effects", "notes": ["this sweep has no contrasts"]}
        return empty
    return to_data_frame(build_effect_table(results), results)


def tabulate_other_effects(results: Results) -> pd.DataFrame:
    """Return every contrast on every other score, as `tabulate_effects`: exploratory."""
    return to_data_frame(build_other_effects_table(results), results)


def tabulate_verdicts(results: Results) -> pd.DataFrame:
    """Return the answer: the primary contrasts, with intervals, corrected p-values and verdicts.

    The columns are some of those of `tabulate_effects`. In a sweep without primary contrasts all
    contrasts are returned.
    """
    effects = tabulate_effects(results)
    primary = effects[effects["family"] == "primary"]
    chosen = primary if len(primary) else effects
    return add_units(chosen[list(VERDICT_COLUMNS)].copy())


def tabulate_interactions(results: Results) -> pd.DataFrame:
    """Return the interactions of a crossed design, as `tabulate_verdicts`; none in a listed one."""
    effects = tabulate_effects(results)
    return add_units(effects.loc[effects["kind"] == "interaction", list(VERDICT_COLUMNS)].copy())


def tabulate_correction(results: Results) -> pd.DataFrame:
    """Return how the p-value of each primary contrast was corrected: index (contrast, dataset,
    score), smallest p-value first.

    Columns: label, look_seeds and look_level (the last look that was reached, and its level),
    p_look (paired t test of the seeds of the look), p_looks (p_look times alpha / look_level, at
    most 1; in an adaptive sweep, the p-value of the sequence of tests), holm_factor (family size
    minus the number of smaller p-values), p_adjusted (p_looks times holm_factor, at least the one
    above and at most 1), alpha and verdict.
    Contrasts that compare the same arms are one comparison. Before the first look there are no
    p-values.
    """
    rows = [
        _describe_test(results, contrast, key)
        for key in results.primary_scores
        for contrast in results.primary_contrasts
    ]
    frame = make_numeric(pd.DataFrame(rows, columns=None if rows else list(CORRECTION_COLUMNS)))
    frame = frame.sort_values("p_looks", kind="stable")
    is_first = ~frame.duplicated(["dataset", "score", "comparison"])
    rank = frame["p_looks"].where(is_first).rank(method="first")
    frame["holm_factor"] = frame["family_size"] - rank + 1
    groups = frame.groupby(["dataset", "score", "comparison"], sort=False)
    frame["holm_factor"] = groups["holm_factor"].transform("first")
    return frame.set_index(["contrast", "dataset", "score"])[list(CORRECTION_COLUMNS[3:-2])]


def _describe_test(results: Results, contrast: Contrast, key: ScoreKey) -> dict[str, Any]:
    """Return the steps from the p-value of one test to its verdict."""
    effect = results.get_effects(key)[contrast.name]
    look, reached = effect.look, effect.look.reached if effect.look else None
    row: dict[str, Any] = {
        "contrast": contrast.name,
        "dataset": key[0],
        "score": key[1],
        "label": contrast.label,
        "look_seeds": reached.num_seeds if reached else None,
        "look_level": reached.level if reached else None,
        "p_look": None,
        "p_looks": None,
        "p_adjusted": look.p if look else None,
        "alpha": look.alpha if look else ALPHA,
        "verdict": results.judge(contrast, key).text,
        "comparison": str(normalize_weights(contrast.weights)),
        "family_size": look.family_size if look else None,
    }
    if look is None or reached is None or look.p is None:
        return row
    first_seed = results.plan.first_seed
    values = [
        value
        for seed, value in zip(effect.seeds, effect.values)
        if 0 <= seed - first_seed < reached.num_seeds
    ]
    min_spread = compute_min_spread(contrast.weights, results.observations[key])
    p_look = float(paired_t(np.array(values), min_spread=min_spread)[2])
    p_looks = adjust_for_looks(p_look, look.looks, reached, len(values), alpha=look.alpha)
    return row | {"p_look": p_look, "p_looks": p_looks}
