"""Scores on published sets for a made-up sweep: real records, values that a test knows."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.helpers import fake_sweep
from tests.helpers.fake_sweep import Truth
from uniclip.io.atomic import write_once
from uniclip.store import Arm, Cell, DatasetScores, Plan, Score, Store
from uniclip.store.json_io import to_json_bytes

ARMS = ("full", "none", "clip", "full-again")
HERE = ("cifar10", "dtd", "flowers102", "voc2007", "flickr30k", "coco")
GONE = ("sun397", "imagenet")
SAMPLES = 400
HASH = {dataset: f"{i:08x}" for i, dataset in enumerate((*HERE, *GONE), 1)}
VIT = {"image": {"name": "vit_base_patch32_clip_quickgelu_224", "image_size": 224, "options": {}}}
BASE = {
    "data": {"name": "csv", "path": "/pictures/x.csv"},
    "model": VIT,
    "pretrained": None,
    "runtime": {
        "protocol": "clip2021",
        "data_root": "/somewhere/sets",
        "pretraining_data": "YFCC15M",
    },
}

Value = Callable[[Cell, str], "float | None"]
"""Cell and data set -> its score; None = the run has none."""


def by_arm(levels: Mapping[str, float], noise: float = 0.004) -> Value:
    """A level for each arm (else 0.5), a little apart for each seed and set."""

    def value(cell: Cell, dataset: str) -> float:
        drawn = np.random.Generator(np.random.Philox(key=len(dataset) * 7919 + cell.seed))
        own = np.random.Generator(np.random.Philox(key=fake_sweep.rng.derive_key(cell.arm, cell.seed)))
        return float(levels.get(cell.arm, 0.5) + drawn.normal(0, 0.02) + own.normal(0, noise))

    return value


def make(
    root: Path,
    truth: Truth = Truth(),  # noqa: B008
    value: Value = by_arm({}),  # noqa: B008
    change: Callable[[Plan], Plan] = lambda plan: plan,
    extra: Callable[[Cell, str], Mapping[str, np.ndarray]] = lambda cell, dataset: {},
) -> tuple[Store, str]:
    """A fake sweep of `ARMS` whose plan asks for `HERE` and `GONE`, scored with these values."""
    store, plan = Store(root), change(planned(truth))
    store.get_sweep(plan.sweep_id).write_plan(plan)
    for cell in plan.cells:
        if (cell.arm, cell.seed) in truth.missing:
            continue
        fake_sweep.write_run(store, plan, cell, truth)
        for dataset, evaluation in plan.evaluation_hashes[cell.arm].items():
            level = None if dataset == "openmoji" else value(cell, dataset)
            if level is not None and (cell.arm, cell.seed) not in truth.diverged:
                _publish(store, cell, dataset, evaluation, level, extra(cell, dataset))
    return store, plan.sweep_id


def planned(truth: Truth = Truth()) -> Plan:  # noqa: B008
    """The plan of a fake sweep, its arms `ARMS`."""
    plan = fake_sweep.plan(truth)
    return replace(
        plan,
        arms=tuple(a for a in plan.arms if a.name in ARMS),
        cells=tuple(c for c in plan.cells if c.arm in ARMS),
        contrasts=tuple(c for c in plan.contrasts if set(c.weights) <= set(ARMS)),
        base_config={**plan.base_config, **BASE},
        evaluation_hashes={
            a: {"openmoji": fake_sweep.EVALUATION, **{d: HASH[d] for d in HERE}} for a in ARMS
        },
        missing_datasets={d: f"there is no /somewhere/sets/{d}; data download {d}" for d in GONE},
    )


def _publish(
    store: Store,
    cell: Cell,
    dataset: str,
    evaluation: str,
    level: float,
    extra: Mapping[str, np.ndarray],
) -> None:
    scores = [
        Score(
            name=name,
            value=level + shift,
            kind="map" if dataset == "voc2007" else kind,
            chance=None if kind == "error" else 0.1,
            num_samples=SAMPLES,
            report_only=kind == "error",
        )
        for name, kind, shift in _names(dataset)
    ]
    arrays = {"ids": np.arange(SAMPLES), **extra}
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    run = store.get_run(cell.run_id)
    write_once(run.predictions_path(dataset, evaluation), stream.getvalue())
    told = DatasetScores(
        dataset=dataset,
        evaluation_hash=evaluation,
        protocol={"protocol": "clip2021"},
        weights_digest="w" * 32,
        scores=tuple(scores),
    )
    write_once(run.scores_path(dataset, evaluation), to_json_bytes(told))


def _names(dataset: str) -> list[tuple[str, str, float]]:
    if dataset in ("flickr30k", "coco"):
        return [
            (f"retrieval.{way}.r{k}", "recall", k / 50)
            for way in ("i2t", "t2i")
            for k in (1, 5, 10)
        ]
    errors = [] if dataset == "voc2007" else [("zeroshot.ece", "error", -0.4)]
    return [("zeroshot", "accuracy", 0.0), ("probe", "accuracy", 0.2), *errors]  # type: ignore[list-item]


def with_arm(plan: Plan, name: str, delta: Mapping[str, object]) -> Plan:
    """The plan with another delta of one arm."""
    arms = tuple(
        Arm(name=a.name, label=a.label, role=a.role, levels=a.levels, config_diff=dict(delta))
        if a.name == name
        else a
        for a in plan.arms
    )
    return replace(plan, arms=arms)
