"""One model on one benchmark, from the command line.

    python -m uniclip.evaluate run=<run folder or id, weights file or checkpoint>
        [benchmark=bench14] [data_root=data] [protocol=clip2021] [conf_dir=<folder>]
        [store=store] [cache=<folder>] [allow_torchscript=true] [quick_gelu=true] [out=scores.json]
        [plugins=[module]]

A run of ours (one of a plugin's method, with the `plugins=` it was made with; an id, or how it
begins, is looked up in `store`), or a checkpoint that `uniclip.checkpoints.importing` reads. Sets that are
missing are named with the line that says how to get them; one that cannot be judged keeps none of
the others from it. Embeddings are kept in `cache`, by default that of the run's store: another
protocol then needs no picture. Test pictures that a run of ours has nearly seen in training are
counted (`uniclip.evaluate.checks.near_duplicates`). For sweeps there is `sweep.py`, which keeps every score.
"""

from __future__ import annotations

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
from uniclip.config.compose import parse_overrides
from uniclip.errors import UserError, make_not_evaluated_error, make_unknown_name_error
from uniclip.evaluate import datasets
from uniclip.evaluate.checks import near_duplicates
from uniclip.evaluate.protocols import custom
from uniclip.io.atomic import atomic_write as write
from uniclip.io.atomic import digest_file, to_json_bytes
from uniclip.store import RunFolder, Store

if TYPE_CHECKING:
    from uniclip.checkpoints.pretrained import PretrainedModel

DEFAULT_STORE = "store"
RUNTIME_KEYS = ("data_root", "protocol")
BOOLEAN_KEYS = ("trust", "quick_gelu")
KEYS = (
    *("run", "benchmark", *RUNTIME_KEYS, "conf_dir", "store", "cache", *BOOLEAN_KEYS, "out", "plugins"),
)  # fmt: skip
ASSUMED_GELU_MESSAGE = (
    "the activation is assumed to be GELU: say quick_gelu=true if it was trained with that"
)


def main(argv: Sequence[str]) -> int:
    """Print a table; the exit status (2 for the user's errors)."""
    try:
        arguments = parse_overrides(argv)
        for key in arguments:
            if key not in KEYS:
                raise make_unknown_name_error("key", key, KEYS)
        if "run" not in arguments:
            raise UserError("run= is missing: name a run's folder or id, or a checkpoint")
        if not isinstance(arguments["run"], str):  # an id may look like a number
            arguments["run"] = next(argument for argument in argv if argument.startswith("run="))[
                len("run=") :
            ]
        for key in BOOLEAN_KEYS:
            if not isinstance(arguments.get(key, False), bool):
                raise UserError(f"{key} must be true or false, got {arguments[key]!r}")
        plugins.import_plugins(arguments.get("plugins", ()))
        for line in _evaluate_and_format(arguments):
            print(line, flush=True)
    except UserError as error:
        print(f"uniclip.evaluate: {error}", file=sys.stderr)
        return 2
    return 0


def _evaluate_and_format(arguments: dict[str, Any]) -> Iterator[str]:
    folders = [
        datasets.CONF,
        *(_conf_folders(arguments["conf_dir"]) if "conf_dir" in arguments else ()),
    ]
    benchmark = arguments.get("benchmark", "bench14")
    entries = benchmark if isinstance(benchmark, list) else [benchmark]
    names = evaluate.expand_benchmarks([str(name) for name in entries], folders)
    runtime_values: dict[str, Any] = {
        key: str(arguments[key]) for key in RUNTIME_KEYS if key in arguments
    }
    if "protocol" in runtime_values:
        runtime_values["protocol"] = custom.resolve_protocol(runtime_values["protocol"], folders)
    out_path = _require_writable(Path(str(arguments["out"]))) if "out" in arguments else None
    model = _load_model(arguments)
    if model.activation_warning:
        print(f"uniclip.evaluate: {model.activation_warning}", file=sys.stderr)
    config = _with_runtime_values(model.pretrained.config, runtime_values)
    cache_folder = Path(str(arguments["cache"])) if "cache" in arguments else model.cache_folder
    results: dict[str, Any] = {}
    errors: dict[str, str] = {}
    yield "| data set | score | value | chance | samples |"
    yield "|---|---|---|---|---|"
    for name in names:
        try:
            missing_reason = evaluate.describe_missing(name, config, cache_folder)
            if missing_reason is None:
                results[name], rows = _evaluate_benchmark(name, model, config, cache_folder)
                yield from rows
                missing_probe_data = evaluate.describe_missing_probe_data(
                    name, config, cache_folder
                )
                if missing_probe_data is not None:
                    yield f"| {name} | probe | n/a: {missing_probe_data} | | |"
        except UserError as error:
            missing_reason = errors[name] = str(error)
        if missing_reason is not None:
            yield f"| {name} | n/a: {missing_reason} | | | |"
    if out_path is not None:
        write(out_path, to_json_bytes(results))
    if errors:
        raise make_not_evaluated_error(errors)


def _evaluate_benchmark(
    name: str, model: _LoadedModel, config: RunConfig, cache_folder: Path | None
) -> tuple[dict[str, Any], list[str]]:
    """What is kept of one data set, and the rows of the table."""
    with datasets.fingerprint_cache():
        scores, _ = evaluate.evaluate(
            name, model.pretrained, config, cache_folder, model.weights_hash
        )
        protocol = evaluate.build_protocol(name, config, cache_folder)
        duplicate_verdicts = (
            evaluate.find_near_duplicates(name, config, cache_folder)
            if model.training_data_known and cache_folder is not None
            else None
        )
    result: dict[str, Any] = {"protocol": protocol, "scores": [to_builtins(s) for s in scores]}
    rows = []
    for s in scores:
        chance = "" if s.chance is None else f"{s.chance:.3f}"
        mark = "*" if s.too_few_samples else ""
        rows.append(f"| {name} | {s.name}{mark} | {s.value:.4f} | {chance} | {s.num_samples} |")
    if duplicate_verdicts is not None:
        num_duplicates, num_decidable = (
            (duplicate_verdicts == near_duplicates.DUPLICATE).sum(),
            (duplicate_verdicts != near_duplicates.UNDECIDABLE).sum(),
        )
        result["near_duplicates"] = int(num_duplicates)
        rows.append(
            f"| {name} | near-duplicates of training pictures | {num_duplicates} | | {num_decidable} |"
        )
    return result, rows


def _require_writable(path: Path) -> Path:
    """Where a file can be put; `UserError` before anything is done for it."""
    try:
        if path.is_dir():
            raise IsADirectoryError(EISDIR, "it is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path.parent):
            return path
    except OSError as error:
        raise UserError(f"out={path} cannot be written ({error.strerror}); name a file") from None


@dataclass(frozen=True)
class _LoadedModel:
    """A model, the hash of its weights, and where its embeddings are kept if nobody says."""

    pretrained: PretrainedModel
    weights_hash: str
    """With the activation, where that is an argument."""
    cache_folder: Path | None
    training_data_known: bool
    """Whether what it was trained on is known."""
    activation_warning: str = ""
    """What its file does not tell, if anything."""


def _load_model(arguments: dict[str, Any]) -> _LoadedModel:
    from uniclip import numerics
    from uniclip.run import load

    path = _find_run(str(arguments["run"]), arguments.get("store"))
    if path.is_dir() or (path.parent / "spec.json").exists():
        if "quick_gelu" in arguments:
            raise UserError("quick_gelu= is for checkpoints of others: a run knows its activation")
        pretrained = load(path)
        numerics.apply(pretrained.config)  # or a score differs from the sweep's in its last digit
        folder = RunFolder(path.resolve() if path.is_dir() else path.resolve().parent)
        weights_path = folder.weights_path if path.is_dir() else path
        in_store = folder.path.parent.name == "runs"
        return _LoadedModel(
            pretrained, digest_file(weights_path), folder.cache_path if in_store else None, True
        )
    from uniclip.checkpoints import importing

    quick_gelu = arguments.get("quick_gelu")
    pretrained = importing.load_model(
        path, allow_torchscript=arguments.get("trust", False), quick_gelu=quick_gelu
    )
    activation = pretrained.config.model.text.activation
    activation_warning = ASSUMED_GELU_MESSAGE if quick_gelu is None and activation == "gelu" else ""
    return _LoadedModel(
        pretrained, f"{digest_file(path)} {activation}", None, False, activation_warning
    )


def _find_run(run_id_or_path: str, store: object) -> Path:
    """A path, or the folder of the run of a store whose id begins so."""
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
            f"run {run_id_or_path!r} must name one run of store={store_path}; it fits {ids}"
        )
    return Path(run_id_or_path)


def _conf_folders(conf_dir: object) -> list[Path]:
    path = Path(str(conf_dir))
    if not path.is_dir():
        raise UserError(f"conf_dir={conf_dir} is not a folder")
    return [path]


def _with_runtime_values(config: RunConfig, runtime_values: dict[str, Any]) -> RunConfig:
    """The run's own, and where and how it is judged now."""
    runtime = bind(RuntimeConfig, {**to_builtins(config.runtime), **runtime_values}, "runtime.")
    return replace(config, runtime=runtime)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
