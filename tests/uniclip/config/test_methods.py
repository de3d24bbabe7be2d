"""Methods: which views they need; positives and negatives of an anchor, by hand and by gradient."""

from __future__ import annotations

import itertools

import pytest
import torch

from tests.helpers import reference_losses
from tests.helpers.small_runs import of_method
from uniclip.config import UniclipMethod, ViewsConfig
from uniclip.config.losses import MULTI_POSITIVE_LOSSES
from uniclip.errors import UserError

N = 3
BY_HAND = [
    # 3 views: 2 others and the text; 3 * 31 and 2 * 31 images of 31 other samples.
    ("uniclip", {}, {"ii+": 2, "it+": 1, "ti+": 3, "ii-": 93, "it-": 31, "ti-": 93, "tt-": 31}),
    # Image-image positives have weight 0, so no negatives of their domain or slot count.
    (
        "uniclip",
        {"negatives": "domain", "positive_weights": [0, 1, 1]},
        {"it+": 1, "ti+": 3, "it-": 31, "ti-": 93},
    ),
    (
        "uniclip",
        {"negatives": "slot", "positive_weights": [0, 1, 1]},
        {"it+": 1, "ti+": 3, "it-": 31, "ti-": 93},
    ),
    (
        "uniclip",
        {"loss": "multi_view_info_nce", "positive_weights": [0, 1, 1]},
        {"it+": 1, "ti+": 3, "it-": 31, "ti-": 93},
    ),
    (
        "uniclip",
        {"negatives": "domain"},
        {"ii+": 2, "it+": 1, "ti+": 3, "ii-": 93, "it-": 31, "ti-": 93},
    ),
    (
        "uniclip",
        {"negatives": "slot"},
        {"ii+": 2, "it+": 1, "ti+": 3, "ii-": 62, "it-": 31, "ti-": 93},
    ),
    # No text is an anchor; the negatives of an image's other views are of both domains.
    ("uniclip", {"positive_weights": [1, 0, 0]}, {"ii+": 2, "ii-": 93, "it-": 31}),
    ("uniclip", {"positive_weights": [1, 0, 0], "negatives": "domain"}, {"ii+": 2, "ii-": 93}),
    ("slip", {"ssl_weight": 0}, {"it+": 1, "ti+": 1, "it-": 31, "ti-": 31}),
    # Neighbors alone: each view has two; a text has no image, because one direction is contrasted.
    ("declip", {"loss_weights": [0, 1, 0, 0]}, {"it+": 2, "it-": 62}),
    (
        "declip",
        {"loss_weights": [1, 0, 1, 0]},
        {"ii+": 1, "it+": 2, "ti+": 2, "it-": 62, "ti-": 62},
    ),
]


@pytest.mark.parametrize(("name", "method", "expected"), BY_HAND)
def test_counts_equal_those_by_hand(name, method, expected):
    views = {"uniclip": {"num_strong": 2}}.get(name, {})
    config = of_method(name, method=method, views=views)
    counts = config.method.count_pairs(config.views, 32)
    assert {kind: count for kind, count in counts.items() if count} == expected


CASES = [
    (loss, negatives, weights, views)
    for loss, negatives, weights, views in itertools.product(
        MULTI_POSITIVE_LOSSES,
        ("all", "domain", "slot", "not_text_text"),
        ("balanced", "uniform", (0.0, 1.0, 1.0), (1.0, 0.0, 0.0)),
        (1, 3),
    )
    if negatives == "all" or loss in ("mp_nce", "sup_con")
]


def count_negatives_with_gradient(loss, negatives, weights, views):
    """Return by kind the most negatives of an anchor whose score has a gradient."""
    slot = torch.arange(views + 1).repeat(N)
    sample, domain = torch.arange(N).repeat_interleave(views + 1), (slot == views).long()
    scores = torch.zeros(len(slot), len(slot), requires_grad=True)
    member = MULTI_POSITIVE_LOSSES[loss]
    switches = {
        "denominator": member.denominator,
        "aggregate": member.aggregate,
        "negatives": member.negatives or negatives,
    }
    inputs = (torch.zeros(len(slot), 1), sample, domain, slot, scores, None)
    value = reference_losses.multi_positive(*inputs, weights=weights, **switches)
    gradient = torch.zeros_like(scores)
    if value is not None:
        (gradient,) = torch.autograd.grad(value, scores)
    is_negative = (gradient != 0) & (sample[:, None] != sample)
    kinds = {"ii-": (0, 0), "it-": (0, 1), "ti-": (1, 0), "tt-": (1, 1)}
    return {
        kind: int(is_negative[domain == a][:, domain == b].sum(1).max())
        for kind, (a, b) in kinds.items()
    }


@pytest.mark.parametrize(("loss", "negatives", "weights", "views"), CASES)
def test_counted_negatives_are_those_with_a_gradient(monkeypatch, loss, negatives, weights, views):
    # The reference gets each score from `score`: here a separate leaf for each ordered pair.
    monkeypatch.setattr(reference_losses, "score", lambda z, domain, scores, _, i, j: scores[i, j])
    method = UniclipMethod(loss=loss, negatives=negatives, positive_weights=weights)
    counts = method.count_pairs(ViewsConfig(num_weak=views, num_strong=0), N)
    expected = count_negatives_with_gradient(loss, negatives, weights, views)
    assert {kind: counts[kind] for kind in expected} == expected


def test_methods_reject_wrong_numbers_of_views():
    with pytest.raises(UserError, match=r"views.num_strong=2"):
        of_method("slip", views={"num_strong": 1})
    with pytest.raises(UserError, match="two views"):
        of_method("declip", views={"num_strong": 3})
