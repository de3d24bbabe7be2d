"""Compiled encoders compute what the others do, and keep their names."""

from __future__ import annotations

import pytest
import torch

from tests.uniclip.models.test_activation_checkpointing import VIT, VIT_OPTIONS, build_state
from uniclip.models.compilation import compile_encoders
from uniclip.training import trainer

MODEL = {"image": {**VIT, "options": {**VIT_OPTIONS, "drop_path_rate": 0.0}}}
"""Without dropout, which compiled code draws otherwise."""
TOLERANCE = 1e-4
"""Relative, of losses and gradient norms of a few steps."""


def run_steps(is_compiled: bool) -> tuple[list[str], list[float]]:
    """Return the names of the weights, and loss and gradient norm of each of two steps."""
    batches, state = build_state(MODEL, numerics="fast")
    if is_compiled:
        compile_encoders(state.embedder, "aot_eager")
    numbers = []
    for step in range(2):
        step_metrics = trainer.training_step(state, batches.build_batch(step))
        numbers += [step_metrics.loss, step_metrics.grad_norm]
        state.record_step(0.0, clipped=False)
    return list(state.modules.state_dict()), numbers


@pytest.fixture(autouse=True)
def exact_numerics_afterwards():
    yield
    torch._dynamo.reset()
    trainer.numerics.apply(1)


@pytest.mark.slow
def test_losses_and_gradients_are_those_of_the_eager_encoders():
    """Of graphs that torch captures and executes without generating kernels."""
    names, expected = run_steps(False)
    compiled_names, numbers = run_steps(True)
    assert compiled_names == names
    assert numbers == pytest.approx(expected, rel=TOLERANCE)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 2, "one for each encoder"
