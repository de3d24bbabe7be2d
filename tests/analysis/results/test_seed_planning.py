"""Seeds and hours that an effect takes, before they are run."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.results.seed_planning import describe_pilot, describe_seeds_for_mde, format_hours
from analysis.statistics.power import find_required_seeds
from tests.helpers import fake_sweep
from tests.helpers.analyzed_sweeps import analyze_sweep
from tests.helpers.fake_sweep import Truth
from uniclip.store import DEFAULT_LOOKS, Store

TRUTH = Truth(seeds=tuple(range(5)), looks=DEFAULT_LOOKS, noise=0.004)


def test_the_price_of_pilot_seeds() -> None:
    plan = fake_sweep.plan(TRUTH)
    seconds = {arm.name: 90.0 for arm in plan.arms}
    arms = len(plan.arms)
    text = describe_pilot(plan, 3, seconds, gpus=2)
    assert f"3 seeds of {arms} arms, {3 * arms} cells, {arms * 3 * 90 * 2 / 3600:.2g} GPU-h" in text
    assert "seeds=3" in text
    assert format_hours(plan, 1, seconds, 0).endswith("worker hours")
    assert "--probe" in format_hours(plan, 1, {"full": 90.0}, 0)


def test_before_any_run_the_seeds_are_unknown(tmp_path: Path) -> None:
    plan = fake_sweep.plan(TRUTH)
    (text,) = describe_seeds_for_mde(Store(tmp_path), plan, plan, 0.01, {}, 0)
    assert text.endswith("unknown until pilot seeds ran (plan pilot=3 prices them)")


@pytest.mark.parametrize("mde", [0.003, 0.01, 0.05])
def test_the_seeds_are_those_of_the_power_of_the_looks(tmp_path: Path, mde: float) -> None:
    store, sweep_id = fake_sweep.make(tmp_path, TRUTH)
    plan = fake_sweep.plan(TRUTH)
    results = analyze_sweep(store, sweep_id)
    effects = [results.effects[c.name] for c in results.primary_contrasts]
    spread = max(effect.spread or 0.0 for effect in effects)
    family_size = effects[0].look.family_size if effects[0].look else 0
    required = None
    for look in DEFAULT_LOOKS:
        required = find_required_seeds(mde / spread, look.level / family_size, equivalence=False)
        if required is not None and required <= look.num_seeds:
            required = look.num_seeds
            break
    (text,) = describe_seeds_for_mde(store, plan, plan, mde, {}, 0)
    assert f": {required} seeds (" in text
    assert "from the spread of 5 seeds" in text
