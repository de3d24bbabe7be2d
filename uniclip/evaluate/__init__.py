"""Evaluation of a trained model: benchmarks, their protocols, and what each gives.

A benchmark is a module with four functions of the data section that it is judged on: `source`,
`missing`, `protocol`, `evaluate`. Nothing here imports torch, or numpy even, until a model is
evaluated: a plan names protocols and says what is missing, and starts at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uniclip.data
from uniclip import identity
from uniclip.config.binding import to_builtins
from uniclip.errors import make_unknown_name_error
from uniclip.evaluate import datasets
from uniclip.evaluate.cache import Cache

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from uniclip.checkpoints.pretrained import PretrainedModel
    from uniclip.config import RunConfig
    from uniclip.store import Score

BENCHMARKS: dict[str, str] = {
    "openmoji": "uniclip.evaluate.benchmarks.openmoji",
    "scenes": "uniclip.evaluate.benchmarks.scenes",
    "csv": "uniclip.evaluate.benchmarks.csv",
    "mix": "uniclip.evaluate.benchmarks.mix",
}
"""Benchmark data sets, and the module of each."""


GIGABYTE = 10**9


def expand_benchmarks(
    entries: Sequence[str], folders: Sequence[Path] = (datasets.CONF,)
) -> tuple[str, ...]:
    """The data sets of a benchmark, lists such as `bench14` written out (and the user's own in her
    `folders`); `UserError` names what is neither a data set nor a list."""
    names: list[str] = []
    for name in entries:
        is_list = name in datasets.list_benchmarks(folders)
        names += (
            datasets.read_benchmark(name, folders, extra_names=BENCHMARKS) if is_list else [name]
        )
    for name in names:
        _require_known(name)
    return tuple(dict.fromkeys(names))


def build_protocol(
    name: str, config: RunConfig, cache_folder: Path | None = None
) -> dict[str, Any]:
    """Everything that a score of benchmark `name` depends on besides the model, as plain JSON.

    It depends on what is evaluated only: the run's data section counts where it is the evaluated
    one. The store's `cache` folder knows of data that is gone by now. Raises `UserError` for an
    unknown name, or for a CSV file that cannot be read.
    """
    module = _load_benchmark(name, config, cache_folder)
    source = module.source(config)
    record: dict[str, Any] = to_builtins(
        {
            "benchmark": name,
            "split": "test",
            **({"data": uniclip.data.fingerprint(source)} if name in BENCHMARKS else {}),
            **module.protocol(source),
        }
    )
    return record


def evaluation_hash(name: str, config: RunConfig, cache_folder: Path | None = None) -> str:
    """8 hex digits over the protocol: what scores of one data set are kept under."""
    return identity.digest(build_protocol(name, config, cache_folder), 8)


def describe_missing(name: str, config: RunConfig, cache_folder: Path | None = None) -> str | None:
    """What benchmark `name` lacks here and how to get it; None if it can be run."""
    module = _load_benchmark(name, config, cache_folder)
    reason: str | None = module.missing(config)
    if reason is not None or name not in BENCHMARKS:
        return reason
    return uniclip.data.describe_missing(module.source(config))


def describe_missing_probe_data(
    name: str, config: RunConfig, cache_folder: Path | None = None
) -> str | None:
    """What benchmark `name`, which can be run, lacks for a linear probe; None if nothing."""
    if name in BENCHMARKS:
        return None
    reason: str | None = _load_benchmark(name, config, cache_folder).unprobed(config)
    return reason


def evaluate(
    name: str,
    pretrained: PretrainedModel,
    config: RunConfig,
    cache_folder: Path | None = None,
    weights_hash: str = "",
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[tuple[Score, ...], dict[str, NDArray[np.generic]]]:
    """The scores of a model on the test split of benchmark `name`, and what lies behind them.

    The predictions hold, for each score that is a mean, the outcomes (n,) under the score's name;
    `ids` of the samples, true labels as `labels.<name>`, and pictures to show as `examples.*`. No
    array needs unpickling. No random number generator is touched. Embeddings of published sets are
    kept in the folder `cache`, if there is one, under the hash of the model's `weights`. stop:
    asked on the way through a published set, where `Stopped` is raised; with a cache the same call
    goes on from there.
    """
    module = _load_benchmark(name, config, cache_folder, weights_hash, should_stop)
    scores, predictions = module.evaluate(pretrained, module.source(config))
    return scores, predictions


def find_near_duplicates(
    name: str, config: RunConfig, cache_folder: Path
) -> NDArray[np.int8] | None:
    """Which test pictures of a published set are near-duplicates of the run's training pictures.

    (n,) int8 of `leakage.NEAR`, `APART` and `TOO_PLAIN`, in the order of the test pictures; None
    for a benchmark of ours, which is judged on a part of the training source, and where pictures
    of either are missing. Of test pictures that are gone, what was last found. folder: a cache.
    """
    if name in BENCHMARKS:
        return None
    if uniclip.data.describe_missing(config.data) is not None:
        return None
    module = _load_benchmark(name, config, cache_folder)
    source = module.source(config)
    dataset, root = module.dataset(source), source.root
    from uniclip.evaluate.checks import near_duplicates

    cache = Cache(cache_folder / "leakage")
    test_location = {"set": dataset.name, "root": str(Path(root).absolute()), "rule": dataset.rule}
    train_fingerprint = {**uniclip.data.fingerprint(config.data), "part": "train"}
    if dataset.missing(root, ("test",)) is not None:
        return near_duplicates.read_last_verdicts(cache, test_location, train_fingerprint)
    return near_duplicates.find_duplicates_cached(
        cache,
        test_location,
        {**dataset.fingerprint(root, ("test",)), "part": "test"},
        train_fingerprint,
        lambda: near_duplicates.compute_dataset_thumbnails(dataset.open(root, "test")),
        lambda: near_duplicates.compute_split_thumbnails(
            uniclip.data.open_split(config.data, "train")
        ),
    )


def validate(pretrained: PretrainedModel, config: RunConfig) -> float:
    """R@1, the mean of both ways, over at most 512 fixed validation pictures of the run's data."""
    from uniclip.evaluate.scoring import validation

    return validation.validate(pretrained, config)


def _load_benchmark(
    name: str,
    config: RunConfig,
    cache_folder: Path | None,
    weights_hash: str = "",
    should_stop: Callable[[], bool] = lambda: False,
) -> Any:
    _require_known(name)
    if name in BENCHMARKS:
        return import_module(BENCHMARKS[name])
    from uniclip.evaluate.benchmarks.published import PublishedBenchmark

    max_bytes = config.runtime.embedding_cache_max_gb * GIGABYTE
    cache = Cache(cache_folder, weights_hash, max_bytes) if max_bytes else Cache()
    return PublishedBenchmark(datasets.get(name).name, cache, should_stop)


def _require_known(name: str) -> None:
    known_names = (*BENCHMARKS, *datasets.DATASETS, *datasets.ALIASES)
    if name not in known_names and ":" not in name:
        raise make_unknown_name_error(
            "benchmark", name, [*BENCHMARKS, *datasets.list_benchmarks(), *datasets.DATASETS]
        )
