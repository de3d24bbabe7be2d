"""A synthetic sweep with scores on published data sets whose values a test knows."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np

from tests.helpers import fake_sweep
from tests.helpers.fake_sweep import Truth
from uniclip.io.atomic import write_once
from uniclip.store import Arm, Cell, DatasetScores, Plan, Score, Store
from uniclip.store.json_io import to_json_bytes

ARMS = ("full", "none", "clip", "full-again")
PRESENT = ("cifar10", "dtd", "flowers102", "voc2007", "flickr30k", "coco")
MISSING = ("sun397", "imagenet")
NUM_SAMPLES = 400
EVALUATION_HASHES = {dataset: f"{i:08x}" for i, dataset in enumerate((*PRESENT, *MISSING), 1)}
MODEL_CONFIG = {
    "image": {"name": "vit_base_patch32_clip_quickgelu_224", "image_size": 224, "options": {}}
}
BASE_CONFIG = {
    "data": {"name": "csv", "path": "/pictures/x.csv"},
    "model": MODEL_CONFIG,
    "pretrained": None,
    "runtime": {
        "protocol": "clip2021",
        "data_root": "/somewhere/sets",
        "pretraining_data": "YFCC15M",
    },
}

ScoreFunction = Callable[[Cell, str], "float | None"]
"""(cell, data set) -> score; None if the run has none."""


def score_by_arm(levels: Mapping[str, float], noise: float = 0.004) -> ScoreFunction:
    """Return a score per cell: a level per arm (default 0.5), with noise per seed and set."""

    def value(cell: Cell, dataset: str) -> float:
        seed_noise = np.random.Generator(np.random.Philox(key=len(dataset) * 7919 + cell.seed))
        run_noise = np.random.Generator(
            np.random.Philox(key=fake_sweep.rng.derive_key(cell.arm, cell.seed))
        )
        return float(
            levels.get(cell.arm, 0.5) + seed_noise.normal(0, 0.02) + run_noise.normal(0, noise)
        )

    return value


def make(
    root: Path,
    truth: Truth = Truth(),  # noqa: B008
    value: ScoreFunction = score_by_arm({}),  # noqa: B008
    change: Callable[[Plan], Plan] = lambda plan: plan,
    extra: Callable[[Cell, str], Mapping[str, np.ndarray]] = lambda cell, dataset: {},
) -> tuple[Store, str]:
    """Write a sweep of `ARMS` on `PRESENT`, with `MISSING` missing; return store and id."""
    store, plan = Store(root), change(build_plan(truth))
    store.get_sweep(plan.sweep_id).write_plan(plan)
    with mock.patch("os.fsync"):  # nothing here must outlast a crash of the machine
        for cell in plan.cells:
            if (cell.arm, cell.seed) in truth.missing:
                continue
            fake_sweep.write_run(store, plan, cell, truth)
            for dataset, evaluation in plan.evaluation_hashes[cell.arm].items():
                level = None if dataset == "openmoji" else value(cell, dataset)
                if level is not None and (cell.arm, cell.seed) not in truth.diverged:
                    _publish(store, cell, dataset, evaluation, level, extra(cell, dataset))
    return store, plan.sweep_id


def build_plan(truth: Truth = Truth()) -> Plan:  # noqa: B008
    """Return the plan of a fake sweep with the arms `ARMS`."""
    plan = fake_sweep.plan(truth)
    return replace(
        plan,
        arms=tuple(a for a in plan.arms if a.name in ARMS),
        cells=tuple(c for c in plan.cells if c.arm in ARMS),
        contrasts=tuple(c for c in plan.contrasts if set(c.weights) <= set(ARMS)),
        base_config={**plan.base_config, **BASE_CONFIG},
        evaluation_hashes={
            a: {"openmoji": fake_sweep.EVALUATION, **{d: EVALUATION_HASHES[d] for d in PRESENT}}
            for a in ARMS
        },
        missing_datasets={
            d: f"there is no /somewhere/sets/{d}; data download {d}" for d in MISSING
        },
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
            num_samples=NUM_SAMPLES,
            report_only=kind == "error",
        )
        for name, kind, shift in _list_scores(dataset)
    ]
    arrays = {"ids": np.arange(NUM_SAMPLES), **extra}
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    run = store.get_run(cell.run_id)
    write_once(run.predictions_path(dataset, evaluation), stream.getvalue())
    dataset_scores = DatasetScores(
        dataset=dataset,
        evaluation_hash=evaluation,
        protocol={"protocol": "clip2021"},
        weights_digest="w" * 32,
        scores=tuple(scores),
    )
    write_once(run.scores_path(dataset, evaluation), to_json_bytes(dataset_scores))


def _list_scores(dataset: str) -> list[tuple[str, str, float]]:
    if dataset in ("flickr30k", "coco"):
        return [
            (f"retrieval.{direction}.r{k}", "recall", k / 50)
            for direction in ("i2t", "t2i")
            for k in (1, 5, 10)
        ]
    errors = [] if dataset == "voc2007" else [("zeroshot.ece", "error", -0.4)]
    return [("zeroshot", "accuracy", 0.0), ("probe", "accuracy", 0.2), *errors]  # type: ignore[list-item]


def replace_arm_config(plan: Plan, name: str, config_diff: Mapping[str, object]) -> Plan:
    """Return the plan with another configuration difference of one arm."""
    arms = tuple(
        Arm(name=a.name, label=a.label, role=a.role, levels=a.levels, config_diff=dict(config_diff))
        if a.name == name
        else a
        for a in plan.arms
    )
    return replace(plan, arms=arms)
