"""One model on one benchmark, from the command line.

    python -m uniclip.evaluate run=<run folder or id, weights file or checkpoint>
        [benchmark=bench14] [data_root=data] [protocol=clip2021] [conf_dir=<folder>]
        [store=store] [cache=<folder>] [trust=true] [quick_gelu=true] [out=scores.json]
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
from uniclip.config.binding import bind, plain
from uniclip.config.compose import parse
from uniclip.errors import UserError, not_judged, unknown
from uniclip.evaluate import datasets
from uniclip.evaluate.checks import near_duplicates
from uniclip.evaluate.protocols import custom
from uniclip.io.atomic import as_json, sum_of
from uniclip.io.atomic import replace as write
from uniclip.store import RunFolder, Store

if TYPE_CHECKING:
    from uniclip.checkpoints.pretrained import Pretrained

STORE = "store"
JUDGED = ("data_root", "protocol")
SWITCHES = ("trust", "quick_gelu")
KEYS = (
    *("run", "benchmark", *JUDGED, "conf_dir", "store", "cache", *SWITCHES, "out", "plugins"),
)  # fmt: skip
ASSUMED = "the activation is assumed to be GELU: say quick_gelu=true if it was trained with that"


def main(words: Sequence[str]) -> int:
    """Print a table; the exit status (2 for the user's errors)."""
    try:
        given = parse(words)
        for key in given:
            if key not in KEYS:
                raise unknown("key", key, KEYS)
        if "run" not in given:
            raise UserError("run= is missing: name a run's folder or id, or a checkpoint")
        if not isinstance(given["run"], str):  # an id may look like a number
            given["run"] = next(w for w in words if w.startswith("run="))[len("run=") :]
        for key in SWITCHES:
            if not isinstance(given.get(key, False), bool):
                raise UserError(f"{key} must be true or false, got {given[key]!r}")
        plugins.use(given.get("plugins", ()))
        for line in _told(given):
            print(line, flush=True)
    except UserError as error:
        print(f"uniclip.evaluate: {error}", file=sys.stderr)
        return 2
    return 0


def _told(given: dict[str, Any]) -> Iterator[str]:
    folders = [datasets.CONF, *(_folder(given["conf_dir"]) if "conf_dir" in given else ())]
    asked = given.get("benchmark", "bench14")
    listed = asked if isinstance(asked, list) else [asked]
    names = evaluate.expanded([str(name) for name in listed], folders)
    judged: dict[str, Any] = {key: str(given[key]) for key in JUDGED if key in given}
    if "protocol" in judged:
        judged["protocol"] = custom.found(judged["protocol"], folders)
    out = _writable(Path(str(given["out"]))) if "out" in given else None
    model = _model(given)
    if model.assumed:
        print(f"uniclip.evaluate: {model.assumed}", file=sys.stderr)
    config = _config(model.pretrained.config, judged)
    cache = Path(str(given["cache"])) if "cache" in given else model.cache
    kept: dict[str, Any] = {}
    failed: dict[str, str] = {}
    yield "| data set | score | value | chance | samples |"
    yield "|---|---|---|---|---|"
    for name in names:
        try:
            lacking = evaluate.missing(name, config, cache)
            if lacking is None:
                kept[name], rows = _judged(name, model, config, cache)
                yield from rows
                unprobed = evaluate.unprobed(name, config, cache)
                if unprobed is not None:
                    yield f"| {name} | probe | n/a: {unprobed} | | |"
        except UserError as error:
            lacking = failed[name] = str(error)
        if lacking is not None:
            yield f"| {name} | n/a: {lacking} | | | |"
    if out is not None:
        write(out, as_json(kept))
    if failed:
        raise not_judged(failed)


def _judged(
    name: str, model: _Model, config: RunConfig, cache: Path | None
) -> tuple[dict[str, Any], list[str]]:
    """What is kept of one data set, and the rows of the table."""
    with datasets.looked_at_once():
        scores, _ = evaluate.evaluate(name, model.pretrained, config, cache, model.weights)
        protocol = evaluate.protocol(name, config, cache)
        near = evaluate.leaked(name, config, cache) if model.ours and cache is not None else None
    kept: dict[str, Any] = {"protocol": protocol, "scores": [plain(s) for s in scores]}
    rows = []
    for s in scores:
        chance = "" if s.chance is None else f"{s.chance:.3f}"
        mark = "*" if s.shown_only else ""
        rows.append(f"| {name} | {s.name}{mark} | {s.value:.4f} | {chance} | {s.samples} |")
    if near is not None:
        seen, judged = (
            (near == near_duplicates.NEAR).sum(),
            (near != near_duplicates.TOO_PLAIN).sum(),
        )
        kept["near_duplicates"] = int(seen)
        rows.append(f"| {name} | near-duplicates of training pictures | {seen} | | {judged} |")
    return kept, rows


def _writable(path: Path) -> Path:
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
class _Model:
    """A model, the hash of its weights, and where its embeddings are kept if nobody says."""

    pretrained: Pretrained
    weights: str
    """With the activation, where that is an argument."""
    cache: Path | None
    ours: bool
    """Whether what it was trained on is known."""
    assumed: str = ""
    """What its file does not tell, if anything."""


def _model(given: dict[str, Any]) -> _Model:
    from uniclip import numerics
    from uniclip.run import load

    path = _run(str(given["run"]), given.get("store"))
    if path.is_dir() or (path.parent / "spec.json").exists():
        if "quick_gelu" in given:
            raise UserError("quick_gelu= is for checkpoints of others: a run knows its activation")
        pretrained = load(path)
        numerics.apply(pretrained.config)  # or a score differs from the sweep's in its last digit
        folder = RunFolder(path.resolve() if path.is_dir() else path.resolve().parent)
        weights = folder.weights if path.is_dir() else path
        in_store = folder.path.parent.name == "runs"
        return _Model(pretrained, sum_of(weights), folder.cache if in_store else None, True)
    from uniclip.checkpoints import importing

    quick = given.get("quick_gelu")
    pretrained = importing.load(path, trust=given.get("trust", False), quick_gelu=quick)
    activation = pretrained.config.model.text.activation
    assumed = ASSUMED if quick is None and activation == "gelu" else ""
    return _Model(pretrained, f"{sum_of(path)} {activation}", None, False, assumed)


def _run(given: str, store: object) -> Path:
    """A path, or the folder of the run of a store whose id begins so."""
    if store is None and Path(given).exists():
        return Path(given)
    place = STORE if store is None else str(store)
    found = [r.path for r in Store(place).runs() if r.id.startswith(given)]
    if len(found) == 1:
        return found[0]
    if found or store is not None:
        ids = ", ".join(path.name for path in found) or "none"
        raise UserError(f"run {given!r} must name one run of store={place}; it fits {ids}")
    return Path(given)


def _folder(given: object) -> list[Path]:
    path = Path(str(given))
    if not path.is_dir():
        raise UserError(f"conf_dir={given} is not a folder")
    return [path]


def _config(config: RunConfig, judged: dict[str, Any]) -> RunConfig:
    """The run's own, and where and how it is judged now."""
    runtime = bind(RuntimeConfig, {**plain(config.runtime), **judged}, "runtime.")
    return replace(config, runtime=runtime)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
