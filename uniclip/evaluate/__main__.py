"""Evaluate one model on benchmarks, from the command line.

    python -m uniclip.evaluate run=<run folder or id, weights file or checkpoint>
        [benchmark=bench14] [data_root=data] [protocol=clip2021] [conf_dir=<folder>]
        [store=store] [cache_dir=<folder>] [allow_torchscript=true] [quick_gelu=true]
        [output=scores.json] [plugins=[module]]

`run=` is a run (with the `plugins=` that it was trained with; an id, or a prefix of one, is looked
up in `store`) or a checkpoint that `uniclip.checkpoints.importing` reads. Missing data sets are
listed with the line that says how to get them; one that cannot be evaluated does not prevent the
others. Embeddings are cached in `cache_dir`, by default in the cache of the run's store: another
protocol then needs no images. Test images that are near-duplicates of a run's training images are
counted (`uniclip.evaluate.checks.near_duplicates`). In a sweep, `sweep.py` stores every score.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from errno import EISDIR
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from uniclip import evaluate
from uniclip.config import RunConfig, RuntimeConfig, plugins
from uniclip.config.binding import bind, to_builtins
from uniclip.config.overrides import TEXT, TEXT_OR_LIST, ValueForm, parse_overrides
from uniclip.errors import UserError, make_not_evaluated_error, make_unknown_name_error
from uniclip.evaluate import datasets
from uniclip.evaluate.checks import near_duplicates
from uniclip.evaluate.protocols import custom
from uniclip.io.atomic import atomic_write
from uniclip.io.hashing import digest_file
from uniclip.store import RunFolder, Store, get_score_kind_traits
from uniclip.store.json_io import to_json_bytes

if TYPE_CHECKING:
    from uniclip.checkpoints.pretrained import PretrainedModel
    from uniclip.store import Score

DEFAULT_STORE = "store"
RUNTIME_KEYS = ("data_root", "protocol")
BOOLEAN_KEYS = ("allow_torchscript", "quick_gelu")
KEYS = (
    *("run", "benchmark", *RUNTIME_KEYS, "conf_dir", "store", "cache_dir"),
    *(*BOOLEAN_KEYS, "output", "plugins"),
)
VALUE_FORMS = {
    **dict.fromkeys(KEYS, TEXT),
    **dict.fromkeys(("benchmark", "plugins"), TEXT_OR_LIST),
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
TABLE_HEAD = ("| data set | score | value | chance | samples |", "|---|---|---|---|---|")
ASSUMED_GELU_MESSAGE = (
    "the activation is assumed to be GELU; set quick_gelu=true if the model was trained with that"
)


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
    if "run" not in arguments:
        raise UserError("run= is missing: name a run's folder or id, or a checkpoint")
    for key in BOOLEAN_KEYS:
        if not isinstance(arguments.get(key, False), bool):
            raise UserError(f"{key} must be true or false, got {arguments[key]!r}")
    return arguments


def _evaluate_and_format(arguments: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of the table as data sets are evaluated; write the output file at the end.

    Raises `UserError` at the end if a data set could not be evaluated.
    """
    folders = [datasets.CONF]
    if "conf_dir" in arguments:
        folders.append(_require_folder(str(arguments["conf_dir"])))
    benchmark = arguments.get("benchmark", "bench14")
    entries = benchmark if isinstance(benchmark, list) else [benchmark]
    names = evaluate.expand_benchmarks([str(name) for name in entries], folders)
    runtime_values: dict[str, Any] = {
        key: str(arguments[key]) for key in RUNTIME_KEYS if key in arguments
    }
    if "protocol" in runtime_values:
        runtime_values["protocol"] = custom.resolve_protocol(runtime_values["protocol"], folders)
    output = _require_writable(Path(str(arguments["output"]))) if "output" in arguments else None
    model = _load_model(arguments)
    if model.activation_warning:
        print(f"uniclip.evaluate: {model.activation_warning}", file=sys.stderr)
    config = _with_runtime_values(model.pretrained.config, runtime_values)
    cache_dir = Path(str(arguments["cache_dir"])) if "cache_dir" in arguments else model.cache_dir
    results: dict[str, Any] = {}
    errors: dict[str, str] = {}
    yield from TABLE_HEAD
    for name in names:
        try:
            reason = evaluate.describe_missing(name, config, cache_dir)
            if reason is None:
                results[name], rows = _evaluate_benchmark(name, model, config, cache_dir)
                yield from rows
                missing_probe_data = evaluate.describe_missing_probe_data(name, config, cache_dir)
                if missing_probe_data is not None:
                    yield f"| {name} | probe | n/a: {missing_probe_data} | | |"
        except UserError as error:
            reason = errors[name] = str(error)
        if reason is not None:
            yield f"| {name} | n/a: {reason} | | | |"
    if output is not None:
        atomic_write(output, to_json_bytes(results))
    if errors:
        raise make_not_evaluated_error(errors)


def _evaluate_benchmark(
    name: str, model: _LoadedModel, config: RunConfig, cache_dir: Path | None
) -> tuple[dict[str, Any], list[str]]:
    """Return the JSON result of one data set, and its rows of the table."""
    with datasets.fingerprint_cache():
        scores, _ = evaluate.evaluate(name, model.pretrained, config, cache_dir, model.weights_hash)
        protocol = evaluate.build_protocol(name, config, cache_dir)
        verdicts = None
        if model.is_run and cache_dir is not None:
            verdicts = evaluate.find_near_duplicates(name, config, cache_dir)
    result: dict[str, Any] = {"protocol": protocol, "scores": [to_builtins(s) for s in scores]}
    rows = [_format_score(name, score) for score in scores]
    if verdicts is not None:
        num_duplicates = int((verdicts == near_duplicates.DUPLICATE).sum())
        num_decidable = int((verdicts != near_duplicates.UNDECIDABLE).sum())
        result["near_duplicates"] = num_duplicates
        rows.append(
            f"| {name} | near-duplicate test images | {num_duplicates} | | {num_decidable} |"
        )
    return result, rows


def _format_score(name: str, score: Score) -> str:
    """Return a score's row of the table; a report-only score is marked with *."""
    is_percent = get_score_kind_traits(score.kind).is_percent

    def format_value(value: float) -> str:
        return f"{100 * value:.2f} %" if is_percent else f"{value:.4f}"

    chance = "" if score.chance is None else format_value(score.chance)
    label = score.name.replace("|", r"\|") + ("*" if score.report_only else "")
    return f"| {name} | {label} | {format_value(score.value)} | {chance} | {score.num_samples} |"


@dataclass(frozen=True)
class _LoadedModel:
    """A model, the hash of its weights, and the default cache of its embeddings."""

    pretrained: PretrainedModel
    weights_hash: str
    """With the activation, where that is an argument."""
    cache_dir: Path | None
    is_run: bool
    """Whether it is a run, so that its training data are known."""
    activation_warning: str = ""
    """An assumption about what the checkpoint does not state, if any."""


def _load_model(arguments: dict[str, Any]) -> _LoadedModel:
    from uniclip import numerics
    from uniclip.checkpoints import importing
    from uniclip.checkpoints.load import load

    path = _find_run(str(arguments["run"]), arguments.get("store"))
    if path.is_dir() or (path.parent / "spec.json").exists():
        if "quick_gelu" in arguments:
            raise UserError("quick_gelu= is for checkpoints: a run states its activation")
        pretrained = load(path)
        # Without it a score differs from the sweep's in the last digit.
        numerics.apply(pretrained.config.train.num_threads)
        folder = RunFolder(path.resolve() if path.is_dir() else path.resolve().parent)
        weights_path = folder.weights_path if path.is_dir() else path
        is_in_store = folder.path.parent.name == "runs"
        return _LoadedModel(
            pretrained, digest_file(weights_path), folder.cache_path if is_in_store else None, True
        )
    quick_gelu = arguments.get("quick_gelu")
    pretrained = importing.load_model(
        path,
        allow_torchscript=arguments.get("allow_torchscript", False),
        quick_gelu=quick_gelu,
    )
    activation = pretrained.config.model.text.activation
    warning = ASSUMED_GELU_MESSAGE if quick_gelu is None and activation == "gelu" else ""
    return _LoadedModel(pretrained, f"{digest_file(path)} {activation}", None, False, warning)


def _find_run(run_id_or_path: str, store: object) -> Path:
    """Return a path, or the folder of the only run of the store whose id has that prefix."""
    if store is None and Path(run_id_or_path).exists():
        return Path(run_id_or_path)
    store_path = DEFAULT_STORE if store is None else str(store)
    matching_paths = [
        r.path for r in Store(store_path).iter_runs() if r.id.startswith(run_id_or_path)
    ]
    if len(matching_paths) == 1:
        return matching_paths[0]
    if matching_paths or store is not None:
        ids = ", ".join(path.name for path in matching_paths) or "none"
        raise UserError(
            f"run {run_id_or_path!r} must match one run of store={store_path}; it matches {ids}"
        )
    return Path(run_id_or_path)


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
