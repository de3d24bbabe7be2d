"""Effects averaged over data sets: which sets and contrasts are in them."""

from __future__ import annotations

import pytest

from analysis.results.dataset_means import average_effects
from analysis.results.results import Results


def test_each_contrast_is_averaged_over_the_sets_of_each_mean(published_results: Results) -> None:
    averaged = average_effects(published_results)
    names = [(a.contrast.name, a.column.score, a.column.kind) for a in averaged]
    assert len(names) == len(set(names))
    assert {a.contrast.name for a in averaged} == {c.name for c in published_results.plan.contrasts}
    for effect in averaged:
        assert tuple(effect.by_dataset) == effect.column.datasets
        means = [e.mean for e in effect.by_dataset.values()]
        assert None not in means
        assert effect.estimate.mean == pytest.approx(sum(m for m in means if m) / len(means))
    assert {a.column.kind for a in averaged} == {"accuracy", "recall"}, "kinds are never mixed"
    assert ("full - clip", "zeroshot", "accuracy") in names


def test_without_published_sets_there_is_none(complete_results: Results) -> None:
    assert average_effects(complete_results) == []
