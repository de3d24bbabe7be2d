"""The private Slurm cluster of the tests in this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.helpers.slurm_cluster import Cluster, require_slurm


@pytest.fixture(scope="session")
def _running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    require_slurm()
    cluster = Cluster(tmp_path_factory.mktemp("slurm")).start()
    yield cluster
    cluster.close()


@pytest.fixture
def cluster(_running: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """An idle cluster, which this process and its children use."""
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, _running.environment[name])
    yield _running
    _running.clear()
