"""Test scenes, and the one-hot attributes that a stub model embeds in place of images and texts."""

from __future__ import annotations

import numpy as np

from tests.helpers import stub_models
from uniclip import data, evaluate
from uniclip.data.scenes.attributes import ATTRIBUTES
from uniclip.evaluate.benchmarks import scenes_scores

N = 96
"""Test scenes."""
DATA = {"name": "scenes", "num_train": 64, "num_test": N}


def read_truth():
    """Return the attribute indices of the test scenes, (N, attributes)."""
    test = data.open_split(stub_models.config(DATA).data, "test")
    return np.stack([test.labels[name] for name in ATTRIBUTES], axis=1)


def encode_captions(texts):
    """Return the attributes that captions name, one-hot, (n, 20)."""
    index = {caption: i for i, caption in enumerate(scenes_scores.list_captions())}
    rows = np.array(np.unravel_index([index[t] for t in texts], scenes_scores.ATTRIBUTE_SIZES)).T
    return one_hot(rows)


def one_hot(rows):
    """Return attribute indices (n, attributes) as one-hot rows, (n, 20)."""
    return np.concatenate(
        [np.eye(n)[rows[:, i]] for i, n in enumerate(scenes_scores.ATTRIBUTE_SIZES)], axis=1
    )


def evaluate_stub(stub):
    """Return the scores and predictions of a stub model on scenes."""
    return evaluate.evaluate("scenes", stub, stub.config)
