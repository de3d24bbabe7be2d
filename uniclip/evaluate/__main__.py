"""One model on one benchmark, from the command line.

    python -m uniclip.evaluate run=<run folder, weights file or checkpoint> [benchmark=bench14]
        [data_root=data] [protocol=clip2021] [trust=true] [out=scores.json]

A run of ours, or a checkpoint that `uniclip.model.imported` reads. Sets that are missing are named
with the line that says how to get them. For sweeps there is `sweep.py`, which keeps every score.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uniclip import evaluate
from uniclip.binding import bind, plain
from uniclip.compose import parse
from uniclip.config import RunConfig, RuntimeConfig
from uniclip.errors import UserError, unknown
from uniclip.files import as_json
from uniclip.files import replace as write

if TYPE_CHECKING:
    from uniclip.model.pretrained import Pretrained

JUDGED = ("data_root", "protocol")
KEYS = ("run", "benchmark", *JUDGED, "trust", "out")


def main(words: Sequence[str]) -> int:
    """Print a table; the exit status (2 for the user's errors)."""
    try:
        given = parse(words)
        for key in given:
            if key not in KEYS:
                raise unknown("key", key, KEYS)
        if "run" not in given:
            raise UserError("run= is missing: name a run's folder or a checkpoint")
        for line in _told(given):
            print(line, flush=True)
    except UserError as error:
        print(f"uniclip.evaluate: {error}", file=sys.stderr)
        return 2
    return 0


def _told(given: dict[str, Any]) -> Iterator[str]:
    asked = given.get("benchmark", "bench14")
    names = evaluate.expanded(asked if isinstance(asked, list) else [str(asked)])
    pretrained = _model(str(given["run"]), bool(given.get("trust", False)))
    config = _config(pretrained.config, given)
    kept: dict[str, Any] = {}
    yield "| data set | score | value | chance | samples |"
    yield "|---|---|---|---|---|"
    for name in names:
        lacking = evaluate.missing(name, config)
        if lacking is not None:
            yield f"| {name} | n/a: {lacking} | | | |"
            continue
        scores, _ = evaluate.evaluate(name, pretrained, config)
        kept[name] = {
            "protocol": evaluate.protocol(name, config),
            "scores": [plain(s) for s in scores],
        }
        for s in scores:
            chance = "" if s.chance is None else f"{s.chance:.3f}"
            mark = "*" if s.shown_only else ""
            yield f"| {name} | {s.name}{mark} | {s.value:.4f} | {chance} | {s.samples} |"
    if "out" in given:
        write(Path(str(given["out"])), as_json(kept))


def _model(run: str, trust: bool) -> Pretrained:
    from uniclip.run import load

    path = Path(run)
    if path.is_dir() or (path.parent / "spec.json").exists():
        return load(path)
    from uniclip.model import imported

    return imported.load(path, trust=trust)


def _config(config: RunConfig, given: dict[str, Any]) -> RunConfig:
    """The run's own, and where and how it is judged now."""
    words: dict[str, Any] = {k: str(given[k]) for k in JUDGED if k in given}
    runtime = bind(RuntimeConfig, {**plain(config.runtime), **words}, "runtime.")
    return replace(config, runtime=runtime)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
