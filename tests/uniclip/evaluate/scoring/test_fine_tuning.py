"""Full fine-tuning as an evaluation: it learns what a probe cannot, and survives a kill."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from signal import SIGKILL

import numpy as np
import pytest

from tests.helpers import dataset_copies
from tests.helpers.fine_tuning_tree import QUICK, build_model, write_cifar10
from tests.helpers.small_runs import claimed, opened, tiny
from tests.helpers.stub_models import values
from uniclip import evaluate
from uniclip import run as run_module
from uniclip.config import RunConfig
from uniclip.evaluate.scoring.fine_tuning import FOLDER
from uniclip.store import RunFolder, Store

NAME = "cifar10_finetune"
LEARNED = {
    "epochs": 1,
    "min_steps": 120,
    "batch_size": 32,
    "learning_rates": [1e-2],
    "num_validations": 3,
}


def test_it_beats_the_linear_probe_where_the_encoder_must_change(tmp_path: Path) -> None:
    """Whether two halves have the same colour is no linear function of pooled random features."""
    write_cifar10(tmp_path, num_train=400, num_test=200)
    model = build_model(tmp_path, LEARNED, method={"name": "clip"})
    probe = values(evaluate.evaluate("cifar10", model, model.config)[0])["probe"]
    scores, predictions = evaluate.evaluate(NAME, model, model.config)
    tuned = values(scores)
    assert tuned["finetune"] > 0.95
    assert probe < 0.85
    assert list(tuned) == ["finetune", "finetune.mean_per_class"]
    assert predictions["finetune"].mean() == tuned["finetune"], "outcomes of the items"
    assert predictions["finetune"].shape == predictions["ids"].shape == (200,)
    right = predictions["finetune.prediction"] == predictions["labels"]
    assert np.array_equal(right, predictions["finetune"])
    assert predictions["finetune.learning_rate"].tolist() == [1e-2]


def test_the_result_is_cached_and_the_checkpoint_removed(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    model = build_model(tmp_path, QUICK)
    arguments = (NAME, model, model.config)
    first, predictions = evaluate.evaluate(*arguments, tmp_path / "cache", "weights")
    assert not list((tmp_path / "cache" / FOLDER).iterdir())
    shutil.rmtree(tmp_path / "cifar-10-batches-py")
    again, same = evaluate.evaluate(*arguments, tmp_path / "cache", "weights")
    assert again == first
    assert all(np.array_equal(same[name], array) for name, array in predictions.items())


def test_it_is_in_float32_whatever_the_precision_of_embeddings(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    model = build_model(tmp_path, {**QUICK, "learning_rates": [1e-3], "num_validations": 1})
    runtime = replace(model.config.runtime, evaluation_precision="bf16")
    config = replace(model.config, runtime=runtime)
    hashes = [evaluate.evaluation_hash(NAME, c) for c in (model.config, config)]
    assert hashes[0] == hashes[1]
    assert evaluate.build_protocol("cifar10", config)["precision"] == "bf16"
    scores, _ = evaluate.evaluate(NAME, model, config)
    assert scores == evaluate.evaluate(NAME, model, model.config)[0]


def test_a_copy_in_shards_is_classified_by_its_own_names_and_templates(tmp_path: Path) -> None:
    names = ("first thing", "second thing")
    dataset_copies.write_classification(
        tmp_path / "wds_mnist", names, train=[0, 1] * 10, test=[0, 1, 1]
    )
    model = build_model(tmp_path, {**QUICK, "max_steps": 1, "min_steps": 1})
    copied, tuned = (evaluate.build_protocol(n, model.config) for n in ("mnist", "mnist_finetune"))
    assert tuned["templates"] == copied["templates"] == ["a photo of {}.", "{} on white."]
    assert tuned["names"] == copied["names"]
    _, predictions = evaluate.evaluate("mnist_finetune", model, model.config)
    assert predictions["labels"].tolist() == [0, 1, 1]
    assert set(predictions["finetune.prediction"].tolist()) <= {0, 1}


def test_a_cache_of_no_embeddings_has_checkpoints_nevertheless(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    model = build_model(tmp_path, QUICK)
    runtime = replace(model.config.runtime, embedding_cache_max_gb=0)
    config = replace(model.config, runtime=runtime)
    reports = []
    evaluate.evaluate(
        NAME, model, config, tmp_path / "cache", "weights", report_progress=reports.append
    )
    assert all(report.is_saved for report in reports)


def evaluate_run(root: Path, config: RunConfig, run_id: str) -> str:
    """Evaluate a trained run in a new attempt."""
    run = Store(root).get_run(run_id)
    hashes = {NAME: evaluate.evaluation_hash(NAME, config, run.cache_path)}
    return run_module.execute_run(run, config, claimed(run), evaluations=hashes)


def read_arrays(run: RunFolder, evaluation_hash: str) -> dict[str, np.ndarray]:
    with np.load(run.predictions_path(NAME, evaluation_hash)) as stored:
        return dict(stored)


@pytest.mark.slow
def test_a_killed_evaluation_continues_from_its_last_checkpoint(tmp_path: Path) -> None:
    """A process is killed in the middle of fine-tuning; the next one has the same scores."""
    write_cifar10(tmp_path / "sets")
    runtime = {
        "data_root": str(tmp_path / "sets"),
        "protocol": {"name": "quick", "fine_tuning": {**QUICK, "min_steps": 60, "max_steps": 60}},
        "checkpoint_seconds": 0,
    }
    config = tiny(train={"steps": 2, "validate_every": 2}, runtime=runtime)
    run = opened(tmp_path / "store", config)
    assert run_module.execute_run(run, config, claimed(run), evaluations={}) == "trained"
    twin = shutil.copytree(tmp_path / "store", tmp_path / "twin")
    assert evaluate_run(twin, config, run.id) == "evaluated"

    execute = partial(evaluate_run, tmp_path / "store", config, run.id)
    process = get_context("spawn").Process(target=execute)
    process.start()
    while not list(run.cache_path.glob(f"{FOLDER}/*.safetensors")):
        process.join(0.02)
        assert process.is_alive()
    process.kill()
    process.join()
    assert process.exitcode == -SIGKILL
    attempt = run.get_attempt(max(run.list_attempts()))
    heartbeat = attempt.read_heartbeat()
    assert heartbeat is not None
    assert heartbeat.phase.startswith(f"evaluating {NAME}")
    (checkpoint,) = run.cache_path.glob(f"{FOLDER}/*.safetensors")
    assert not run.list_score_paths()

    assert execute() == "evaluated"
    assert not checkpoint.exists()
    evaluation_hash = evaluate.evaluation_hash(NAME, config, run.cache_path)
    other = Store(twin).get_run(run.id)
    assert run.read_scores(NAME, evaluation_hash) == other.read_scores(NAME, evaluation_hash)
    mine, theirs = (read_arrays(r, evaluation_hash) for r in (run, other))
    assert all(np.array_equal(mine[name], theirs[name]) for name in theirs)
