"""What is known of an optimizer without importing torch here: another process is asked once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from uniclip.config.library_query import NoAnswerError, ask, recall_answer

QUERY_MODULE = "uniclip.training.optimizer_query"
QUERY_VERSIONS = (1, "timm", "torch")
"""The version of the question's code, and the libraries that answer."""


def describe_problem(name: str, options: Mapping[str, Any]) -> str | None:
    """Return why training cannot use an optimizer of timm, as one line for the user; else None.

    Args:
        name: Its name in timm's factory.
        options: Its keyword arguments.
    """
    question = {"name": name, "options": dict(options)}
    notice = f"asking timm about train.optimizer={name}, once ..."
    try:
        answer = recall_answer(
            "optimizers", question, QUERY_VERSIONS, lambda: ask(QUERY_MODULE, question, notice)
        )
    except NoAnswerError:
        return None
    error = answer.get("error")
    return None if error is None else str(error)
