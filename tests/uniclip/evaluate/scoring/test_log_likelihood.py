from __future__ import annotations

import math

import numpy as np
import pytest

from uniclip.evaluate.protocols.protocol import MAX_TEMPERATURE, MIN_TEMPERATURE
from uniclip.evaluate.scoring import log_likelihood, retrieval

SIZES = [(1, 1), (3, 2), (17, 5), (40, 8)]
"""Images, and dimensions; the number of captions of an image is one to four."""


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def draw(n, d, signal=1.5, seed=0):
    """Images, texts and pairs; texts are images with noise, and some belong to two images."""
    random = np.random.default_rng(seed)
    images = random.normal(size=(n, d))
    captions = [[f"{i}.{j}" for j in range(random.integers(1, 5))] for i in range(n)]
    for i in range(1, n, 4):
        captions[i].append(captions[i - 1][0])
    pairs = retrieval.build_image_text_pairs(captions)
    image_of_text = [int(text.split(".")[0]) for text in pairs.texts]
    texts = signal * images[image_of_text] + random.normal(size=(len(pairs.texts), d))
    return unit(images), unit(texts), pairs


def literal_likelihoods(images, texts, pairs, temperature):
    """The definition, one query at a time, in float64."""
    logits = images.astype(np.float64) @ texts.astype(np.float64).T / temperature
    correct = set(zip(*(index.tolist() for index in pairs.list_correct())))

    def likelihood(row, right):
        log_sum = np.logaddexp.reduce(row)
        return sum(row[k] - log_sum for k in right) / len(right)

    num_images, num_texts = logits.shape
    to_text = [
        likelihood(logits[i], [t for t in range(num_texts) if (i, t) in correct])
        for i in range(num_images)
    ]
    to_image = [
        likelihood(logits[:, t], [i for i in range(num_images) if (i, t) in correct])
        for t in pairs.text_index
    ]
    return np.array(to_text), np.array(to_image)


@pytest.mark.parametrize(("n", "d"), SIZES)
@pytest.mark.parametrize("temperature", [MIN_TEMPERATURE, 0.07, MAX_TEMPERATURE])
def test_equals_the_literal_twin_in_any_blocks(monkeypatch, n, d, temperature):
    images, texts, pairs = draw(n, d)
    expected = literal_likelihoods(images, texts, pairs, temperature)
    for block in (1, 7 * len(texts), 1 << 20):
        monkeypatch.setattr(log_likelihood, "SIMILARITIES_PER_BLOCK", block)
        computed = log_likelihood.compute_log_likelihoods(images, texts, pairs, temperature)
        for way, expected_way in zip(computed, expected):
            assert way.dtype == np.float64
            # the inner products are float32: their rounding is divided by the temperature
            assert way == pytest.approx(expected_way, rel=1e-5, abs=5e-7 / temperature)


def literal_temperature(images, texts, pairs):
    """The best of a fine grid, refined three times around the best point."""
    low, high = math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE)
    for _ in range(4):
        grid = np.linspace(low, high, 41)
        losses = [
            -np.mean([way.mean() for way in literal_likelihoods(images, texts, pairs, math.exp(x))])
            for x in grid
        ]
        best, step = grid[int(np.argmin(losses))], grid[1] - grid[0]
        low, high = max(low, best - step), min(high, best + step)
    return math.exp(best)


@pytest.mark.parametrize(("n", "d"), SIZES[1:3])
def test_the_temperature_equals_that_of_a_literal_search(n, d):
    images, texts, pairs = draw(n, d, seed=3)
    fitted = log_likelihood.fit_temperature(images, texts, pairs)
    assert fitted == pytest.approx(literal_temperature(images, texts, pairs), rel=2e-3)
    assert fitted == log_likelihood.fit_temperature(images, texts, pairs)


def test_the_loss_has_one_minimum_in_the_temperature():
    """It is convex in 1 / T: second differences on an even grid of 1 / T are never negative."""
    images, texts, pairs = draw(30, 6, seed=4)
    inverse = np.linspace(0.5, 60, 120)
    losses = [
        -np.mean([w.mean() for w in literal_likelihoods(images, texts, pairs, 1 / x)])
        for x in inverse
    ]
    assert (np.diff(losses, 2) > -1e-12).all()


def test_bounds_are_reached_by_perfect_and_by_random_models():
    identity = np.eye(40, dtype=np.float32)
    pairs = retrieval.build_image_text_pairs([[str(i)] for i in range(40)])
    # float64 rounds the loss of a perfect model to 0 below some temperature: any of these is best
    assert log_likelihood.fit_temperature(identity, identity, pairs) < 0.05
    against = log_likelihood.fit_temperature(identity, -identity, pairs)
    assert against == pytest.approx(MAX_TEMPERATURE, rel=1e-4)


def test_a_wrong_scale_of_the_rows_changes_the_temperature_and_not_the_score():
    """What a fixed temperature would punish: the same order of keys, at half the spread."""
    images, texts, pairs = draw(60, 8, seed=5)
    fits = [log_likelihood.fit_temperature(rows, texts, pairs) for rows in (images, images / 2)]
    assert fits[0] == pytest.approx(2 * fits[1], rel=1e-4)
    values = [
        np.mean(log_likelihood.compute_log_likelihoods(rows, texts, pairs, fit)[0])
        for rows, fit in zip((images, images / 2), fits)
    ]
    fixed = [
        np.mean(log_likelihood.compute_log_likelihoods(rows, texts, pairs, 0.07)[0])
        for rows in (images, images / 2)
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-4)
    assert abs(fixed[0] - fixed[1]) > 0.1


def test_a_diverged_model_is_at_chance():
    pairs = retrieval.build_image_text_pairs([[str(i)] for i in range(8)])
    rows = np.full((8, 3), np.nan, np.float32)
    temperature = log_likelihood.fit_temperature(rows, rows, pairs)
    computed = log_likelihood.compute_log_likelihoods(rows, rows, pairs, temperature)
    chance = log_likelihood.compute_chance_log_likelihoods(pairs)
    assert chance == pytest.approx((-math.log(8), -math.log(8)))
    assert [way.mean() for way in computed] == pytest.approx(chance)
