"""`diff`: the keys in which two cells differ."""

from __future__ import annotations

import pytest

from tests.helpers.command_line import execute
from tests.sweeps.cli import OVERRIDES


def test_diff_names_the_keys_in_which_two_cells_differ(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert execute("diff", *OVERRIDES, "no-awareness/1") == 0
    text = capsys.readouterr().out
    assert "1 keys differ" in text
    assert "method.augmentation_input" in text
    assert execute("diff", *OVERRIDES, "full/0", "full/1") == 0
    assert "seed" in capsys.readouterr().out
    assert execute("diff", *OVERRIDES, "full/0", "full/0") == 0
    assert "the same run" in capsys.readouterr().out
