"""Questions to another process: answered, or not."""

from __future__ import annotations

import pytest

from uniclip.config import library_query


def test_no_answer_is_an_error_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(library_query.NoAnswerError):
        library_query.ask("uniclip.errors", {}, "asking ...")  # prints nothing
    assert capsys.readouterr().err == "asking ...\n"
