"""The vocabulary of the tests of methods."""

from __future__ import annotations

import pytest

from tests.helpers.small_models import train_small_tokenizer


@pytest.fixture(scope="session")
def vocabulary():
    return train_small_tokenizer()
