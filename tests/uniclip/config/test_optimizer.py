"""What timm says of an optimizer, asked in another process and remembered."""

from __future__ import annotations

from pathlib import Path

import pytest

from uniclip.config import library_query
from uniclip.config.optimizer import describe_problem


def test_another_process_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNICLIP_CACHE", str(tmp_path))
    assert describe_problem("lamb", {"betaz": 1}) == (
        "train.optimizer_options do not suit train.optimizer=lamb: Lamb.__init__() got an "
        "unexpected keyword argument 'betaz'"
    )

    def fail(*arguments: object, **options: object) -> None:
        raise OSError

    monkeypatch.setattr(library_query.subprocess, "run", fail)
    assert "betaz" in (describe_problem("lamb", {"betaz": 1}) or "")
    assert describe_problem("lamb", {}) is None, "no answer: nothing is known to be wrong"
