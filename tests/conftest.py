"""Surroundings that every test finds alike."""

from __future__ import annotations

import pytest

from uniclip.config import plugins


@pytest.fixture(autouse=True)
def no_user_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the width of the caller's terminal, and afterwards the plug-ins of the test."""
    for name in ("COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(plugins, "_plugin_paths", dict(plugins._plugin_paths))
