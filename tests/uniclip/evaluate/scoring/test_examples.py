"""Test images with the captions that a model retrieves."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers import stub_models
from uniclip import data, evaluate, rng
from uniclip.data.scenes.attributes import ATTRIBUTES
from uniclip.evaluate.benchmarks import scenes_scores

N = 96


DATA = {"name": "scenes", "num_train": 64, "num_test": N}


@pytest.fixture(scope="module")
def truth():
    test = data.open_split(stub_models.config(DATA).data, "test")
    return np.stack([test.labels[name] for name in ATTRIBUTES], axis=1)


def spoken(texts):
    """The attributes that captions name, one-hot, (n, 20)."""
    place = {caption: i for i, caption in enumerate(scenes_scores.list_captions())}
    rows = np.array(np.unravel_index([place[t] for t in texts], scenes_scores.ATTRIBUTE_SIZES)).T
    return one_hot(rows)


def one_hot(rows):
    return np.concatenate(
        [np.eye(n)[rows[:, i]] for i, n in enumerate(scenes_scores.ATTRIBUTE_SIZES)], axis=1
    )


def evaluated(stub):
    return evaluate.evaluate("scenes", stub, stub.config)


def test_examples_are_fixed_and_state_whether_they_are_correct(truth):
    stub = stub_models.Stub(
        stub_models.config(DATA), lambda pixels, vectors: one_hot(truth), spoken
    )
    _, predictions = evaluated(stub)
    chosen = np.sort(rng.permutation(rng.derive_key("evaluate", "examples"), N)[:12])
    own = data.open_split(stub.config.data, "test")
    assert predictions["examples.image_names"].tolist() == [own.sample_names[i] for i in chosen]
    assert predictions["examples.images"].shape == (12, 3, 64, 64)
    assert predictions["examples.captions"].shape == (12, 5)
    assert predictions["examples.is_correct"][:, 0].all()
    assert not predictions["examples.is_correct"][:, 1:].any()
    assert all(array.dtype != object for array in predictions.values())
