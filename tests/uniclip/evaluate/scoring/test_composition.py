"""Scores of composition, against hand-made similarities and a literal count."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import composition_trees
from uniclip.evaluate import datasets
from uniclip.evaluate.comparison import compare_scores
from uniclip.evaluate.datasets.images import ArrayReader, ImageDataset
from uniclip.evaluate.metrics import Numbers
from uniclip.evaluate.scoring.composition import CHANCE_OF_PAIRS, score_composition
from uniclip.evaluate.scoring.score_card import ScoreCard


def make_images(
    captions: list[tuple[str, ...]], labels: list[int], pairs: list[int] | None = None
) -> ImageDataset:
    n = len(captions)
    return ImageDataset(
        name="made",
        split="test",
        kind="composition",
        metric="accuracy",
        ids=tuple(map(str, range(n))),
        reader=ArrayReader(np.zeros((n, 2, 2, 3), np.uint8)),
        labels=np.array(labels),
        classes=tuple(f"category {i}" for i in range(max(labels) + 1)),
        captions=tuple(captions),
        pairs=None if pairs is None else np.array(pairs),
    )


def score(images: Numbers, captions: Numbers, test: ImageDataset) -> dict[str, float]:
    score_card = ScoreCard()
    score_composition(score_card, images, captions, test)
    return {s.name: s.value for s in score_card.get_results()[0]}


def unit_rows(generator: np.random.Generator, *shape: int) -> Numbers:
    rows = generator.normal(size=shape)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def test_the_correct_caption_must_be_nearer_than_every_other() -> None:
    images = np.eye(3)
    captions = np.array(
        [
            [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
            [[0, 1, 0], [0, 1, 0], [1, 0, 0]],  # a tie is wrong
            [[0, 1, 0], [1, 0, 0], [0, 0, 1]],
        ],
        float,
    )
    test = make_images([("b", "aa", "aa"), ("aa", "b", "b"), ("c", "d", "ee")], [0, 1, 1])
    scores = score(images, captions, test)
    assert scores["composition.text"] == pytest.approx(1 / 3)
    assert scores["composition.text[category 0]"] == 1
    assert scores["composition.text[category 1]"] == 0
    assert scores["composition.blind.short"] == pytest.approx((1 + 0 + 0.75) / 3)
    assert scores["composition.blind.prior"] == pytest.approx(0.5), "all captions tie"


def test_images_that_show_one_picture_are_one_cluster() -> None:
    """Their outcomes are alike: intervals of their mean must not count them as independent."""
    generator = np.random.default_rng(1)
    pictures = np.repeat(np.arange(30), 5)
    test = replace(make_images([("a", "b")] * 150, [0] * 150), picture_rows=pictures)
    images, results = unit_rows(generator, 30, 8)[pictures], []
    for _ in range(2):
        score_card = ScoreCard()
        score_card.add_array("ids", np.arange(150, dtype=np.uint64))
        score_composition(score_card, images, unit_rows(generator, 150, 2, 8), test)
        results.append(score_card.get_results())
    assert results[0][1]["family"].tolist() == pictures.tolist()
    differences = {d.score: d for d in compare_scores(*results)}
    for name in ("composition.text", "composition.blind.prior"):
        assert (differences[name].num_samples, differences[name].num_clusters) == (150, 30)


def test_scores_of_pairs_equal_a_literal_count() -> None:
    generator = np.random.default_rng(0)
    number, dimension = 40, 4
    images = unit_rows(generator, 2 * number, dimension)
    own = unit_rows(generator, 2 * number, dimension)
    order = generator.permutation(np.repeat(np.arange(number), 2))
    partner = np.array(
        [next(j for j in range(80) if j != i and order[j] == order[i]) for i in range(80)]
    )
    test = make_images([("x", "y")] * 80, [int(o) % 2 for o in order], order.tolist())
    scores = score(images, np.stack([own, own[partner]], axis=1), test)
    counts = {"text": 0, "image": 0, "group": 0}
    for pair in range(number):
        i, j = np.flatnonzero(order == pair)
        text = images[i] @ own[i] > images[i] @ own[j] and images[j] @ own[j] > images[j] @ own[i]
        image = images[i] @ own[i] > images[j] @ own[i] and images[j] @ own[j] > images[i] @ own[j]
        counts["text"] += text
        counts["image"] += image
        counts["group"] += text and image
    for name, count in counts.items():
        assert scores[f"composition.{name}"] == pytest.approx(count / number)
        halves = [scores[f"composition.{name}[category {c}]"] for c in (0, 1)]
        assert np.mean(halves) == pytest.approx(count / number)
    assert scores["composition.blind.short"] == 0.5


def test_chance_is_what_random_similarities_reach() -> None:
    generator = np.random.default_rng(1)
    number = 4_000
    images = unit_rows(generator, 2 * number, 60)
    own = unit_rows(generator, 2 * number, 60)
    others = own.reshape(number, 2, 60)[:, ::-1].reshape(-1, 60)
    pairs = np.repeat(np.arange(number), 2)
    test = make_images([("x", "y")] * 2 * number, [0] * 2 * number, pairs.tolist())
    scores = score(images, np.stack([own, others], axis=1), test)
    for name, chance in CHANCE_OF_PAIRS.items():
        error = np.sqrt(chance * (1 - chance) / number)
        assert scores[f"composition.{name}"] == pytest.approx(chance, abs=4 * error)


@pytest.mark.skipif(not importlib.util.find_spec("clip_benchmark"), reason="needs CLIP_benchmark")
def test_scores_equal_those_of_clip_benchmark(tmp_path: Path) -> None:
    import torch
    from clip_benchmark.metrics.image_caption_selection import evaluate

    composition_trees.winoground(tmp_path)
    test = datasets.get("winoground").open(tmp_path, "test")
    generator = np.random.default_rng(2)
    images, own = unit_rows(generator, 6, 5), unit_rows(generator, 6, 5)
    others = own.reshape(3, 2, 5)[:, ::-1].reshape(6, 5)
    ours = score(images, np.stack([own, others], axis=1), test)

    class Model:
        def encode_image(self, rows: torch.Tensor) -> torch.Tensor:
            return torch.tensor(images)[rows.flatten(1)[:, 0].long()]

        def encode_text(self, rows: torch.Tensor) -> torch.Tensor:
            return torch.tensor(own)[rows]

    row_of_caption = {captions[0]: i for i, captions in enumerate(test.captions)}
    batch_images = torch.arange(6.0).view(3, 2, 1, 1, 1)
    batch_texts = [[c[0] for c in test.captions[i : i + 2]] for i in (0, 2, 4)]
    theirs = evaluate(
        Model(),
        [(batch_images, batch_texts)],
        lambda texts: torch.tensor([row_of_caption[text] for text in texts]),
        "cpu",
        amp=False,
    )
    assert ours["composition.text"] == pytest.approx(theirs["text_acc"])
    assert ours["composition.image"] == pytest.approx(theirs["image_acc"])
    assert ours["composition.group"] == pytest.approx(theirs["acc"])
