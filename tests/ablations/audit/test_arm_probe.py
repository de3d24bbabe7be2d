"""The probe of an arm: sizes and times."""

from __future__ import annotations

import time

import pytest

from ablations.audit import arm_probe, audit
from ablations.plan.plan import ResolvedPlan
from tests.helpers.plans import TINY_COMPONENTS, plan_from_words
from tests.helpers.small_runs import tiny
from uniclip.config import RunConfig
from uniclip.training.trainer import setup_training, training_step

ARMS = "arms=[full,no-awareness,no-mp-nce,no-domain-similarity,clip,full-again]"


@pytest.fixture(scope="module")
def resolved_plan() -> ResolvedPlan:
    return plan_from_words(*TINY_COMPONENTS, ARMS)


def test_checkpoint_bytes_equal_those_of_a_written_checkpoint(resolved_plan: ResolvedPlan) -> None:
    result = audit.run_audit(resolved_plan.plan, resolved_plan.configs)
    estimated_bytes = {p.arm: p.checkpoint_bytes for p in result.probes}
    for name, config in resolved_plan.configs.items():
        batches, state = setup_training(config)
        training_step(state, batches.build_batch(0))
        state.validate(lambda pretrained: 0.5)
        assert estimated_bytes[name] == state.count_bytes(), name


def test_arms_with_other_averages_of_their_weights_are_no_duplicates() -> None:
    """Although the weights that are trained are equal."""
    slow, fast, again = (
        arm_probe.probe_arm(tiny(train={"ema_decay": decay})) for decay in (0.9, 0.5, 0.5)
    )
    assert slow.weights_digest != fast.weights_digest == again.weights_digest


def test_shared_preparation_is_not_counted_in_the_time_of_an_arm(
    resolved_plan: ResolvedPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first training on some data takes a day to set up, as if it rendered the images."""
    days = 0.0
    clock, prepared_data, original_setup = time.perf_counter, set(), arm_probe.setup_training

    def slow(config: RunConfig) -> object:
        nonlocal days
        days += 0 if config.data in prepared_data else 86_400
        prepared_data.add(config.data)
        return original_setup(config)

    monkeypatch.setattr(arm_probe, "setup_training", slow)
    monkeypatch.setattr("time.perf_counter", lambda: clock() + days)
    result = audit.run_audit(resolved_plan.plan, resolved_plan.configs)
    assert days == 86_400
    assert max(p.setup_and_eval_seconds for p in result.probes) < 43_200
