"""Scores without copies, and what a search by embedding needs."""

from __future__ import annotations

import os
import stat
from types import SimpleNamespace

import numpy as np
import pytest

from tests.helpers.copy_verdicts import make_verdicts
from tests.uniclip.evaluate.scoring.test_dataset_splits import build_config
from uniclip.errors import UserError
from uniclip.evaluate.leakage import (
    ProgressReport,
    build_copy_search,
    count_verdicts,
    locate_training_data,
    score_without_copies,
    store_copies,
)
from uniclip.evaluate.scoring.score_card import ScoreCard
from uniclip.store import RunFolder, Store
from uniclip.store.copy_searches import list_copies_paths
from uniclip.store.permissions import read_umask


def test_scores_without_near_duplicates_are_means_over_the_other_images():
    score_card = ScoreCard()
    score_card.add_outcomes("zeroshot", np.array([1.0, 1, 0, 0]), kind="accuracy", chance=0.1)
    score_card.add_outcomes("retrieval.t2i.r1", np.ones(4), kind="recall", chance=0.1)
    score_card.add_outcomes("retrieval.i2t.r1", np.ones(4) / 2, kind="recall", chance=0.1)
    score_card.add_scalar("zeroshot.ece", 0.5, kind="error", samples=4)
    score_card.add_array("ids", np.arange(4))
    score_card.add_array("retrieval.t2i.image", np.array([1, 1, 2, 3]))
    results = score_card.get_results()
    without = score_without_copies(*results, np.array([1, 0, 0, -1], np.int8))
    assert without == {"zeroshot": 1 / 3, "retrieval.i2t.r1": 1 / 2}, "no caption is of a copy"
    for nothing in (np.zeros(4, np.int8), np.ones(4, np.int8)):
        assert score_without_copies(*results, nothing) == {}


def test_images_of_one_photograph_count_once():
    predictions = {"photographs": np.array([0, 0, 1, 2])}
    counts = count_verdicts(predictions, np.array([1, 1, -1, 0], np.int8))
    assert counts == {"copies": 1, "decided": 2}


def test_a_search_needs_a_run_and_a_folder(tmp_path):
    checkpoint = SimpleNamespace(run=None)
    assert build_copy_search("weights.pt", checkpoint, tmp_path, {}) is None, "not asked for"
    with pytest.raises(UserError, match="copies= needs a run"):
        build_copy_search("weights.pt", checkpoint, tmp_path, {"copies": "embedding"})
    model = SimpleNamespace(run=RunFolder(tmp_path / "0123"))
    with pytest.raises(UserError, match="cache_dir="):
        build_copy_search("0123", model, None, {"copies": "embedding"})


def test_a_run_that_cannot_be_written_costs_one_line(tmp_path, capsys):
    (tmp_path / "run").write_text("a file where the folder of the run belongs")
    search = SimpleNamespace(cache_folder=tmp_path / "cache")
    config = build_config(tmp_path)
    store_copies(RunFolder(tmp_path / "run"), "scenes", config, search, make_verdicts(3))
    (line,) = capsys.readouterr().err.splitlines()
    assert "the search for copies on scenes cannot be stored" in line


def test_damaged_plans_of_other_sweeps_do_not_keep_a_run_from_evaluation(tmp_path):
    store = Store(tmp_path / "store")
    plan_path = store.get_sweep("old-0123").path / "plan.json"
    plan_path.parent.mkdir(parents=True)
    plan_path.write_text('{"version": "of another library"}')
    model = SimpleNamespace(run=store.get_run("0123"), cache_dir=store.cache_path)
    config = build_config(tmp_path)
    assert locate_training_data(config, model) == config


def test_who_shares_a_run_may_read_and_replace_its_searches(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    run.path.chmod(0o2770)
    config, search = build_config(tmp_path), SimpleNamespace(cache_folder=tmp_path / "cache")
    umask = os.umask(0o077)
    try:
        store_copies(run, "scenes", config, search, make_verdicts(3))
        assert read_umask() == 0o077, "other files are made as before"
    finally:
        os.umask(umask)
    (path,) = list_copies_paths(run)
    modes = [stat.S_IMODE(p.stat().st_mode) & 0o777 for p in (path.parent, path)]
    assert modes == [0o770, 0o660]


def test_progress_is_written_at_the_start_and_the_end(capsys):
    report = ProgressReport()
    for done in (10, 20, 30):
        report(done, 30)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" of ")[0].split()[-1] for line in lines] == ["10", "30"]
