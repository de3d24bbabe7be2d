from __future__ import annotations

import numpy as np
import pytest

from uniclip.evaluate.scoring import log_likelihood, retrieval
from uniclip.evaluate.scoring.retrieval_scores import score_retrieval
from uniclip.evaluate.scoring.score_card import ScoreCard
from uniclip.store import get_score_kind_traits

TEMPERATURE = 0.2
BOTH_WAYS = ("r1", "mrr", "log_rank", "log_likelihood")
EACH_WAY = ("r1", "r5", "r10", "mrr", "log_rank", "median_rank", "log_likelihood")


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def score(images, texts, pairs, temperature=TEMPERATURE, **options):
    score_card = ScoreCard()
    score_retrieval(score_card, images, texts, pairs, temperature, **options)
    scores, predictions = score_card.get_results()
    return {s.name: s for s in scores}, predictions


@pytest.fixture(scope="module")
def uneven():
    """Five images with one to three captions; one caption belongs to two images."""
    captions = [["a"], ["b", "c", "d"], ["a"], ["e", "f"], ["g"]]
    pairs = retrieval.build_image_text_pairs(captions)
    random = np.random.default_rng(5)
    return unit(random.normal(size=(5, 4))), unit(random.normal(size=(7, 4))), pairs, captions


def literal_scores(images, texts, captions, names):
    """Every score in float64, one query at a time."""
    similarity = images.astype(np.float64) @ texts.astype(np.float64).T
    queries = {
        "i2t": [(similarity[i], [names.index(c) for c in captions[i]]) for i in range(len(images))],
        "t2i": [
            (similarity[:, names.index(c)], [j for j, own in enumerate(captions) if c in own])
            for own_captions in captions
            for c in own_captions
        ],
    }
    values = {}
    for way, rows in queries.items():
        ranks, likelihoods = [], []
        for row, right in rows:
            best = max(row[j] for j in right)
            ranks.append(1 + sum(row[j] > best for j in range(len(row))))
            weights = np.exp(row / TEMPERATURE)
            likelihoods.append(np.mean([np.log(weights[j] / weights.sum()) for j in right]))
        values[f"{way}.mrr"] = np.mean([1 / r for r in ranks])
        values[f"{way}.log_rank"] = np.mean(np.log(ranks))
        values[f"{way}.median_rank"] = np.median(ranks)
        values[f"{way}.log_likelihood"] = np.mean(likelihoods)
        values |= {f"{way}.r{k}": np.mean([r <= k for r in ranks]) for k in (1, 5, 10)}
    for word in BOTH_WAYS:
        values[word] = (values[f"i2t.{word}"] + values[f"t2i.{word}"]) / 2
    return values


def test_every_score_equals_its_literal_twin(uneven):
    images, texts, pairs, captions = uneven
    scores, predictions = score(images, texts, pairs)
    expected = literal_scores(images, texts, captions, list(pairs.texts))
    assert set(scores) == {f"retrieval.{name}" for name in (*expected, "temperature")}
    for name, value in expected.items():
        assert scores[f"retrieval.{name}"].value == pytest.approx(value, rel=1e-5), name
    assert scores["retrieval.temperature"].value == TEMPERATURE
    assert scores["retrieval.temperature"].report_only
    assert predictions["retrieval.t2i.image"].tolist() == [0, 1, 1, 1, 2, 3, 3, 4]


def test_the_outcomes_are_stored_and_their_mean_is_the_score(uneven):
    images, texts, pairs, _ = uneven
    scores, predictions = score(images, texts, pairs)
    for name, stored in scores.items():
        if name.endswith((".median_rank", ".temperature")):
            continue
        outcomes = predictions[name]
        assert outcomes.mean(dtype=np.float64) == pytest.approx(stored.value, rel=1e-5), name
        assert len(outcomes) == stored.num_samples == (8 if ".t2i." in name else 5)
    assert np.median(predictions["retrieval.i2t.rank"]) == scores[
        "retrieval.i2t.median_rank"
    ].value  # fmt: skip


def test_constant_model_scores_chance():
    pairs = retrieval.build_image_text_pairs([["a"], ["b", "c"], ["a"], ["d"], ["e"], ["f"]])
    rows = unit(np.ones((1, 5)))
    scores, _ = score(np.tile(rows, (6, 1)), np.tile(rows, (len(pairs.texts), 1)), pairs)
    assert len(scores) == len(BOTH_WAYS) + 2 * len(EACH_WAY) + 1
    for name, stored in scores.items():
        if name != "retrieval.temperature":
            assert stored.value == pytest.approx(stored.chance), name


def test_an_oracle_is_better_than_chance_in_the_direction_of_every_kind():
    pairs = retrieval.build_image_text_pairs([[str(i)] for i in range(60)])
    rows = np.eye(60, dtype=np.float32)
    scores, _ = score(rows, rows, pairs)
    for name, stored in scores.items():
        higher_is_better = get_score_kind_traits(stored.kind).higher_is_better
        if higher_is_better is not None:
            assert (stored.value > stored.chance) == higher_is_better, name
            assert not stored.report_only
    assert scores["retrieval.mrr"].value == scores["retrieval.i2t.median_rank"].value == 1
    assert scores["retrieval.log_rank"].value == 0


def test_without_a_temperature_there_is_no_log_likelihood(uneven):
    images, texts, pairs, _ = uneven
    scores, predictions = score(images, texts, pairs, None, name="retrieval.caption", ks=())
    words = {name.removeprefix("retrieval.caption.") for name in scores}
    ranks = {
        f"{way}.{word}" for way in ("i2t", "t2i") for word in ("mrr", "log_rank", "median_rank")
    }
    assert words == {"r1", "mrr", "log_rank"} | ranks
    assert not any("likelihood" in name for name in predictions)


def test_equal_captions_are_correct_for_each_other():
    """A caption's images are those of all captions with its tokens, in ranks and likelihoods."""
    captions = [["A dog"], ["a dog"], ["a cat"]]
    pairs = retrieval.build_image_text_pairs(
        captions, lambda texts: [list(text.lower().encode()) for text in texts]
    )
    images = unit(np.array([[1.0, 0], [1, 0], [0, 1]]))
    to_text, to_image = log_likelihood.compute_log_likelihoods(images, images, pairs, 0.01)
    # two keys are equally probable, and both are correct: log 1/2, which no model exceeds
    for way in (to_text, to_image):
        assert way == pytest.approx([np.log(0.5), np.log(0.5), 0])
    assert score(images, images, pairs)[0]["retrieval.mrr"].value == 1
