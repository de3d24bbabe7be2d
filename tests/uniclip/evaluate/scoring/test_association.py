"""WinoGAViL: the Jaccard index by hand and by scikit-learn, and its chance level."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import stub_models
from tests.helpers.winogavil_tree import write_tree
from uniclip import evaluate
from uniclip.evaluate.scoring.association import compute_jaccard, expect_jaccard


def test_the_index_of_a_model_that_knows_two_of_three_cues(tmp_path: Path) -> None:
    write_tree(tmp_path)
    of = stub_models.config({"name": "scenes"})
    of = replace(of, runtime=replace(of.runtime, data_root=str(tmp_path)))
    nearest = {"A bald": (0, 4), "An orange": (1, 4), "A west": (0, 2)}

    def texts(prompts: list[str]) -> np.ndarray:
        return np.stack([np.eye(5)[list(nearest[p])].sum(axis=0) for p in prompts])

    model = stub_models.Stub(of, lambda pixels, vectors: np.eye(5), texts)
    scores, predictions = evaluate.evaluate("winogavil", model, of)
    by_name = {s.name: s for s in scores}
    assert predictions["association.jaccard"].tolist() == pytest.approx([1, 1, 1 / 3])
    assert by_name["association.jaccard"].value == pytest.approx(7 / 9)
    assert by_name["association.jaccard"].chance == pytest.approx(expect_jaccard(5, 2))
    assert by_name["association.jaccard[5-6]"].value == pytest.approx(7 / 9)
    assert "association.jaccard[10-12]" not in by_name
    assert len(set(predictions["family"].tolist())) == 1, "all cues have the same candidates"
    assert evaluate.build_protocol("winogavil", of)["metric"] == "jaccard"


def test_the_index_equals_that_of_scikit_learn() -> None:
    from sklearn.metrics import jaccard_score

    generator = np.random.default_rng(0)
    for _ in range(50):
        size = int(generator.integers(5, 13))
        similarity = generator.normal(size=size)
        truth = np.zeros(size, bool)
        truth[generator.permutation(size)[: generator.integers(2, 5)]] = True
        chosen = np.isin(np.arange(size), np.argsort(similarity)[-truth.sum() :])
        expected = jaccard_score(truth, chosen)
        assert compute_jaccard(similarity, truth) == pytest.approx(expected, abs=1e-12)


def test_a_tie_is_broken_against_the_model() -> None:
    assert compute_jaccard(np.zeros(4), np.array([True, True, False, False])) == 0
    assert compute_jaccard(np.zeros(3), np.array([True, True, False])) == 1 / 3


@pytest.mark.parametrize(("size", "k"), [(5, 2), (6, 3), (10, 2), (12, 4)])
def test_chance_is_the_mean_over_all_choices(size: int, k: int) -> None:
    truth = set(range(k))
    values = [
        len(truth & set(choice)) / len(truth | set(choice))
        for choice in itertools.combinations(range(size), k)
    ]
    assert expect_jaccard(size, k) == pytest.approx(np.mean(values))
