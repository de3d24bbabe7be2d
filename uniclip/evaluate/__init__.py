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
from uniclip.config.binding import plain
from uniclip.errors import unknown
from uniclip.evaluate import datasets
from uniclip.evaluate.cache import Cache

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from uniclip.checkpoints.pretrained import Pretrained
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


def expanded(
    benchmark: Sequence[str], folders: Sequence[Path] = (datasets.CONF,)
) -> tuple[str, ...]:
    """The data sets of a benchmark, lists such as `bench14` written out (and the user's own in her
    `folders`); `UserError` names what is neither a data set nor a list."""
    names: list[str] = []
    for name in benchmark:
        several = name in datasets.benchmarks(folders)
        names += datasets.benchmark(name, folders, also=BENCHMARKS) if several else [name]
    for name in names:
        _check(name)
    return tuple(dict.fromkeys(names))


def protocol(name: str, config: RunConfig, cache: Path | None = None) -> dict[str, Any]:
    """Everything that a score of benchmark `name` depends on besides the model, as plain JSON.

    It depends on what is evaluated only: the run's data section counts where it is the evaluated
    one. The store's `cache` folder knows of data that is gone by now. Raises `UserError` for an
    unknown name, or for a CSV file that cannot be read.
    """
    module = _module(name, config, cache)
    source = module.source(config)
    stated: dict[str, Any] = plain(
        {
            "benchmark": name,
            "split": "test",
            **({"data": uniclip.data.fingerprint(source)} if name in BENCHMARKS else {}),
            **module.protocol(source),
        }
    )
    return stated


def evaluation_hash(name: str, config: RunConfig, cache: Path | None = None) -> str:
    """8 hex digits over the protocol: what scores of one data set are kept under."""
    return identity.digest(protocol(name, config, cache), 8)


def missing(name: str, config: RunConfig, cache: Path | None = None) -> str | None:
    """What benchmark `name` lacks here and how to get it; None if it can be run."""
    module = _module(name, config, cache)
    reason: str | None = module.missing(config)
    if reason is not None or name not in BENCHMARKS:
        return reason
    return uniclip.data.missing(module.source(config))


def unprobed(name: str, config: RunConfig, cache: Path | None = None) -> str | None:
    """What benchmark `name`, which can be run, lacks for a linear probe; None if nothing."""
    if name in BENCHMARKS:
        return None
    reason: str | None = _module(name, config, cache).unprobed(config)
    return reason


def evaluate(
    name: str,
    pretrained: Pretrained,
    config: RunConfig,
    cache: Path | None = None,
    weights: str = "",
    stop: Callable[[], bool] = lambda: False,
) -> tuple[tuple[Score, ...], dict[str, NDArray[np.generic]]]:
    """The scores of a model on the test split of benchmark `name`, and what lies behind them.

    The predictions hold, for each score that is a mean, the outcomes (n,) under the score's name;
    `ids` of the samples, true labels as `labels.<name>`, and pictures to show as `examples.*`. No
    array needs unpickling. No random number generator is touched. Embeddings of published sets are
    kept in the folder `cache`, if there is one, under the hash of the model's `weights`. stop:
    asked on the way through a published set, where `Stopped` is raised; with a cache the same call
    goes on from there.
    """
    module = _module(name, config, cache, weights, stop)
    scores, predictions = module.evaluate(pretrained, module.source(config))
    return scores, predictions


def leaked(name: str, config: RunConfig, folder: Path) -> NDArray[np.int8] | None:
    """Which test pictures of a published set are near-duplicates of the run's training pictures.

    (n,) int8 of `leakage.NEAR`, `APART` and `TOO_PLAIN`, in the order of the test pictures; None
    for a benchmark of ours, which is judged on a part of the training source, and where pictures
    of either are missing. Of test pictures that are gone, what was last found. folder: a cache.
    """
    if name in BENCHMARKS:
        return None
    if uniclip.data.missing(config.data) is not None:
        return None
    module = _module(name, config, folder)
    source = module.source(config)
    dataset, root = module.dataset(source), source.root
    from uniclip.evaluate.checks import near_duplicates

    cache = Cache(folder / "leakage")
    place = {"set": dataset.name, "root": str(Path(root).absolute()), "rule": dataset.rule}
    train = {**uniclip.data.fingerprint(config.data), "part": "train"}
    if dataset.missing(root, ("test",)) is not None:
        return near_duplicates.last(cache, place, train)
    return near_duplicates.check(
        cache,
        place,
        {**dataset.fingerprint(root, ("test",)), "part": "test"},
        train,
        lambda: near_duplicates.of_pictures(dataset.open(root, "test")),
        lambda: near_duplicates.of_split(uniclip.data.open_split(config.data, "train")),
    )


def validate(pretrained: Pretrained, config: RunConfig) -> float:
    """R@1, the mean of both ways, over at most 512 fixed validation pictures of the run's data."""
    from uniclip.evaluate.scoring import validation

    return validation.validate(pretrained, config)


def _module(
    name: str,
    config: RunConfig,
    folder: Path | None,
    weights: str = "",
    stop: Callable[[], bool] = lambda: False,
) -> Any:
    _check(name)
    if name in BENCHMARKS:
        return import_module(BENCHMARKS[name])
    from uniclip.evaluate.benchmarks.published import Published

    most = config.runtime.keep_embeddings * GIGABYTE
    cache = Cache(folder, weights, most) if most else Cache()
    return Published(datasets.get(name).name, cache, stop)


def _check(name: str) -> None:
    known = (*BENCHMARKS, *datasets.DATASETS, *datasets.ALIASES)
    if name not in known and ":" not in name:
        raise unknown("benchmark", name, [*BENCHMARKS, *datasets.benchmarks(), *datasets.DATASETS])
