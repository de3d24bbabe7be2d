"""Test images with the captions that a model retrieves."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers import stub_models
from tests.helpers.scene_oracles import DATA, N, encode_captions, evaluate_stub, one_hot, read_truth
from uniclip import data, rng


@pytest.fixture(scope="module")
def truth():
    return read_truth()


def test_examples_are_fixed_and_state_whether_they_are_correct(truth):
    stub = stub_models.Stub(
        stub_models.config(DATA), lambda pixels, vectors: one_hot(truth), encode_captions
    )
    _, predictions = evaluate_stub(stub)
    chosen = np.sort(rng.permutation(rng.derive_key("evaluate", "examples"), N)[:12])
    own = data.open_split(stub.config.data, "test")
    assert predictions["examples.image_names"].tolist() == [own.sample_names[i] for i in chosen]
    assert predictions["examples.images"].shape == (12, 3, 64, 64)
    assert predictions["examples.captions"].shape == (12, 5)
    assert predictions["examples.is_correct"][:, 0].all()
    assert not predictions["examples.is_correct"][:, 1:].any()
    assert all(array.dtype != object for array in predictions.values())
