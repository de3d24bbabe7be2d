"""The benchmark `scenes` with stub models."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers import stub_models
from tests.helpers.scene_oracles import DATA, N, encode_captions, evaluate_stub, one_hot, read_truth
from uniclip import data, evaluate
from uniclip.augmentation import transform
from uniclip.data.scenes.attributes import ATTRIBUTES, DAMAGEABLE_ATTRIBUTES
from uniclip.evaluate.benchmarks import scenes_scores
from uniclip.evaluate.protocols.protocol import MAX_TEMPERATURE

FLIP = transform.VECTOR_COLUMNS.index("flip")


@pytest.fixture(scope="module")
def truth():
    return read_truth()


def test_an_oracle_is_always_right(truth):
    stub = stub_models.Stub(
        stub_models.config(DATA), lambda pixels, vectors: one_hot(truth), encode_captions
    )
    scores, predictions = evaluate_stub(stub)
    value = stub_models.values(scores)
    assert all(v == 1 for name, v in value.items() if name.startswith("minimal"))
    assert value["retrieval.caption.r1"] == value["retrieval.caption.mrr"] == 1
    assert value["retrieval.caption.log_rank"] == 0
    assert value["retrieval.instance.i2t.median_rank"] == 1
    assert value["gap"] == pytest.approx(0, abs=1e-5)
    assert len([name for name in value if name.startswith("minimal")]) == 7 * 4
    for score in scores:
        assert score.num_samples == N
        if score.kind not in ("gap", "error", "rank", "temperature"):
            assert predictions[score.name].mean() == pytest.approx(score.value)
    assert (predictions["labels.side"] == truth[:, -1]).all()


def test_a_constant_model_is_at_chance():
    scores, _ = evaluate_stub(stub_models.Stub(stub_models.config(DATA)))
    for score in scores:
        if score.kind in ("gap", "error"):
            assert score.value == pytest.approx(0, abs=1e-9)
            assert score.chance is None
        elif score.kind == "temperature":
            assert score.value == pytest.approx(MAX_TEMPERATURE, rel=1e-4)  # all are equally good
        else:
            assert score.value == pytest.approx(score.chance), score.name
        assert score.chance in (None, 0.5) or score.name.startswith("retrieval")


def test_embeddings_that_are_not_finite_are_refused():
    stub = stub_models.Stub(
        stub_models.config(DATA), lambda pixels, _: np.full((len(pixels), 4), np.nan)
    )
    with pytest.raises(ValueError, match="not finite"):
        evaluate_stub(stub)


def side_shown(pixels):
    """0 where more light is on the left."""
    light = pixels.astype(float).mean(axis=(1, 2))
    light = np.abs(light - np.median(light, axis=1, keepdims=True))
    half = light.shape[1] // 2
    return (light[:, half:].sum(axis=1) > light[:, :half].sum(axis=1)).astype(int)


def test_awareness_of_flips_needs_the_true_vectors(truth):
    """A model that sees sides and undoes the flips it is told of; half the views are flipped."""
    config = stub_models.config({**DATA, "redraw_prob": {"side": 1.0}})
    given_flips = []

    def images(pixels, vectors):
        flipped = np.zeros(len(pixels)) if vectors is None else vectors[:, FLIP]
        given_flips.append(flipped > 0)
        return np.eye(2)[side_shown(pixels) ^ (flipped > 0)]

    def texts(captions):
        return np.eye(2)[[int(caption.endswith("right")) for caption in captions]]

    scores, predictions = evaluate_stub(stub_models.Stub(config, images, texts))
    value = stub_models.values(scores)
    assert value["minimal.side"] == 1
    assert value["minimal.side.views.true"] == 1
    plain, true, identity, wrong = given_flips[:4]
    assert not plain.any()
    assert not identity.any()
    assert 0.3 < true.mean() < 0.7
    assert value["minimal.side.views.identity"] == pytest.approx(1 - true.mean())
    assert (wrong == np.roll(true, -1)).all()
    assert (predictions["minimal.side.views.wrong"] == (true == wrong)).all()
    for attribute in set(ATTRIBUTES) - {"side"}:
        assert value[f"minimal.{attribute}"] == 0.5
    assert value["minimal.damaged"] == pytest.approx((1 + 4 * 0.5) / 5)
    mean = np.mean([value[f"minimal.{name}.views.wrong"] for name in DAMAGEABLE_ATTRIBUTES])
    assert value["minimal.damaged.views.wrong"] == pytest.approx(mean)
    assert set(ATTRIBUTES) - set(DAMAGEABLE_ATTRIBUTES) == {"shape"}


def test_an_untrained_network_is_near_chance():
    import torch

    from uniclip.checkpoints.pretrained import PretrainedModel
    from uniclip.data.text import tokenizer
    from uniclip.methods import build_method
    from uniclip.models.embedder import build_embedder

    config = stub_models.config({**DATA, "num_test": 96}, model=stub_models.SMALL_MODEL)
    method = build_method(config)
    words = tokenizer.train_bpe(scenes_scores.list_captions(), config.model.text.vocab_size)
    pretrained = PretrainedModel(
        build_embedder(config, words, method.head_type), method, words, config
    )
    before = torch.get_rng_state()
    scores, predictions = evaluate.evaluate("scenes", pretrained, config)
    assert (torch.get_rng_state() == before).all()
    value = stub_models.values(scores)
    assert value["minimal.side"] == pytest.approx(0.5, abs=0.15)
    assert value["retrieval.caption.r1"] < 0.05
    assert predictions["ids"].tolist() == data.open_split(config.data, "test").ids.tolist()
    again = evaluate.evaluate("scenes", pretrained, config)[0]
    assert again == scores
