"""What a plan says and checks of the training data before a run starts; never imports torch.

A data source may define `describe_content(config, model)`, which returns sentences for the user,
`list_warnings(config, model)`, which returns those that a user should act on, and
`count_training_samples(config, enough)`, which returns the shares of its training split, or None if
it certainly has `enough` samples. One of a plug-in may lack them: its data are then not described,
and its samples are counted by the audit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from uniclip import data
from uniclip.config import DataConfig, RunConfig
from uniclip.data.source import DataWarning
from uniclip.data.split import SourceShare, allot_rows, check_subset_size


def describe_training_data(configs: Iterable[RunConfig]) -> tuple[str, ...]:
    """Return what the user should know of the training data of these runs, each sentence once.

    Raises:
        UserError: The data cannot be read or used.
    """
    return tuple(_collect(configs, "describe_content"))


def list_data_warnings(configs: Iterable[RunConfig]) -> tuple[DataWarning, ...]:
    """Return what the user should change in the training data of these runs, each once.

    Raises:
        UserError: The data cannot be read or used.
    """
    return tuple(_collect(configs, "list_warnings"))


def _collect(configs: Iterable[RunConfig], function_name: str) -> dict[Any, None]:
    """Return the items of a function of the data sources for all data and models, each once.

    They are the keys of the result, in order.
    """
    items: dict[Any, None] = {}
    described: list[tuple[Any, ...]] = []
    for config in configs:
        inputs = (config.data, config.model.text, config.model.image)
        function = _get_function(config.data, function_name)
        if function is not None and inputs not in described:
            described.append(inputs)
            items.update(dict.fromkeys(function(config.data, config.model)))
    return items


def check_batch_sizes(configs: Iterable[RunConfig]) -> None:
    """Raise `UserError` if a batch or a subset takes more samples than the training split has."""
    checked = []
    for config in configs:
        batch_size, subset_size = config.train.batch_size, config.train.subset_size
        inputs = (config.data, batch_size, subset_size)
        count = _get_function(config.data, "count_training_samples")
        if count is None or inputs in checked:
            continue
        checked.append(inputs)
        enough = max(batch_size, subset_size or 0)
        shares: Sequence[SourceShare] | None = count(config.data, enough)
        if shares is not None:
            allot_rows(shares, batch_size, config.data.name)
            check_subset_size(subset_size, sum(share.stop - share.start for share in shares))


def _get_function(config: DataConfig, name: str) -> Callable[..., Any] | None:
    return getattr(data.SOURCES.get(config.name), name, None)
