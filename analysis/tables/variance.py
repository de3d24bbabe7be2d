"""Table of the variance of the primary scores by source."""

from __future__ import annotations

import math

from analysis import formatting
from analysis.results.results import Results
from analysis.statistics.variance_components import VarianceComponent
from analysis.statistics.verdicts import ScoreKey
from analysis.tables.table import Table, make_row

SOURCE_LABELS = {
    "initial_weights": "initial weights (between seeds)",
    "draws": "random draws (order, augmentations)",
    "rounding": "rounding (initial weights changed slightly)",
    "items": "test items (not between runs)",
}


def build_variance_table(results: Results) -> Table:
    """Return the standard deviation of the reference arm's scores that is due to each source."""
    components = [
        (key, component)
        for key, parts in results.variance_components.items()
        for component in parts
    ]
    return Table(
        name="variance",
        title="Standard deviation of the score of one run, by its source",
        headings=(
            "score",
            "source",
            "standard deviation",
            f"{formatting.format_confidence_level()} interval",
            "degrees of freedom",
        ),
        rows=tuple(
            make_row(
                results.format_heading(key, "difference"),
                SOURCE_LABELS[c.source],
                _format_sd(results, key, c.sd),
                _format_interval(results, key, c),
                str(c.degrees_of_freedom),
            )
            for key, c in components
        ),
        records=tuple(
            {
                "dataset": key[0],
                "score": key[1],
                "source": c.source,
                "sd": c.sd,
                "sd_low": _get_sqrt(c.low),
                "sd_high": _get_sqrt(c.high),
                "df": c.degrees_of_freedom,
            }
            for key, c in components
        ),
        num_text_columns=2,
        notes=(
            f"Of the arm {results.get_arm_label(results.plan.reference)}. The standard deviation "
            "between runs is the root of the sum of the first three squares (too large where "
            "one is 0: a negative estimate of a variance is shown as 0). Effects are paired by "
            "seed: of the first two sources only what arms do not share is left in them.",
        ),
    )


def _format_interval(results: Results, key: ScoreKey, component: VarianceComponent) -> str:
    if component.low is None or component.high is None:
        return ""
    ends = (_format_sd(results, key, math.sqrt(end)) for end in (component.low, component.high))
    return f"[{', '.join(ends)}]"


def _format_sd(results: Results, key: ScoreKey, sd: float) -> str:
    """Return a standard deviation with the unit of a score, to two digits."""
    number_format = formatting.make_number_format(
        results.sweep_data.get_score_kind(*key), sd if sd > 0 else None
    )
    return number_format.format(sd)


def _get_sqrt(variance: float | None) -> float | None:
    return None if variance is None else math.sqrt(variance)
