"""Whether training can use an optimizer: tried on small parameters, through a checkpoint."""

from __future__ import annotations

import pytest

from uniclip.checkpoints import tensor_file
from uniclip.training import optimizer_query

NAMES = ("lamb", "lion", "adafactor", "adan", "muon", "sgd")
"""Names whose states differ in kind: values of groups, numbers, booleans, and next to none."""


@pytest.mark.parametrize("name", NAMES)
def test_the_query_finds_them_resumable(name):
    assert optimizer_query.describe_optimizer(name, {}) == {"error": None}


def test_the_query_finds_what_a_checkpoint_would_lose(monkeypatch):
    flatten = tensor_file.flatten_optimizer_state
    monkeypatch.setattr(
        optimizer_query,
        "flatten_optimizer_state",
        lambda optimizer: {
            k: v for k, v in flatten(optimizer).items() if not k.startswith("optimizer_group")
        },
    )
    error = optimizer_query.describe_optimizer("lamb", {})["error"]
    assert error == "train.optimizer=lamb is not supported: it cannot be resumed exactly"
