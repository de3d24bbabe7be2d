"""A plan, and an empty working folder, for the tests of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablations.plan.plan import build_plan
from sweeps.config.request import parse_request
from tests.sweeps.cli import OVERRIDES
from uniclip.store import Plan


@pytest.fixture(scope="session")
def plan() -> Plan:
    """The plan of `OVERRIDES`."""
    return build_plan(parse_request(OVERRIDES).plan_request).plan


@pytest.fixture(autouse=True)
def work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, so that whatever is written by mistake is noticed."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
