"""Set-up, scores, costs, disagreements and next steps as data frames."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.frames.sweep import (
    choose_compared_arms,
    tabulate_arms,
    tabulate_costs,
    tabulate_disagreements,
    tabulate_next_steps,
    tabulate_scores,
    tabulate_setup,
)
from analysis.results.results import Results
from tests.helpers import fake_sweep
from tests.helpers.analyzed_sweeps import (
    analyze_adaptive_sweep,
    analyze_fake_sweep,
    analyze_sweep,
)
from tests.helpers.fake_sweep import Truth
from tests.helpers.fake_tuned_sweep import make_tuned_sweep
from uniclip.errors import UserError
from uniclip.frames.store_frames import open_store


def test_setup_and_arms(complete_results: Results) -> None:
    setup = tabulate_setup(complete_results)
    assert setup.loc[("Machines", "hosts"), "value"] == "h"
    arms = tabulate_arms(complete_results)
    assert arms.loc["full", ["role", "num_complete"]].tolist() == ["reference", 3]


def test_scores_are_means_over_seeds(complete_results: Results) -> None:
    scores = tabulate_scores(complete_results)
    mean = complete_results.compute_mean("clip")
    assert scores.loc[("openmoji", "retrieval.r1"), "clip"] == mean
    assert scores.loc[("openmoji", "retrieval.r1"), "unit"] == "fraction"


def test_costs_by_arm_and_by_cell(complete_results: Results) -> None:
    costs = tabulate_costs(complete_results)
    assert costs.loc["full", "training_seconds"] == 20.0
    assert costs.attrs["units"]["training_seconds"] == "s"
    assert tabulate_costs(complete_results, by_cell=True).index.names == ["arm", "seed"]


def test_disagreements_are_ordered_by_their_size(
    complete_root: Path, complete_results: Results
) -> None:
    store = open_store(complete_root)
    assert choose_compared_arms(complete_results) == ("full", "no-awareness")
    frame = tabulate_disagreements(store, complete_results, "full", "no-awareness")
    sizes = frame["difference"].abs().tolist()
    assert sizes == sorted(sizes, reverse=True)
    effect = complete_results.effects["full - no-awareness"]
    assert frame["difference"].mean() == pytest.approx(effect.mean)
    assert frame["first"].between(0, 1).all()
    with pytest.raises(UserError, match="unknown arm 'clap': did you mean clip"):
        tabulate_disagreements(store, complete_results, "full", "clap")


def test_without_saved_outcomes_nobody_disagrees(tmp_path: Path) -> None:
    cells = tuple((arm.name, seed) for arm in fake_sweep.arms() for seed in (0, 1))
    for truth in (Truth(seeds=(0, 1), unscored=cells), Truth(seeds=(0,), unscored=(("clip", 0),))):
        store, sweep_id = fake_sweep.make(tmp_path / str(len(truth.unscored)), truth)
        results = analyze_sweep(store, sweep_id)
        frame = tabulate_disagreements(open_store(store.root), results, "full", "clip")
        assert frame.empty
        assert list(frame) == ["first", "second", "difference", "num_seeds"]
        assert frame.index.names == ["item", "image", "cluster"]
        assert frame.attrs["second"] == "clip"
        assert frame.attrs["score"] == results.primary_score[1]


def test_next_steps_are_cells_looks_and_seeds(tmp_path: Path) -> None:
    results = analyze_fake_sweep(tmp_path / "a", Truth(seeds=(0, 1)))
    (step,) = tabulate_next_steps(results).to_dict("records")
    sweep = results.plan.sweep_id
    assert step["command"] == f"python sweep.py run {sweep} seeds=3"
    missing = analyze_fake_sweep(tmp_path / "b", Truth(missing=(("clip", 1),)))
    assert tabulate_next_steps(missing)["step"][0] == "finish 1 cells"
    store, plan = make_tuned_sweep(tmp_path / "c")
    commands = tabulate_next_steps(analyze_sweep(store, plan.sweep_id))["command"]
    assert not any("sweep.py run" in command for command in commands)
    adaptive = tabulate_next_steps(analyze_adaptive_sweep(tmp_path / "d"))
    assert not any("seeds=" in command for command in adaptive["command"])
