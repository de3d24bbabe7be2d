"""Model folders: loaded by the libraries that they are for, completed and replaced."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
from huggingface_hub import ModelCard

import uniclip
from analysis.exports.source import SweepSource
from tests.helpers import ROOT, fake_sweep
from tests.helpers.command_line import wait_until
from tests.helpers.exported_sweeps import count_changes, read_files
from tests.helpers.fake_sweep import EVALUATION, Truth
from tests.helpers.small_runs import claimed, opened, tiny
from uniclip import run
from uniclip.io.atomic import write_once
from uniclip.store import Cell, DatasetScores, Score, Store
from uniclip.store.json_io import to_json_bytes


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> SweepSource:
    """Return a sweep with one small run, trained and not evaluated."""
    root = tmp_path_factory.mktemp("store")
    folder = opened(root, tiny(train={"steps": 2}))
    run.execute_run(folder, tiny(train={"steps": 2}), claimed(folder), evaluations={})
    cell = Cell(arm="full", seed=0, run_id=folder.id)
    plan = dataclasses.replace(fake_sweep.plan(Truth(seeds=(0,))), cells=(cell,))
    Store(root).get_sweep(plan.sweep_id).write_plan(plan)
    return SweepSource(store=Store(root), plan=plan, cells=(cell,))


def add_scores(source: SweepSource) -> None:
    score = Score(name="retrieval.r1", value=0.123456, kind="recall", chance=0.1, num_samples=64)
    scores = DatasetScores(
        dataset="openmoji",
        evaluation_hash=EVALUATION,
        protocol={},
        weights_digest="w",
        scores=(score,),
    )
    run_folder = source.store.get_run(source.cells[0].run_id)
    write_once(run_folder.scores_path("openmoji", EVALUATION), to_json_bytes(scores))


def describe_files(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder, by its path relative to it."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_folder_is_loaded_completed_and_kept(source: SweepSource, tmp_path: Path) -> None:
    """Scores that come later change the card alone."""
    assert count_changes("huggingface", source, tmp_path) == {"new": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["full-0"]
    folder = tmp_path / "full-0"
    model = uniclip.load(source.store.get_run(source.cells[0].run_id).path)
    texts = ["a small red disc", "two blue squares"]
    exported = uniclip.load(folder / "uniclip")
    np.testing.assert_array_equal(exported.embed_texts(texts), model.embed_texts(texts))
    timm.create_model(f"local-dir:{folder}/image")
    before = read_files(folder)
    assert count_changes("huggingface", source, tmp_path) == {"unchanged": 1}
    assert read_files(folder) == before
    add_scores(source)
    assert count_changes("huggingface", source, tmp_path) == {"changed": 1}
    after = read_files(folder)
    assert {p for p in after if after[p] != before[p]} == {str(folder / "README.md")}
    results = ModelCard.load(folder / "README.md").data.eval_results
    assert results is not None
    assert [(r.dataset_type, r.metric_value) for r in results] == [("openmoji", 0.123456)]
    (folder / "README.md").unlink()
    assert count_changes("huggingface", source, tmp_path) == {"changed": 1}
    assert read_files(folder) == after
    (folder / "uniclip" / "format").unlink()  # as if it were of other weights
    assert count_changes("huggingface", source, tmp_path) == {"changed": 1}
    assert read_files(folder) == after


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["lock", "*/uniclip/weights.safetensors"])
def test_a_killed_export_is_completed(source: SweepSource, tmp_path: Path, moment: str) -> None:
    """Killed as soon as a file is there; nothing is left of it but the folder of the next one."""
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    killed.mkdir()
    words = ("tests.helpers.exported_sweeps", "huggingface", str(source.store.root), str(killed))
    child = subprocess.Popen([sys.executable, "-m", *words], cwd=ROOT, start_new_session=True)
    wait_until(lambda: [*killed.glob(f".partial-*/{moment}"), *killed.glob("full-0")])
    os.killpg(child.pid, signal.SIGKILL)
    assert child.wait() in (0, -signal.SIGKILL)
    is_whole = (killed / "full-0").exists()
    assert moment != "lock" or not is_whole
    (change,) = count_changes("huggingface", source, killed)
    assert change == ("unchanged" if is_whole else "new")
    assert count_changes("huggingface", source, whole) == {"new": 1}
    assert [path.name for path in killed.iterdir()] == ["full-0"]
    assert describe_files(killed) == describe_files(whole)
