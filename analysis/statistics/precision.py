"""Precision: how many decimals of a number its standard error supports."""

from __future__ import annotations

import math

DEFAULT_DECIMALS, MAX_DECIMALS = 1, 6
MAX_TWO_DIGITS, MAX_ONE_DIGIT = 354, 949
"""Bounds of the first three digits of a standard error: up to the first, two of its digits are
kept; up to the second, one; above, it is rounded up to 1000 and two digits are kept."""


def count_decimals(standard_error: float | None) -> int:
    """Return the decimals to which a number with this standard error is rounded, 0 to 6.

    This is the rounding rule of the Particle Data Group (Review of Particle Physics, section 5.3
    of the introduction). An unknown standard error, or one of 0, gives one decimal.
    """
    if standard_error is None or not math.isfinite(standard_error) or standard_error <= 0:
        return DEFAULT_DECIMALS
    exponent = math.floor(math.log10(standard_error))
    first_digits = round(standard_error / 10.0**exponent * 100)
    decimals = 1 - exponent if first_digits <= MAX_TWO_DIGITS else -exponent
    return min(max(decimals, 0), MAX_DECIMALS)
