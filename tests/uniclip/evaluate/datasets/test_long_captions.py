"""Retrieval with long captions: each format, and the share of captions that are cut."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import long_caption_trees, stub_models
from uniclip import evaluate
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets.long_captions import LONG_CAPTION_DATASETS
from uniclip.evaluate.scoring.retrieval_scores import add_cut_share
from uniclip.evaluate.scoring.score_card import ScoreCard


def test_the_list_has_every_data_set_and_a_mean_of_its_own() -> None:
    assert datasets.read_benchmark("long") == tuple(d.name for d in LONG_CAPTION_DATASETS)
    assert set(long_caption_trees.WRITERS) == set(datasets.read_benchmark("long"))
    assert datasets.get_mean_list("docci") == "long"


@pytest.mark.parametrize("name", long_caption_trees.WRITERS)
def test_captions_are_embedded_without_a_template_and_cut_ones_are_counted(
    name: str, tmp_path: Path
) -> None:
    captions = [caption for _, caption in long_caption_trees.WRITERS[name](tmp_path)]
    of = stub_models.config({"name": "scenes"})
    of = replace(of, runtime=replace(of.runtime, data_root=str(tmp_path)))
    model = stub_models.Stub(
        of,
        lambda pixels, vectors: np.eye(3),
        lambda texts: np.eye(3)[[captions.index(text) for text in texts]],
    )
    scores, _ = evaluate.evaluate(name, model, of)
    values = stub_models.values(scores)
    assert values["retrieval.i2t.r1"] == values["retrieval.t2i.r1"] == 1
    limit = of.model.text.context_length - 2
    cut = sum(len(c.encode()) > limit for c in captions)
    assert values["retrieval.captions_cut"] == pytest.approx(cut / 3)
    assert 0 < cut < 3
    assert evaluate.build_protocol(name, of)["templates"] == ["{}"]


def test_a_template_for_every_data_set_with_classes_is_none_for_captions(tmp_path: Path) -> None:
    of = stub_models.config({"name": "scenes"})
    custom = {"name": "mine", "templates": {"*": ["a {} on white."]}}
    of = replace(of, runtime=replace(of.runtime, data_root=str(tmp_path), protocol=custom))
    assert evaluate.build_protocol("docci", of)["templates"] == ["{}"]
    assert evaluate.build_protocol("svhn", of)["templates"] == ["a {} on white."]


def test_a_caption_of_just_the_context_length_is_not_cut() -> None:
    score_card = ScoreCard()
    add_cut_share(score_card, [74, 75, 76, 77], 75)
    (score,) = score_card.get_results()[0]
    assert (score.name, score.value, score.kind) == ("retrieval.captions_cut", 0.5, "share")
    assert score.report_only
