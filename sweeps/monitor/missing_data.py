"""Data sets that a plan lacks: how they are obtained."""

from __future__ import annotations

from collections.abc import Mapping

from sweeps.monitor.columns import INDENT
from uniclip.evaluate.datasets.acquisition import describe_ways

MAX_NAMES = 6
"""Names of missing data sets that are listed on a screen."""


def describe_missing_data(
    missing_datasets: Mapping[str, str], *, whole: bool, kind: str = "", data_root: str = ""
) -> list[str]:
    """Return how missing data sets are obtained: a line each, or a few for all unless `whole`.

    Args:
        missing_datasets: data set -> how to get it.
        whole: whether each data set has a line.
        kind: what precedes a name, such as "linear probe on ".
        data_root: the data root, for lines that say how all are obtained; empty: one line.
    """
    if whole or len(missing_datasets) <= 1:
        return [f"n/a: {kind}{name}: {hint}" for name, hint in missing_datasets.items()]
    names = list(missing_datasets)
    if data_root and len(names) > MAX_NAMES:
        ways = describe_ways(names, data_root)
        heading = (
            f"n/a: {len(names)} data sets are missing under data_root={data_root}; "
            "data check NAME says more:"
        )
        return [heading, *(f"{INDENT}{way}" for way in ways)]
    more_text = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return [
        f"n/a: {kind}{', '.join(names[:MAX_NAMES])}{more_text} are missing; "
        "python sweep.py data check shows how to get them"
    ]
