"""Evaluation of a trained model: benchmarks, their protocols and their scores.

A benchmark implements `uniclip.evaluate.benchmarks.base.Benchmark`. Neither torch nor numpy is
imported until a model is evaluated: a plan contains protocols and lists missing data, and must
start at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from uniclip import data
from uniclip.config import HuggingfaceData, WebdatasetData
from uniclip.config.binding import to_builtins
from uniclip.errors import UserError, make_unknown_name_error
from uniclip.evaluate import datasets
from uniclip.evaluate.benchmarks.base import UserDataBenchmark
from uniclip.evaluate.cache import Cache
from uniclip.evaluate.checks.image_fingerprint import fingerprint_images
from uniclip.evaluate.progress import ReportProgress, ignore_progress
from uniclip.io import hashing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from uniclip.checkpoints.pretrained import PretrainedModel
    from uniclip.config import DataConfig, RunConfig, RuntimeConfig
    from uniclip.data.split import SplitName
    from uniclip.evaluate.benchmarks.base import (
        Benchmark,
        BenchmarkModule,
        Results,
        SourceBenchmark,
    )
    from uniclip.evaluate.benchmarks.published import PublishedBenchmark
    from uniclip.evaluate.checks.copy_search import CopySearch, CopyVerdicts

BENCHMARKS: dict[str, str] = {
    "openmoji": "uniclip.evaluate.benchmarks.openmoji",
    "scenes": "uniclip.evaluate.benchmarks.scenes",
    "csv": "uniclip.evaluate.benchmarks.csv",
    "mix": "uniclip.evaluate.benchmarks.mix",
    "webdataset": "uniclip.evaluate.benchmarks.webdataset",
    "huggingface": "uniclip.evaluate.benchmarks.huggingface",
}
"""Benchmarks on training sources, and the module of each (see `benchmarks.base.BenchmarkModule`).
Published and user-defined data sets are benchmarks too: `uniclip.evaluate.datasets`."""

USER_SOURCES = ("csv", "webdataset", "huggingface")
"""Those of a user's own images."""
GIGABYTE = 10**9
MAX_DECODED = 200_000
"""Embedded training images up to which all are decoded for the search for copies among them."""


def expand_benchmarks(
    entries: Sequence[str], folders: Sequence[Path] = (datasets.CONF,)
) -> tuple[str, ...]:
    """Return the names of single benchmarks, with lists such as `bench14` expanded.

    Args:
        entries: Names of benchmarks and of lists.
        folders: Where lists are looked up.

    Raises:
        UserError: A name is neither a benchmark nor a list.
    """
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
    """Return everything that a score of benchmark `name` depends on besides the model.

    As plain JSON. Of user-defined data the content counts, not where they lie. The run's data
    section counts only where it is what is evaluated. The store's `cache` folder describes data
    that are missing by now. Raises `UserError` for an unknown name, or an unreadable CSV.
    """
    benchmark = _load_benchmark(name, config, Cache(cache_folder))
    precision = _get_precision(name, config)
    record: dict[str, Any] = to_builtins(
        {
            "benchmark": name.partition(":")[0],
            "split": "test",
            **benchmark.build_protocol(),
            **({"precision": precision} if precision != "fp32" else {}),
        }
    )
    return record


def evaluation_hash(name: str, config: RunConfig, cache_folder: Path | None = None) -> str:
    """Return 8 hex digits over the protocol: the key of a data set's scores."""
    return hashing.digest(build_protocol(name, config, cache_folder), 8)


def describe_missing(name: str, config: RunConfig, cache_folder: Path | None = None) -> str | None:
    """Return what benchmark `name` lacks and how to get it; None if it can be evaluated."""
    return _load_benchmark(name, config, Cache(cache_folder)).describe_missing()


def describe_missing_probe_data(
    name: str, config: RunConfig, cache_folder: Path | None = None
) -> str | None:
    """Return what benchmark `name`, which can be evaluated, lacks for a linear probe."""
    return _load_benchmark(name, config, Cache(cache_folder)).describe_missing_probe_data()


def evaluate(
    name: str,
    pretrained: PretrainedModel,
    config: RunConfig,
    cache_folder: Path | None = None,
    weights_hash: str = "",
    should_stop: Callable[[], bool] = lambda: False,
    report_progress: ReportProgress = ignore_progress,
    shares_folder: Path | None = None,
) -> Results:
    """Return the scores of a model on benchmark `name`, and the predictions.

    The split is `runtime.evaluation_split` of the configuration. The predictions contain, for each
    score that is a mean, the outcomes (n,) under its name; `ids` of the samples, true labels as
    `labels.<name>`, and images for the report as `examples.*`. No array needs unpickling. No random
    number generator is touched.

    Args:
        name: A benchmark.
        pretrained: The model.
        config: The run's configuration: its data, data root and protocol.
        cache_folder: Cache of the embeddings of published data sets, under `weights_hash`.
        weights_hash: Hash of the model's weights.
        should_stop: Called during the evaluation of a published data set, which raises
            `StopRequested` once it returns True; with a cache, the same call resumes from there.
        report_progress: Called during an evaluation that trains the model (`finetune`).
        shares_folder: Where other processes stored their shares (`embed_share`).
    """
    cache = Cache(cache_folder, weights_hash)
    benchmark = _load_benchmark(name, config, cache, should_stop, report_progress, shares_folder)
    return benchmark.evaluate(_set_precision(name, pretrained, config))


def embed_share(
    name: str,
    pretrained: PretrainedModel,
    config: RunConfig,
    cache_folder: Path,
    weights_hash: str,
    should_stop: Callable[[], bool],
    shares_folder: Path,
    *,
    rank: int,
    world_size: int,
) -> None:
    """Store the share of one process in the image features that `evaluate` needs.

    In the cache, for the user's training data in `shares_folder`; the processes must have both in
    common. Arguments and errors as of `evaluate`.
    """
    cache = Cache(cache_folder, weights_hash)
    benchmark = _load_benchmark(name, config, cache, should_stop, shares_folder=shares_folder)
    benchmark.embed_share(_set_precision(name, pretrained, config), rank, world_size)


def _get_precision(name: str, config: RunConfig) -> str:
    """Return the precision of a data set's scores: of fine-tuning, float32."""
    return "fp32" if datasets.is_fine_tuning(name) else config.runtime.evaluation_precision


def _set_precision(name: str, pretrained: PretrainedModel, config: RunConfig) -> PretrainedModel:
    """Return the model, which embeds in the precision of the protocol."""
    return pretrained if _get_precision(name, config) == "fp32" else pretrained.in_bfloat16()


def find_near_duplicates(
    name: str, config: RunConfig, cache_folder: Path
) -> NDArray[np.int8] | None:
    """Return which test images of a data set are near-duplicates of training images.

    (n,) int8 of `near_duplicates.DUPLICATE`, `DISTINCT` and `UNDECIDABLE`, in the order of the test
    images. None for the benchmarks of OpenMoji, scenes and mix, for models trained on shards whose
    thumbnails were not made (`checks.shard_thumbnails`) or on more than `MAX_DECODED` embedded
    images, and where images of either are missing. For test images that are missing by now, the
    last result in the cache.
    """
    if name == config.data.name and name in ("csv", "huggingface"):
        return _find_duplicates_in_splits(config.data, cache_folder)
    if name == "webdataset" and isinstance(config.data, WebdatasetData):
        return _find_duplicates_in_shards(config.data, cache_folder)
    if name in BENCHMARKS or data.describe_missing(config.data) is not None:
        return None
    read_train_thumbnails = _find_train_thumbnails(config.data)
    if read_train_thumbnails is None:
        return None
    from uniclip.evaluate.checks import near_duplicates  # here: it imports numpy

    benchmark = _build_published(name, config.runtime, Cache(cache_folder), lambda: False)
    source = benchmark.build_source()
    dataset, root = source.resolve_dataset(), source.root
    finder = near_duplicates.DuplicateFinder(
        cache=Cache(cache_folder / "leakage"),
        test_location={
            "dataset": dataset.name,
            "root": str(Path(root).absolute()),
            "split_rule": dataset.split_rule,
        },
        train_fingerprint=fingerprint_images(config.data, "train"),
    )
    if dataset.describe_missing(root, ("test",)) is not None:
        verdicts = finder.read_last_verdicts()
    elif dataset.user_folder is not None and config.data.name == "csv":
        image_size = config.data.image_size
        verdicts = finder.find_in_user_data(
            {**dataset.fingerprint(root, ("test",)), "split": "test", "image_size": image_size},
            lambda: near_duplicates.compute_dataset_signatures(
                dataset.open(root, "test"), image_size
            ),
            lambda: near_duplicates.compute_split_signatures(data.open_split(config.data, "train")),
        )
    else:
        verdicts = finder.find(
            {**dataset.fingerprint(root, ("test",)), "split": "test"},
            lambda: near_duplicates.compute_dataset_thumbnails(dataset.open(root, "test")),
            read_train_thumbnails,
        )
    return None if verdicts is None else benchmark.select_pictures(verdicts)


def find_copies_by_embedding(
    name: str, config: RunConfig, search: CopySearch
) -> CopyVerdicts | None:
    """Return which test images of a data set are copies of training images by their embedding.

    Data sets are the published and the user-defined ones, and the test split of the user's data
    with which the run was trained. None for other training sources, and where images of either are
    missing. All training images are embedded first, if the cache lacks them.
    """
    is_run_data = name in USER_SOURCES and name == config.data.name
    if (name in BENCHMARKS and not is_run_data) or data.describe_missing(config.data) is not None:
        return None
    from uniclip.evaluate.checks import copy_search  # here: it imports numpy

    train_fingerprint = fingerprint_images(config.data, "train")
    if is_run_data:
        from uniclip.evaluate.features import split_features

        test = copy_search.open_split_images(
            split_features.open_split_cached(config.data, "test"),
            fingerprint_images(config.data, "test"),
        )
        return search.find(test, config.data, train_fingerprint)
    benchmark = _build_published(name, config.runtime, Cache(search.cache_folder), lambda: False)
    images = copy_search.open_dataset_images(benchmark.build_source())
    if images is None:
        return None
    copies = search.find(images, config.data, train_fingerprint)
    return replace(copies, verdicts=benchmark.select_pictures(copies.verdicts))


def _find_train_thumbnails(data_config: DataConfig) -> Callable[[], NDArray[np.uint8]] | None:
    """Return what makes or reads the thumbnails of all training images.

    None if they would have to be made of millions of images first.
    """
    from uniclip.evaluate.checks import near_duplicates, shard_thumbnails  # here: numpy

    if isinstance(data_config, HuggingfaceData):
        from uniclip.data.huggingface.source import count_training_samples

        shares = count_training_samples(data_config, MAX_DECODED)
        if shares is None or shares[0].stop > MAX_DECODED:
            return None
    if not isinstance(data_config, WebdatasetData):
        return lambda: near_duplicates.compute_split_thumbnails(
            data.open_split(data_config, "train")
        )
    return shard_thumbnails.find_training_thumbnails(data_config)


def _find_duplicates_in_splits(config: DataConfig, cache_folder: Path) -> NDArray[np.int8] | None:
    """Return which test images of a table or of embedded images are near-duplicates, if known."""
    if isinstance(config, HuggingfaceData) and _find_train_thumbnails(config) is None:
        return None
    from uniclip.evaluate.checks import near_duplicates  # here: it imports numpy
    from uniclip.evaluate.features import split_features

    names: tuple[SplitName, ...] = ("train", "test")
    splits = {name: split_features.open_split_cached(config, name) for name in names}
    fingerprints = {name: fingerprint_images(config, name) for name in splits}
    finder = near_duplicates.DuplicateFinder(
        Cache(cache_folder / "leakage"), {"dataset": config.name}, fingerprints["train"]
    )
    return finder.find_in_user_data(
        fingerprints["test"],
        lambda: near_duplicates.compute_split_signatures(splits["test"]),
        lambda: near_duplicates.compute_split_signatures(splits["train"]),
    )


def _find_duplicates_in_shards(
    data_config: WebdatasetData, cache_folder: Path
) -> NDArray[np.int8] | None:
    """Return which test images of shards are near-duplicates of training images, if known."""
    from uniclip.evaluate.checks import near_duplicates, shard_thumbnails  # here: numpy

    if data.describe_missing(data_config) is not None:
        return None
    read_test = shard_thumbnails.find_test_thumbnails(data_config)
    read_train = shard_thumbnails.find_training_thumbnails(data_config)
    if read_test is None or read_train is None:
        return None
    fingerprints = {name: fingerprint_images(data_config, name) for name in ("train", "test")}
    finder = near_duplicates.DuplicateFinder(
        Cache(cache_folder / "leakage"), {"dataset": data_config.name}, fingerprints["train"]
    )
    return finder.find(fingerprints["test"], read_test, read_train)


def validate(pretrained: PretrainedModel, data_config: DataConfig) -> float:
    """Return the mean R@1 of both ways over at most 512 fixed validation images of the data."""
    from uniclip.evaluate.scoring import validation  # here: it imports numpy

    return validation.validate(pretrained, data_config)


def _load_benchmark(
    name: str,
    config: RunConfig,
    cache: Cache,
    should_stop: Callable[[], bool] = lambda: False,
    report_progress: ReportProgress = ignore_progress,
    shares_folder: Path | None = None,
) -> Benchmark:
    _require_known(name)
    if name in BENCHMARKS:
        module = cast("BenchmarkModule", import_module(BENCHMARKS[name]))
        benchmark = module.build_benchmark(config.data)
        if isinstance(benchmark, UserDataBenchmark):
            benchmark = replace(benchmark, shares_folder=shares_folder)
    else:
        benchmark = _build_published(name, config.runtime, cache, should_stop, report_progress)
    return _select_split(name, benchmark, config.runtime.evaluation_split)


def _select_split(name: str, benchmark: Benchmark, split_name: SplitName) -> Benchmark:
    """Return the benchmark on a split; `UserError` if it is scored on its test split only."""
    if split_name == "test":
        return benchmark
    if not getattr(benchmark, "scores_validation", False):
        raise UserError(
            f"runtime.evaluation_split={split_name}: benchmark {name} is scored on its test split "
            "only; leave it out"
        )
    return replace(cast("SourceBenchmark[Any]", benchmark), split=split_name)


def _build_published(
    name: str,
    runtime: RuntimeConfig,
    cache: Cache,
    should_stop: Callable[[], bool],
    report_progress: ReportProgress = ignore_progress,
) -> PublishedBenchmark:
    """Return the benchmark of a published data set; without a cache if its size limit is 0.

    Fine-tuning caches no embeddings, but its checkpoints whatever the limit.
    """
    from uniclip.evaluate.benchmarks.published import build_published_benchmark

    max_bytes = runtime.embedding_cache_max_gb * GIGABYTE
    has_cache = max_bytes > 0 or datasets.is_fine_tuning(name)
    limited_cache = Cache(cache.folder, cache.weights_hash, max_bytes) if has_cache else Cache()
    return build_published_benchmark(name, runtime, limited_cache, should_stop, report_progress)


def _require_known(name: str) -> None:
    known_names = (*BENCHMARKS, *datasets.DATASETS, *datasets.ALIASES)
    if name not in known_names and ":" not in name:
        raise make_unknown_name_error(
            "benchmark", name, [*BENCHMARKS, *datasets.list_benchmarks(), *datasets.DATASETS]
        )
