"""Copying finished runs, and the records of sweeps, from one store to another.

Only files of known names are copied, and nothing to which a link leads, of the file itself or of a
folder: a store may come from somebody else.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from uniclip.io.atomic import atomic_write, write_once
from uniclip.io.hashing import digest_text
from uniclip.store import Plan, RunFolder, Store, SweepFolder
from uniclip.store.copy_searches import list_copies_paths

ATTEMPT_FILES = (*("metrics.jsonl", "usage.jsonl", "events.jsonl", "heartbeat", "end.json", "log"),)


def copy_run(source: RunFolder, target: Store, scratch: Path) -> None:
    """Copy a finished run that `target` does not have; it appears there complete.

    Args:
        source: the run.
        target: the store.
        scratch: a folder in `target` for the copy in progress.
    """
    copy = RunFolder(scratch / source.id)
    shutil.rmtree(copy.path, ignore_errors=True)
    for name in _list_run_files(source):
        _copy_file(source.path / name, copy.path / name)
    run_path = target.get_run(source.id).path
    run_path.parent.mkdir(parents=True, exist_ok=True)
    os.rename(copy.path, run_path)


def copy_scores(source: RunFolder, target: RunFolder) -> int:
    """Copy the scores that `target`, a run with the same weights, lacks; return how many.

    Likewise the searches for copies of training images.
    """
    paths = [path for path in sorted(source.list_score_paths()) if path.suffix == ".json"]
    names = [path.name for path in paths if _is_regular(path, source.path)]
    missing = [name for name in names if not (target.path / "scores" / name).exists()]
    for name in missing:  # scores last: where they are, the predictions are too
        predictions = f"predictions/{Path(name).stem}.npz"
        if _is_regular(source.path / predictions, source.path):
            write_once(target.path / predictions, (source.path / predictions).read_bytes())
        write_once(target.path / "scores" / name, (source.path / "scores" / name).read_bytes())
    for path in _list_copy_searches(source):
        if _is_regular(path, source.path):
            write_once(target.path / path.relative_to(source.path), path.read_bytes())
    return len(missing)


def copy_environments(source: Store, target: Store) -> None:
    """Copy the environments of the attempts; a file that is not what its name says is left out."""
    with suppress(FileNotFoundError):
        for name in sorted(os.listdir(source.root / "environments")):
            digest, path = Path(name).stem, source.root / "environments" / name
            if _is_regular(path, source.root) and path == source.environment_path(digest):
                data = path.read_bytes()
                if digest_text(data.decode(errors="replace")) == digest:
                    write_once(target.environment_path(digest), data)


def copy_sweep_records(source: SweepFolder, target: SweepFolder) -> None:
    """Copy the audit, the prices of adaptive seeds, and the lines of measurements and estimates
    that `target` lacks."""
    for source_path, target_path in (
        (source.audit_path, target.audit_path),
        (source.cell_prices_path, target.cell_prices_path),
    ):
        if _is_regular(source_path, source.path):
            write_once(target_path, source_path.read_bytes())
    pairs = (
        (source.probes_path, target.probes_path),
        (source.cost_estimates_path, target.cost_estimates_path),
    )
    for source_path, target_path in pairs:
        if _is_regular(source_path, source.path):
            lines = target_path.read_bytes().splitlines() if target_path.exists() else []
            new_lines = [x for x in source_path.read_bytes().splitlines() if x not in lines]
            if new_lines:
                atomic_write(target_path, b"".join(line + b"\n" for line in [*lines, *new_lines]))


def list_tuning_rounds(store: Store, plan: Plan) -> list[Path]:
    """Return the files with the trials that tuned a sweep, oldest first; none if it was not."""
    if plan.tuning is None or not plan.tuning.study:
        return []
    names = (plan.tuning.default_sweep, plan.tuning.study)
    if any(Path(name).name != name or name == ".." for name in names):
        return []  # no name of a folder: a path that leads elsewhere
    paths = store.get_study(*names).list_round_paths()
    return [path for path in paths if _is_regular(path, store.root)]


def copy_tuning_rounds(source: Store, target: Store, plan: Plan) -> None:
    """Copy the rounds of a tuning that `target` lacks."""
    for path in list_tuning_rounds(source, plan):
        write_once(target.root / path.relative_to(source.root), path.read_bytes())


def _list_copy_searches(run: RunFolder) -> list[Path]:
    return [path for path in sorted(list_copies_paths(run)) if path.suffix == ".json"]


def _list_run_files(run: RunFolder) -> Iterator[str]:
    """Yield the paths of the files of a finished run, relative to its folder; the outcome last."""
    paths = [run.path / "spec.json", run.config_path, run.tokenizer_path]
    paths += [run.best_weights_path, run.weights_path]
    paths += sorted(run.path.glob("predictions/*.npz"))
    paths += sorted(path for path in run.list_score_paths() if path.suffix == ".json")
    paths += _list_copy_searches(run)
    for number in run.list_attempts():
        attempt = run.get_attempt(number)
        paths += [attempt.claim_path, *(attempt.path / name for name in ATTEMPT_FILES)]
    for path in [*paths, run.path / "outcome.json"]:
        if _is_regular(path, run.path):
            yield path.relative_to(run.path).as_posix()


def _copy_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(source, "rb") as stream, open(target, "xb") as copy:
        shutil.copyfileobj(stream, copy, 1 << 20)
        copy.flush()
        os.fsync(copy.fileno())


def _is_regular(path: Path, folder: Path) -> bool:
    """Return whether a path below a folder is a file, to which no link below the folder leads."""
    return path.is_file() and path.resolve() == folder.resolve() / path.relative_to(folder)
