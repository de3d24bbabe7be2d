"""Runs from elsewhere as a sweep of the store: tables, statistics and a report, not audited."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sweeps.merging.imported_runs import ImportedRun
from uniclip.errors import UserError, make_unknown_name_error
from uniclip.identity import compute_run_id
from uniclip.io.atomic import atomic_write, write_once
from uniclip.io.hashing import digest
from uniclip.store import (
    DEFAULT_LOOKS,
    Arm,
    AttemptFolder,
    Cell,
    ClaimRecord,
    Contrast,
    DatasetScores,
    Look,
    Outcome,
    Plan,
    PrimaryMetric,
    RunFolder,
    Score,
    ScoreKind,
    Store,
)
from uniclip.store.json_io import to_json_bytes
from uniclip.store.sweep_records import IMPORTED

DATASET = "program"
MIN_SEEDS = 3
"""Fewest seeds with a verdict."""


def build_plan(
    name: str,
    runs: Sequence[ImportedRun],
    kinds: Mapping[str, ScoreKind],
    source: Path,
    *,
    reference: str | None = None,
    title: str = "",
) -> tuple[Plan, dict[str, ImportedRun]]:
    """Return the plan of imported runs, and run id -> run.

    Seeds that are not consecutive are numbered, since verdicts count seeds from the first one on.
    The id of the sweep covers runs, reference and scores: with another reference it is another one.

    Args:
        name: Name of the sweep.
        runs: The runs.
        kinds: Score -> what it measures; the first one is primary.
        source: Where they are from, for the note on every table.
        reference: The arm that others are compared with; None for that of the first run.
        title: Title of the report.

    Raises:
        UserError: there is no such arm, or a run lacks a score.
    """
    arm_names = list(dict.fromkeys(run.arm for run in runs))
    reference = reference or arm_names[0]
    if reference not in arm_names:
        raise make_unknown_name_error("arm", reference, arm_names)
    for run in runs:
        if missing := [score for score in kinds if score not in run.scores]:
            raise UserError(f"arm {run.arm}, seed {run.seed} has no score {missing[0]}")
    runs, seed_note = _number_seeds(runs)
    runs_by_id = {compute_run_id(_build_spec(run)): run for run in runs}
    seeds = tuple(sorted({run.seed for run in runs}))
    evaluation_hash = digest({"imported": dict(kinds)}, 12)
    look = Look(num_seeds=len(seeds), level=0.05)
    plan = Plan(
        sweep_id=f"{name}-imported-{digest([sorted(runs_by_id), reference, [*kinds.items()]], 8)}",
        ablation=name,
        title=title or f"Imported runs: {name}",
        budget="imported",
        data=DATASET,
        design="listed",
        arms=tuple(_build_arm(arm) for arm in arm_names),
        reference=reference,
        components=(),
        contrasts=tuple(_build_contrast(a, reference) for a in arm_names if a != reference),
        primary_metric=PrimaryMetric(dataset=DATASET, metric=next(iter(kinds))),
        seeds=seeds,
        cells=tuple(
            Cell(arm=run.arm, seed=run.seed, run_id=run_id) for run_id, run in runs_by_id.items()
        ),
        evaluation_hashes={arm: {DATASET: evaluation_hash} for arm in arm_names},
        missing_datasets={},
        base_config={
            "values": {"arm": reference},
            "train": {"num_threads": 1},
            "runtime": {"device": "cpu"},
            "benchmark": [DATASET],
        },
        executor=IMPORTED,
        first_seed=seeds[0],
        looks=(look,) if len(seeds) >= MIN_SEEDS else DEFAULT_LOOKS,
        provenance_notes=(
            f"Imported from {source.name}: not audited, not planned here, provenance unverified."
            + seed_note,
        ),
    )
    return plan, runs_by_id


def write_sweep(
    store: Store, plan: Plan, runs: Mapping[str, ImportedRun], kinds: Mapping[str, ScoreKind]
) -> int:
    """Write a plan and its runs to a store; return how many runs were not there before."""
    store.require_writable()
    store.write_format_version()
    num_new = 0
    for run_id, imported_run in runs.items():
        folder = store.get_run(run_id)
        num_new += folder.read_outcome() is None
        _write_run(folder, imported_run)
        _write_scores(
            folder, imported_run, kinds, plan.evaluation_hashes[imported_run.arm][DATASET]
        )
    store.get_sweep(plan.sweep_id).write_plan(plan)
    return num_new


def _number_seeds(runs: Sequence[ImportedRun]) -> tuple[list[ImportedRun], str]:
    seeds = sorted({run.seed for run in runs})
    if seeds == list(range(seeds[0], seeds[0] + len(seeds))):
        return [*runs], ""
    numbers = {seed: number for number, seed in enumerate(seeds)}
    names = ", ".join(map(str, seeds))
    return (
        [replace(run, seed=numbers[run.seed]) for run in runs],
        f" Seeds {names} are numbered from 0.",
    )


def _build_spec(run: ImportedRun) -> dict[str, object]:
    return {
        "kind": IMPORTED,
        "config": {"seed": run.seed, "values": {"arm": run.arm}},
        "data": {"origin": run.origin, "scores": run.scores},
    }


def _build_arm(name: str) -> Arm:
    return Arm(name=name, label=name, role="outside", levels={}, config_diff={"values.arm": name})


def _build_contrast(arm: str, reference: str) -> Contrast:
    return Contrast(
        name=f"{arm} - {reference}",
        label=f"{arm} vs. {reference}",
        kind="difference",
        weights={arm: 1.0, reference: -1.0},
        primary=True,
    )


def _write_run(folder: RunFolder, run: ImportedRun) -> None:
    """Write a run, the outcome last: until then, another import writes all of it again."""
    folder.write_spec(_build_spec(run))
    if folder.read_outcome() is not None:
        return
    if run.records:
        attempt = _claim(folder, run)
        lines = [json.dumps(record).encode() + b"\n" for record in run.records]
        atomic_write(attempt.metrics_path, b"".join(lines))
        attempt.write_end("trained")
    seconds = {"training_seconds": run.end - run.start} if run.end > run.start else {}
    folder.write_outcome(
        Outcome(
            kind="trained",
            step=max((record["step"] for record in run.records), default=0),
            attempt=1,
            training_hash="",
            source_hash="",
            numerics_class={},
            weights_digest=None,
            best_step=None,
            cost=seconds,
        )
    )


def _claim(folder: RunFolder, run: ImportedRun) -> AttemptFolder:
    """Return the attempt that holds the metrics, which an earlier import may have claimed."""
    claim_record = ClaimRecord(
        host="imported",
        boot_id="",
        pid=0,
        start_ticks=0,
        source_hash="",
        training_hash="",
        numerics_class={},
        time=run.start,
    )
    return folder.claim_attempt(1, claim_record) or folder.get_attempt(1)


def _write_scores(
    folder: RunFolder, run: ImportedRun, kinds: Mapping[str, ScoreKind], evaluation_hash: str
) -> None:
    dataset_scores = DatasetScores(
        dataset=DATASET,
        evaluation_hash=evaluation_hash,
        protocol={"scored by": "another program, imported"},
        weights_digest="",
        scores=tuple(
            Score(name=name, value=run.scores[name], kind=kind, chance=None, num_samples=0)
            for name, kind in kinds.items()
        ),
    )
    write_once(folder.scores_path(DATASET, evaluation_hash), to_json_bytes(dataset_scores))
