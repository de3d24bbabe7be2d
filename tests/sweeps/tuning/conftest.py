"""Storages of Optuna that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.helpers.postgres_server import start_postgres


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A private PostgreSQL server."""
    with start_postgres() as url:
        yield url
