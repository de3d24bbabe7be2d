"""One model on one benchmark, from the command line.

    python -m uniclip.evaluate run=<run folder, weights file or checkpoint> [benchmark=bench14]
        [data_root=data] [protocol=clip2021] [conf_dir=<folder>] [cache=<folder>] [trust=true]
        [out=scores.json] [plugins=[module]]

A run of ours (one of a plugin's method, with the `plugins=` it was made with), or a checkpoint that
`uniclip.model.imported` reads. Sets that are missing are named with the line that says how to get
them. Embeddings are kept in `cache`, by default that of the run's store: another protocol then
needs no picture. Test pictures that a run of ours has nearly seen in training are counted
(`uniclip.evaluate.leakage`). For sweeps there is `sweep.py`, which keeps every score.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uniclip import evaluate, plugins
from uniclip.binding import bind, plain
from uniclip.compose import parse
from uniclip.config import RunConfig, RuntimeConfig
from uniclip.errors import UserError, unknown
from uniclip.evaluate import datasets, leakage, own_protocol
from uniclip.store import RunFolder, as_json
from uniclip.store import replace as write

if TYPE_CHECKING:
    from uniclip.model.pretrained import Pretrained

JUDGED = ("data_root", "protocol")
KEYS = ("run", "benchmark", *JUDGED, "conf_dir", "cache", "trust", "out", "plugins")


def main(words: Sequence[str]) -> int:
    """Print a table; the exit status (2 for the user's errors)."""
    try:
        given = parse(words)
        for key in given:
            if key not in KEYS:
                raise unknown("key", key, KEYS)
        if "run" not in given:
            raise UserError("run= is missing: name a run's folder or a checkpoint")
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
    names = evaluate.expanded(asked if isinstance(asked, list) else [str(asked)], folders)
    judged: dict[str, Any] = {key: str(given[key]) for key in JUDGED if key in given}
    if "protocol" in judged:
        judged["protocol"] = own_protocol.found(judged["protocol"], folders)
    model = _model(str(given["run"]), bool(given.get("trust", False)))
    config = _config(model.pretrained.config, judged)
    cache = Path(str(given["cache"])) if "cache" in given else model.cache
    kept: dict[str, Any] = {}
    yield "| data set | score | value | chance | samples |"
    yield "|---|---|---|---|---|"
    for name in names:
        lacking = evaluate.missing(name, config, cache)
        if lacking is not None:
            yield f"| {name} | n/a: {lacking} | | | |"
            continue
        scores, _ = evaluate.evaluate(name, model.pretrained, config, cache, model.weights)
        kept[name] = {
            "protocol": evaluate.protocol(name, config, cache),
            "scores": [plain(s) for s in scores],
        }
        for s in scores:
            chance = "" if s.chance is None else f"{s.chance:.3f}"
            mark = "*" if s.shown_only else ""
            yield f"| {name} | {s.name}{mark} | {s.value:.4f} | {chance} | {s.samples} |"
        if model.ours and cache is not None:
            near = evaluate.leaked(name, config, cache)
            if near is not None:
                seen, judged = (near == leakage.NEAR).sum(), (near != leakage.TOO_PLAIN).sum()
                kept[name]["near_duplicates"] = int(seen)
                yield f"| {name} | near-duplicates of training pictures | {seen} | | {judged} |"
    if "out" in given:
        write(Path(str(given["out"])), as_json(kept))


@dataclass(frozen=True)
class _Model:
    """A model, the hash of its weights, and where its embeddings are kept if nobody says."""

    pretrained: Pretrained
    weights: str
    cache: Path | None
    ours: bool
    """Whether what it was trained on is known."""


def _model(given: str, trust: bool) -> _Model:
    from uniclip.run import load

    path = Path(given)
    if path.is_dir() or (path.parent / "spec.json").exists():
        pretrained = load(path)
        folder = RunFolder(path.resolve() if path.is_dir() else path.resolve().parent)
        weights = folder.weights if path.is_dir() else path
        in_store = folder.path.parent.name == "runs"
        return _Model(pretrained, _sum(weights), folder.cache if in_store else None, True)
    from uniclip.model import imported

    pretrained = imported.load(path, trust=trust)
    return _Model(pretrained, _sum(path), None, False)


def _sum(path: Path) -> str:
    with open(path, "rb") as stream:
        return file_digest(stream, lambda: blake2b(digest_size=16)).hexdigest()


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
