"""Evaluate one model on benchmarks, or several side by side, from the command line.

    python -m uniclip.evaluate run=<run folder or id, weights file or checkpoint>[,<another> ...]
        [benchmark=bench14] [data_root=data] [protocol=clip2021] [conf_dir=<folder>]
        [evaluation_precision=fp32] [store=store] [cache_dir=<folder>]
        [allow_torchscript=true] [quick_gelu=true] [output=scores.json] [plugins=[module]]
        [copies=embedding] [copies_model=<checkpoint>]

`run=` is a run (with the `plugins=` that it was trained with; an id, or a prefix of one, is looked
up in `store`) or a checkpoint that `uniclip.checkpoints.importing` reads. Missing data sets are
listed with the line that says how to get them; one that cannot be evaluated does not prevent the
others. Embeddings are cached in `cache_dir`, by default in the cache of the run's store: another
protocol then needs no images. Test images that are near-duplicates of a run's training images are
counted (`uniclip.evaluate.checks.near_duplicates`), and scores are given without them. In a sweep,
`sweep.py` stores every score.

`copies=embedding` searches for them by embedding, too (`uniclip.evaluate.checks.embedding_copies`):
by that of the run, or of the checkpoint `copies_model=`, also in the test split of the data with
which the run was trained. It embeds all training images once, and says on standard error how long
that takes. The verdicts are stored in the run: the next report of a sweep with the same
`protocol=` and `evaluation_precision=` counts them.

Of several models each has a table, then the main scores stand side by side, and the differences to
the first model are listed, with 95 % intervals for new test samples, paired by sample
(`uniclip.evaluate.comparison`).
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from errno import EISDIR
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from uniclip import evaluate
from uniclip.config import RunConfig, RuntimeConfig, plugins
from uniclip.config.binding import bind, to_builtins
from uniclip.config.overrides import TEXT, TEXT_OR_LIST, ValueForm, parse_overrides
from uniclip.errors import UserError, make_not_evaluated_error, make_unknown_name_error
from uniclip.evaluate import datasets, leakage
from uniclip.evaluate.loaded_model import LoadedModel, find_run, load_model
from uniclip.evaluate.progress import EvaluationProgress
from uniclip.evaluate.protocols import custom
from uniclip.evaluate.score_table import (
    DIFFERENCE_HEAD,
    TABLE_HEAD,
    format_difference,
    format_score,
    format_without,
)
from uniclip.evaluate.side_by_side import format_side_by_side
from uniclip.io.atomic import atomic_write
from uniclip.io.garbage_collection import pause_garbage_collection
from uniclip.store.json_io import to_json_bytes

if TYPE_CHECKING:
    from uniclip.evaluate.checks.copy_search import CopySearch
    from uniclip.evaluate.comparison import ScoreDifference
    from uniclip.store import Score

RUNTIME_KEYS = ("data_root", "protocol", "evaluation_precision")
BOOLEAN_KEYS = ("allow_torchscript", "quick_gelu")
KEYS = (
    *("run", "benchmark", *RUNTIME_KEYS, "conf_dir", "store", "cache_dir"),
    *(*BOOLEAN_KEYS, "output", "plugins", "copies", "copies_model"),
)
VALUE_FORMS = {
    **dict.fromkeys(KEYS, TEXT),
    **dict.fromkeys(("run", "benchmark", "plugins"), TEXT_OR_LIST),
    **dict.fromkeys(BOOLEAN_KEYS, frozenset[ValueForm]()),
}
SYNONYMS = {
    "run": ("model", "checkpoint", "ckpt", "weights", "pretrained", "resume", "path"),
    "benchmark": ("dataset", "datasets", "data", "task", "tasks", "benchmarks", "eval"),
    "data_root": ("root", "dataset_root", "data_dir", "data_path", "imagenet_val"),
    "output": ("out", "output_file", "output_path", "result", "results", "json"),
    "allow_torchscript": ("trust", "torchscript", "jit"),
    "protocol": ("templates", "prompts"),
}
"""Key -> words that users of other libraries type for it."""

CLUSTER_NAMES = re.compile(r"ids|family|labels(\..*)?|.*\.t2i\.image")
"""Arrays of predictions that say which test samples belong together, or to a class."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table of scores, and return the exit status (2 for user errors).

    argv: the command-line arguments; default: those of the process.
    """
    argv = sys.argv[1:] if argv is None else argv
    try:
        if {"-h", "--help"} & set(argv):
            print(f"usage: uniclip-evaluate run=<run> [key=value ...]\n\n{__doc__}", flush=True)
            return 0
        arguments = _parse_arguments(argv)
        plugins.import_plugins(arguments.get("plugins", ()))
        for line in _evaluate_and_format(arguments):
            print(line, flush=True)
    except UserError as error:
        print(f"uniclip.evaluate: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of the table is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _parse_arguments(argv: Sequence[str]) -> dict[str, Any]:
    """Return the arguments by key; `UserError` for an unknown key or a value of the wrong type."""
    arguments = parse_overrides(argv, VALUE_FORMS)
    for key in arguments:
        if key not in KEYS:
            meant = [name for name, words in SYNONYMS.items() if key in words]
            if meant:
                raise UserError(f"unknown key {key!r}: did you mean {meant[0]}?")
            raise make_unknown_name_error("key", key, KEYS)
    if arguments.get("copies", "embedding") != "embedding":
        raise UserError(f"copies= takes embedding, got {arguments['copies']!r}")
    if "copies_model" in arguments and "copies" not in arguments:
        raise UserError("copies_model= needs copies=embedding")
    if "run" not in arguments:
        raise UserError("run= is missing: name a run's folder or id, or a checkpoint")
    for key in BOOLEAN_KEYS:
        if not isinstance(arguments.get(key, False), bool):
            raise UserError(f"{key} must be true or false, got {arguments[key]!r}")
    return arguments


def _evaluate_and_format(arguments: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of the tables as data sets are evaluated; write the output file.

    Raises `UserError` at the end if a data set could not be evaluated.
    """
    folders = [datasets.CONF]
    if "conf_dir" in arguments:
        folders.append(_require_folder(str(arguments["conf_dir"])))
    names = evaluate.expand_benchmarks(_list_values(arguments.get("benchmark", "bench14")), folders)
    runtime_values: dict[str, Any] = {
        key: str(arguments[key]) for key in RUNTIME_KEYS if key in arguments
    }
    if "protocol" in runtime_values:
        runtime_values["protocol"] = custom.resolve_protocol(runtime_values["protocol"], folders)
    output = _require_writable(Path(str(arguments["output"]))) if "output" in arguments else None
    runs = _split_runs(arguments)
    results: dict[str, ModelResults] = {run: ModelResults() for run in runs}
    for run in runs:
        with pause_garbage_collection():  # torch, timm and transformers are imported: a fifth less
            model = load_model(run, arguments)
        if model.activation_warning:
            print(f"uniclip.evaluate: {model.activation_warning}", file=sys.stderr)
        config = _with_runtime_values(model.pretrained.config, runtime_values)
        cache_dir = Path(str(arguments["cache_dir"])) if "cache_dir" in arguments else None
        folder = cache_dir or model.cache_dir
        search = leakage.build_copy_search(run, model, folder, arguments)
        config = leakage.locate_training_data(config, model)
        evaluation = ModelEvaluation(model, config, folder, results[run], search)
        yield from ([f"### {run}", ""] if len(runs) > 1 else [])
        yield from evaluation.evaluate(names)
        yield from ([""] if len(runs) > 1 else [])
        if output is not None:
            atomic_write(output, to_json_bytes(_build_record(results)))
    if len(runs) > 1:
        yield from ("### side by side", "")
        yield from format_side_by_side(
            {
                run: {name: scores for name, (scores, _) in model_results.outcomes.items()}
                for run, model_results in results.items()
            }
        )
        yield ""
    yield from _format_differences(results)
    errors = {name: error for r in results.values() for name, error in r.errors.items()}
    if errors:
        raise make_not_evaluated_error(errors)


def _list_values(value: object) -> list[str]:
    return [str(v) for v in value] if isinstance(value, list) else [str(value)]


def _split_runs(arguments: Mapping[str, Any]) -> list[str]:
    """Return the models that `run=` names: a list, or words separated by commas.

    Raises `UserError` if one is empty, named twice, or does not exist.
    """
    values = _list_values(arguments["run"])
    if len(values) == 1 and not Path(values[0]).exists():
        values = [value.strip() for value in values[0].split(",")]
    if not values or not all(values):
        raise UserError("run= has an empty name: name a run's folder or id, or a checkpoint")
    for value in values:
        if values.count(value) > 1:
            raise UserError(f"run= names {value} twice")
        if len(values) > 1 and not find_run(value, arguments.get("store")).exists():
            raise UserError(f"there is no run or checkpoint {value}")
    return values


def _build_record(results: Mapping[str, ModelResults]) -> dict[str, Any]:
    """Return the content of the output file: by data set, or of several models by model."""
    if len(results) == 1:
        return next(iter(results.values())).records
    return {
        "runs": {run: model_results.records for run, model_results in results.items()},
        "differences": [
            {"run": run, "baseline": baseline, "dataset": dataset, **vars(difference)}
            for run, baseline, dataset, difference in _iterate_differences(results)
        ],
    }


def _iterate_differences(
    results: Mapping[str, ModelResults],
) -> Iterator[tuple[str, str, str, ScoreDifference]]:
    """Yield model, first model, data set and difference of each score that both have."""
    from uniclip.evaluate.comparison import compare_scores  # here: it imports numpy

    (baseline, first), *others = results.items()
    for run, second in others:
        for dataset, outcomes in second.outcomes.items():
            has_same_protocol = dataset in first.outcomes and (
                first.records[dataset]["protocol"] == second.records[dataset]["protocol"]
            )
            if has_same_protocol:
                for difference in compare_scores(first.outcomes[dataset], outcomes):
                    yield run, baseline, dataset, difference


def _format_differences(results: Mapping[str, ModelResults]) -> Iterator[str]:
    """Yield a table of differences for each model but the first."""
    latest_run = ""
    for run, baseline, dataset, difference in _iterate_differences(results):
        if run != latest_run:
            yield from (*([""] if latest_run else []), f"### {run} minus {baseline}", "")
            yield from DIFFERENCE_HEAD
            latest_run = run
        yield format_difference(dataset, difference)


@dataclass(frozen=True)
class ModelResults:
    """The results of one model on the data sets that were evaluated."""

    records: dict[str, Any] = field(default_factory=dict)
    """Data set -> its JSON result."""
    outcomes: dict[str, tuple[Sequence[Score], dict[str, Any]]] = field(default_factory=dict)
    """Data set -> scores, and the arrays that differences need."""
    errors: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelEvaluation:
    """Evaluates one model, and adds to its results."""

    model: LoadedModel
    config: RunConfig
    cache_dir: Path | None
    results: ModelResults
    copy_search: CopySearch | None = None
    """The search for copies by embedding, if it was asked for."""

    def evaluate(self, names: Sequence[str]) -> Iterator[str]:
        """Evaluate the model, and yield the lines of its table."""
        yield from TABLE_HEAD
        with datasets.fingerprint_cache():
            for name in names:
                yield from self._evaluate_or_explain(name)

    def _evaluate_or_explain(self, name: str) -> Iterator[str]:
        """Yield the lines of one data set; of one that is missing or faulty, the reason."""
        try:
            reason = evaluate.describe_missing(name, self.config, self.cache_dir)
            if reason is None:
                yield from self._evaluate_benchmark(name)
                missing_probe_data = evaluate.describe_missing_probe_data(
                    name, self.config, self.cache_dir
                )
                if missing_probe_data is not None:
                    yield f"| {name} | probe | n/a: {missing_probe_data} | | |"
        except UserError as error:
            reason = self.results.errors[name] = str(error)
        if reason is not None:
            yield f"| {name} | n/a: {reason} | | | |"

    def _search_copies(
        self,
        name: str,
        search: CopySearch,
        result: dict[str, Any],
        scored: tuple[Sequence[Score], dict[str, Any]],
    ) -> list[str]:
        """Add the copies that are found by embedding to a result; return their rows."""
        copies = evaluate.find_copies_by_embedding(name, self.config, search)
        if copies is None:
            return [f"| {name} | copies by embedding | n/a: not searched | | |"]
        if self.model.run is not None:
            leakage.store_copies(self.model.run, name, self.config, search, copies)
        counts = leakage.count_verdicts(scored[1], copies.verdicts)
        without = leakage.score_without_copies(*scored, copies.verdicts)
        result["copies_by_embedding"] = {
            "copies": counts["copies"],
            "model": copies.model,
            **vars(copies.calibration),
            "without": without,
        }
        row = f"| {name} | copies by embedding | {counts['copies']} | | {counts['decided']} |"
        return [row, *format_without(name, scored[0], without, "copies by embedding")]

    def _evaluate_benchmark(self, name: str) -> list[str]:
        """Evaluate one data set, and return its rows of the table."""
        model, config, cache_dir = self.model, self.config, self.cache_dir
        scores, predictions = evaluate.evaluate(
            *(name, model.pretrained, config, cache_dir, model.weights_hash),
            report_progress=lambda progress: _print_progress(name, progress),
        )
        protocol = evaluate.build_protocol(name, config, cache_dir)
        verdicts = None
        if model.run is not None and cache_dir is not None:
            verdicts = evaluate.find_near_duplicates(name, config, cache_dir)
        result: dict[str, Any] = {"protocol": protocol, "scores": [to_builtins(s) for s in scores]}
        rows = [format_score(name, score) for score in scores]
        if verdicts is not None:
            counts = leakage.count_verdicts(predictions, verdicts)
            result["near_duplicates"] = counts["copies"]
            without = leakage.score_without_copies(scores, predictions, verdicts)
            result["without_near_duplicates"] = without
            rows.append(
                f"| {name} | near-duplicate test images | {counts['copies']} | | "
                f"{counts['decided']} |"
            )
            rows += format_without(name, scores, without, "near-duplicates")
        if self.copy_search is not None and cache_dir is not None:
            rows += self._search_copies(name, self.copy_search, result, (scores, predictions))
        self.results.records[name] = result
        score_names = {score.name for score in scores}
        needed = {
            key: array
            for key, array in predictions.items()
            if key in score_names or CLUSTER_NAMES.fullmatch(key)
        }
        self.results.outcomes[name] = scores, needed
        return rows


def _print_progress(name: str, progress: EvaluationProgress) -> None:
    print(f"uniclip.evaluate: {name}: {progress.describe()}", file=sys.stderr, flush=True)


def _require_folder(name: str) -> Path:
    if not Path(name).is_dir():
        raise UserError(f"conf_dir={name} is not a folder")
    return Path(name)


def _require_writable(path: Path) -> Path:
    """Return the path of a file that can be written; `UserError` before any work is done."""
    try:
        if path.is_dir():
            raise IsADirectoryError(EISDIR, "it is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path.parent):
            return path
    except OSError as error:
        raise UserError(
            f"output={path} cannot be written ({error.strerror}); name a file"
        ) from None


def _with_runtime_values(config: RunConfig, runtime_values: dict[str, Any]) -> RunConfig:
    """Return the run's configuration with another data root or protocol."""
    runtime = bind(RuntimeConfig, {**to_builtins(config.runtime), **runtime_values}, "runtime.")
    return replace(config, runtime=runtime)


if __name__ == "__main__":
    sys.exit(main())
