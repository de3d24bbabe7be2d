"""Refusals of configuration: one line, in the user's words."""

from __future__ import annotations

import re
from typing import Any

import pytest

from uniclip.errors import UserError

JARGON = re.compile(r"hydra|\+key|\+\w+=|multirun|search ?path|omegaconf|override|struct", re.I)


def refused(match: str, action: Any, *arguments: Any) -> None:
    """One line, and no word of the machinery that the user did not type."""
    with pytest.raises(UserError, match=match) as caught:
        action(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    said = [str(a) for a in arguments]
    assert not [w for w in JARGON.findall(message) if not any(w in s for s in said)], message
