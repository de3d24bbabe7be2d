"""Adaptive sweeps: the same cells are bought, however often they are killed and by whom."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from analysis.results.purchases import build_observations, build_purchase_rule
from analysis.statistics.purchases import CellKey, Purchases, StopReason, replay_purchases
from analysis.statistics.verdicts import PrimaryScore
from sweeps.config.adaptive_seeds import make_adaptive
from sweeps.config.request import SweepRequest
from sweeps.config.schema import SweepConfig
from sweeps.controller.adaptive_rounds import plan_next_round
from sweeps.controller.controller import SweepController
from sweeps.monitor.display import Display
from tests.helpers import adaptive_sweep
from tests.helpers.adaptive_sweep import (
    ARMS,
    MARGIN,
    MAX_SEEDS,
    NUM_SAMPLES,
    TrivialRequest,
    build_full_plan,
)
from uniclip.errors import UserError
from uniclip.store import CellPrices, Plan, Score, Store

SOAK = bool(os.environ.get("UNICLIP_SOAK"))
NUM_KILLS = 10
TIMEOUT_SECONDS = 300


def expect_purchases(store: Store, plan: Plan) -> Purchases:
    """Return what the rule buys if every score is known from the start."""
    full = build_full_plan()
    scores = {
        (c.arm, c.seed): Score(
            name="zero",
            value=full.specs[c.run_id]["config"]["score"],
            kind="accuracy",
            chance=0.0,
            num_samples=NUM_SAMPLES,
        )
        for c in full.plan.cells
    }
    observations = build_observations(full.plan, scores)
    score = PrimaryScore(key=("nothing", "zero"), observations=observations, margin=MARGIN)
    return replay_purchases(build_purchase_rule(store, plan), [score], set(scores))


def read_stored_cells(store: Store) -> tuple[Plan, list[CellKey]]:
    plan = store.get_sweep("adaptive-smoke-00000000").read_plan()
    assert plan is not None
    return plan, [(cell.arm, cell.seed) for cell in plan.cells]


def start(store: Store, *limits: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", adaptive_sweep.__name__, str(store.root), *limits],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
    )


def assert_bought_as_expected(store: Store, stop_reason: StopReason) -> None:
    plan, cells = read_stored_cells(store)
    expected = expect_purchases(store, plan)
    assert expected.stop_reason is stop_reason
    assert sorted(cells) == sorted(expected.cells)
    for cell in plan.cells:
        run = store.get_run(cell.run_id)
        assert run.read_outcome() is not None
    runs = {cell.run_id for cell in plan.cells}
    others = [c.run_id for c in build_full_plan().plan.cells if c.run_id not in runs]
    assert not any(store.get_run(run_id).list_attempts() for run_id in others)


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.parametrize("limits", [(), ("11.5",)] if SOAK else [()])
def test_ten_kills_in_one_sweep(tmp_path: Path, limits: tuple[str, ...]) -> None:
    store, chance = Store(tmp_path / "store"), random.Random(time.time_ns())
    for _ in range(NUM_KILLS):
        process = start(store, *limits)
        time.sleep(chance.uniform(1.5, 5))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=TIMEOUT_SECONDS)
    process = start(store, *limits)
    output, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 0, output
    reason = StopReason.MAX_GPU_HOURS if limits else StopReason.DECIDED
    assert_bought_as_expected(store, reason)


@pytest.mark.slow
@pytest.mark.soak
def test_two_controllers_buy_the_same_cells(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    processes = [start(store, "11.5") for _ in range(2)]
    output = [process.communicate(timeout=TIMEOUT_SECONDS)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], output
    assert_bought_as_expected(store, StopReason.MAX_GPU_HOURS)


def test_the_first_plan_holds_the_initial_seeds_and_the_rule(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    first = make_adaptive(build_full_plan(), store, max_seeds=MAX_SEEDS, max_gpu_hours=None).plan
    assert [(c.arm, c.seed) for c in first.cells] == [(a, s) for s in range(4) for a in ARMS]
    assert first.adaptive is not None
    assert first.looks_text.startswith(f"every seed from 4 to {MAX_SEEDS} (levels 0.0")
    others = [
        make_adaptive(build_full_plan(), store, max_seeds=8, max_gpu_hours=None).plan,
        make_adaptive(build_full_plan(), store, max_seeds=MAX_SEEDS, max_gpu_hours=1.0).plan,
    ]
    digests = {p.adaptive.digest for p in [first, *others] if p.adaptive is not None}
    assert len(digests) == 3


def test_a_round_of_another_sweep_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store")
    request = TrivialRequest(store)
    controller = SweepController(
        store=store,
        resolved_plan=request.build_plan(),
        settings=SweepConfig(),
        display=Display(redraws=False),
    )
    assert plan_next_round(cast(SweepRequest, request), controller) is None
    full = build_full_plan()
    changed = replace(full, plan=replace(full.plan, sweep_id="adaptive-smoke-11111111"))
    monkeypatch.setattr(adaptive_sweep, "build_full_plan", lambda: changed)
    with pytest.raises(UserError, match="have changed since .* now make adaptive-smoke-11111111"):
        plan_next_round(cast(SweepRequest, request), controller)


def test_prices_are_written_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    folder = store.get_sweep("adaptive-smoke-00000000")
    assert folder.read_cell_prices() is None
    folder.fix_cell_prices(CellPrices(gpu_hours={"full": 1.0}))
    folder.fix_cell_prices(CellPrices(gpu_hours={"full": 2.0}))
    prices = folder.read_cell_prices()
    assert prices is not None
    assert prices.gpu_hours == {"full": 1.0}
