"""Losses in bfloat16 against float32, and what fast numerics leave exact."""

from __future__ import annotations

import copy

import pytest
import torch

from tests.helpers.small_runs import METHODS, of_method
from uniclip import numerics
from uniclip.training import trainer

STEPS = 3
BF16_TOLERANCE = 0.02
"""Relative, of the loss of each of the first steps: bfloat16 has 8 bits, a relative step of 2^-8,
and the rounding of many units averages out."""


@pytest.fixture(autouse=True)
def exact_numerics_afterwards():
    yield
    numerics.apply(1)


def compute_losses(method: str, **train: object) -> list[float]:
    """Return the losses of the first steps."""
    config = of_method(method, train={"batch_size": 32, **train})
    numerics.apply(1, config.train.numerics)
    batches, state = trainer.setup_training(config)
    losses = []
    for step in range(STEPS):
        losses.append(trainer.training_step(state, batches.build_batch(step)).loss)
        state.record_step(0.0, clipped=False)
    return losses


@pytest.mark.parametrize("method", METHODS)
def test_bfloat16_changes_losses_by_rounding_alone(method):
    losses, expected = compute_losses(method, precision="bf16"), compute_losses(method)
    assert losses == pytest.approx(expected, rel=BF16_TOLERANCE)
    assert losses != expected


@pytest.mark.parametrize("method", ["uniclip", "clip", "unicl"])
def test_losses_of_bfloat16_are_summed_in_float32(method):
    """From the same embeddings they are those of float64 up to the rounding of float32."""
    config = of_method(method, train={"batch_size": 64, "precision": "bf16"})
    batches, state = trainer.setup_training(config)
    batch = state.method.prepare_batch(batches.build_batch(0))
    embeddings = state.method.embed(state.training_embedder, batch)
    assert {value.dtype for value in embeddings.values()} == {torch.float32}
    with numerics.loss_context("bf16", state.device):
        terms = state.method.compute_terms_from_embeddings(embeddings, batch)
    exact_terms = (
        copy.deepcopy(state.method)
        .double()
        .compute_terms_from_embeddings(
            {name: value.double() for name, value in embeddings.items()}, batch
        )
    )
    for name, value in terms.items():
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(exact_terms[name].item(), rel=2e-6)


@pytest.mark.parametrize(("method", "head"), [("slip", "ssl_head"), ("declip", "projector")])
def test_heads_of_methods_compute_in_bfloat16(method, head):
    batches, state = trainer.setup_training(of_method(method, train={"precision": "bf16"}))
    dtypes = []
    layer = getattr(state.method, head)[0]
    layer.register_forward_hook(lambda module, inputs, output: dtypes.append(output.dtype))
    trainer.training_step(state, batches.build_batch(0))
    assert set(dtypes) == {torch.bfloat16}


def test_losses_are_computed_in_full_float32_with_fast_numerics(monkeypatch):
    """While the encoders may use TF32."""
    config = of_method("clip", train={"numerics": "fast"})
    numerics.apply(1, "fast")
    batches, state = trainer.setup_training(config)
    precisions = {}

    def record(name, function):
        def call(*arguments):
            precisions[name] = torch.get_float32_matmul_precision()
            return function(*arguments)

        monkeypatch.setattr(state.method, name, call)

    record("embed", state.method.embed)
    record("compute_terms_from_embeddings", state.method.compute_terms_from_embeddings)
    trainer.training_step(state, batches.build_batch(0))
    assert precisions == {"embed": "high", "compute_terms_from_embeddings": "highest"}
    assert torch.get_float32_matmul_precision() == "high"


def test_fast_numerics_compute_the_same_on_a_cpu_up_to_rounding():
    assert compute_losses("uniclip", numerics="fast") == pytest.approx(
        compute_losses("uniclip"), rel=1e-4
    )
