"""Shapley values from a sample of orders: the error of the sample apart from that of the seeds.

What a component adds in each order and seed is a table with two random factors, as in
`item_clusters`: seeds, and orders. An order and its reverse are one draw, since they are drawn
together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.item_clusters import estimate_two_way

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class OrderSample:
    """Uncertainty of a mean over sampled orders."""

    num_orders: int
    sampling_se: float
    """Standard error of the mean due to the choice of orders, without what seeds add to it."""
    low: float | None
    high: float | None
    """95 % interval for new seeds and new orders; None below two seeds."""


def estimate_order_sample(gains: Floats) -> OrderSample | None:
    """Estimate the uncertainty of the mean gain of a component.

    Args:
        gains: (seeds, orders) what the component adds; columns 2i and 2i + 1 are an order and its
            reverse.

    Returns:
        The uncertainty; None below two pairs of orders.
    """
    num_seeds, num_orders = gains.shape
    num_pairs = num_orders // 2
    if num_pairs < 2 or num_seeds < 1:
        return None
    pairs = gains[:, : 2 * num_pairs].reshape(num_seeds, num_pairs, 2).mean(-1)
    variance = float(pairs.mean(0).var(ddof=1))
    if num_seeds > 1:
        residuals = pairs - pairs.mean(0) - pairs.mean(1, keepdims=True) + pairs.mean()
        residual_df = (num_seeds - 1) * (num_pairs - 1)
        variance -= float((residuals**2).sum()) / residual_df / num_seeds
    two_way = estimate_two_way(pairs)
    return OrderSample(
        num_orders=num_orders,
        sampling_se=math.sqrt(max(variance, 0.0) / num_pairs),
        low=two_way.low if two_way is not None else None,
        high=two_way.high if two_way is not None else None,
    )
