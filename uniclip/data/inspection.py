"""What a plan says and checks of the training data before a run starts; never imports torch.

A data source may define `describe_content(config, model)`, which returns sentences for the user,
and `count_training_samples(config, enough)`, which returns the shares of its training split, or
None if it certainly has `enough` samples or counting them takes long. One of a plug-in may lack
both: its data are then not described, and its samples are counted by the audit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from uniclip import data
from uniclip.config import DataConfig, RunConfig
from uniclip.data.split import SourceShare, allot_rows


def describe_training_data(configs: Iterable[RunConfig]) -> tuple[str, ...]:
    """Return what the user should know of the training data of these runs, each sentence once.

    Raises:
        UserError: The data cannot be read or used.
    """
    sentences: dict[str, None] = {}
    described: list[tuple[Any, ...]] = []
    for config in configs:
        inputs = (config.data, config.model.text, config.model.image)
        describe = _get_function(config.data, "describe_content")
        if describe is None or inputs in described:
            continue
        described.append(inputs)
        sentences.update(dict.fromkeys(describe(config.data, config.model)))
    return tuple(sentences)


def check_batch_sizes(configs: Iterable[RunConfig]) -> None:
    """Raise `UserError` if a batch takes more samples than the training split has."""
    checked = []
    for config in configs:
        inputs = (config.data, config.train.batch_size)
        count = _get_function(config.data, "count_training_samples")
        if count is None or inputs in checked:
            continue
        checked.append(inputs)
        shares: Sequence[SourceShare] | None = count(config.data, config.train.batch_size)
        if shares is not None:
            allot_rows(shares, config.train.batch_size, config.data.name)


def _get_function(config: DataConfig, name: str) -> Callable[..., Any] | None:
    return getattr(data.SOURCES.get(config.name), name, None)
