"""The private cluster that the tests of this folder share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from cluster import INSTALL, Cluster, lacking


def require_slurm() -> None:
    """Skip where Slurm is not installed; fail instead where UNICLIP_SLURM=required."""
    if missing := lacking():
        said = f"no {', '.join(missing)} here: {INSTALL}"
        if os.environ.get("UNICLIP_SLURM") == "required":
            pytest.fail(said, pytrace=False)
        pytest.skip(said)


@pytest.fixture(scope="session")
def _running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    require_slurm()
    cluster = Cluster(tmp_path_factory.mktemp("slurm")).start()
    yield cluster
    cluster.close()


@pytest.fixture
def cluster(_running: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """An idle cluster; this process and its children see no other."""
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, _running.environment[name])
    yield _running
    _running.clear()
