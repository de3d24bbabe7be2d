"""In what two recorded numerics classes differ (`uniclip.numerics` computes them)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

LATER_KEYS = ("image_decoder",)
"""Keys that runs of earlier versions, and runs that decode no images, have not: where one is absent
it is unknown, and no difference."""


def list_class_differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Return the keys in which two numerics classes differ; none if they are one class."""
    return [
        key
        for key in dict.fromkeys([*first, *second])
        if first.get(key) != second.get(key)
        and not (key in LATER_KEYS and (key not in first or key not in second))
    ]


def are_one_class(classes: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether no two of these numerics classes differ."""
    distinct: list[Mapping[str, Any]] = []
    for numerics_class in classes:
        if numerics_class not in distinct:
            if any(list_class_differences(numerics_class, other) for other in distinct):
                return False
            distinct.append(numerics_class)
    return True


def drop_unknown_keys(classes: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return classes without the later keys that one of them has not."""
    all_classes = [dict(c) for c in classes]
    unknown = [key for key in LATER_KEYS if not all(key in c for c in all_classes)]
    return [{k: v for k, v in c.items() if k not in unknown} for c in all_classes]
